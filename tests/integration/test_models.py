"""Models come and go while the server runs, and between its runs."""
import shutil
import sqlite3

import pytest

from support import networks, pictures
from support.server import Server, eventually, run


def states(server):
    return {m.get("name", "?"): m["state"] for m in server.get("/models").expect(200).json["models"]}


def test_a_folder_dropped_in_is_served(own_models, tmp_path):
    shutil.rmtree(own_models / "timid")
    with Server(tmp_path / "data", own_models) as server:
        before = server.upload(pictures.png(pictures.RED), wait=30).expect(200).json
        assert before["count"] == 2
        networks.write_package(own_models / "timid", "timid")
        eventually(lambda: states(server).get("timid") == "active")
        after = server.upload(pictures.png(pictures.RED), wait=30).expect(200).json
        assert after["count"] == 3 and after["status"] == "completed"
        # What came before it is not its business.
        assert server.get(f"/images/{before['image_id']}").json == before


def test_a_removed_folder_drains(own_models, tmp_path):
    with Server(tmp_path / "data", own_models) as server:
        ids = [server.upload(pictures.png(pictures.RED, comment=b"%d" % i)).expect(200).json["image_id"] for i in range(200)]
        shutil.rmtree(own_models / "bold")
        eventually(lambda: "bold" not in states(server))
        server.settle()
        for identity in ids:  # accepted while it served: it answered
            image = server.get(f"/images/{identity}").json
            assert image["status"] == "completed" and image["count"] == len(image["expected_models"])
        late = server.upload(pictures.png(pictures.RED), wait=30).expect(200).json
        assert late["count"] == 2 and sorted(late["expected_models"]) == ["plain@1", "timid@1"]
        groups = {g["group"] for t in server.get("/topics").json["topics"] for g in t["groups"]}
        assert "classify-bold@1" not in groups and "classify-plain@1" in groups
        # And back again.
        networks.write_package(own_models / "bold", "bold")
        eventually(lambda: states(server).get("bold") == "active")
        assert server.upload(pictures.png(pictures.RED), wait=30).expect(200).json["count"] == 3


def test_a_new_version_takes_over(own_models, tmp_path):
    with Server(tmp_path / "data", own_models) as server:
        old = server.upload(pictures.png(pictures.RED), wait=30).expect(200).json
        networks.write_package(own_models / "plain", "plain", version="2", network=networks.colour_network(*networks.KNOWN["timid"]))
        eventually(lambda: any(m["name"] == "plain" and m.get("version") == "2" and m["state"] == "active"
                               for m in server.get("/models").json["models"]))
        eventually(lambda: "classify-plain@1" not in str(server.get("/topics").json))
        new = server.upload(pictures.png(pictures.RED), wait=30).expect(200).json
        answers = {(p["model_name"], p["model_version"]): p["prediction_class"] for p in new["predictions"]}
        assert ("plain", "1") not in answers and answers[("plain", "2")] == networks.says("timid", pictures.RED)
        assert len(new["predictions"]) == 3 and len(old["predictions"]) == 3
        versions = {(m["model_name"], m["model_version"]) for m in server.get("/stats/models").json["models"]}
        assert {("plain", "1"), ("plain", "2")} <= versions


def test_a_broken_package_is_reported_and_skipped(own_models, tmp_path):
    (own_models / "broken").mkdir()
    (own_models / "broken" / "model.yaml").write_text("name: broken\nlabels: [a, b]\npreprocess: {preset: raw01, width: 8, height: 8}\n")
    (own_models / "broken" / "model.onnx").write_bytes(b"\x08\x07garbage")
    (own_models / "worse").mkdir()
    (own_models / "worse" / "model.yaml").write_text("name: [")
    networks.write_package(own_models / "few", "few", network=networks.colour_network(*networks.KNOWN["plain"]), labels=["one", "two"])
    with Server(tmp_path / "data", own_models) as server:
        models = {m.get("name", "?"): m for m in server.get("/models").expect(200).json["models"]}
        for name in ("broken", "worse", "few"):
            assert models[name]["state"] == "failed" and len(models[name]["failure"]) > 20, models.get(name)
        image = server.upload(pictures.png(pictures.RED), wait=30).expect(200).json
        assert image["count"] == 3 and len(image["expected_models"]) == 3
        # Mended, it is served.
        networks.write_package(own_models / "few", "few", network=networks.colour_network(*networks.KNOWN["plain"]))
        eventually(lambda: states(server).get("few") == "active")
        assert server.upload(pictures.png(pictures.RED), wait=30).expect(200).json["count"] == 4


def test_unload_and_load_by_request(own_models, tmp_path):
    with Server(tmp_path / "data", own_models) as server:
        server.request("POST", "/models/bold/unload").expect(200)
        eventually(lambda: states(server).get("bold") != "draining")
        eventually(lambda: "classify-bold@1" not in str(server.get("/topics").json))
        assert server.upload(pictures.png(pictures.RED), wait=30).expect(200).json["count"] == 2
        server.request("POST", "/models/bold/load").expect(200)
        eventually(lambda: states(server).get("bold") == "active")
        assert server.upload(pictures.png(pictures.RED), wait=30).expect(200).json["count"] == 3
        server.request("POST", "/models/nobody/unload").problem(404, "nobody")
        server.request("POST", "/models/nobody/load").problem(404, "nobody")


@pytest.mark.parametrize("fate", ["removed", "broken"])
def test_a_model_lost_between_runs_is_waited_for_no_more(own_models, tmp_path, fate):
    """Its group goes, so the backlog ends, and images that waited only for it are finished."""
    server = Server(tmp_path / "data", own_models, "--backlog-max", "20").start()
    done = server.upload(pictures.png(pictures.RED), wait=30).expect(200).json
    server.stop()
    # As a crash would leave it: an image that one model has not answered yet.
    database = sqlite3.connect(server.data / "ocelli.db")
    with database:
        database.execute("UPDATE images SET processing_status = 'processing', processed_at = NULL")
        database.execute("DELETE FROM predictions WHERE model_name = 'bold'")
        database.execute("UPDATE bus_offsets SET next_offset = 0 WHERE consumer_group = 'classify-bold@1'")
    database.close()
    if fate == "removed":
        shutil.rmtree(own_models / "bold")
    else:
        (own_models / "bold" / "model.onnx").write_bytes(b"no longer a network")
    with server:
        image = server.get(f"/images/{done['image_id']}").expect(200).json
        assert image["status"] == "completed" and image["count"] == 2
        groups = {g["group"] for t in server.get("/topics").json["topics"] for g in t["groups"]}
        assert "classify-bold@1" not in groups
        for i in range(40):  # more than the backlog allows, had the group stayed
            server.upload(pictures.png(pictures.RED, comment=b"%d" % i), wait=30).expect(200)


def test_starting_without_models_by_mistake_forgets_nothing(own_models, tmp_path):
    server = Server(tmp_path / "data", own_models).start()
    server.upload(pictures.png(pictures.RED), wait=30).expect(200)
    server.stop()
    server.models = tmp_path / "elsewhere"
    with server:
        assert server.get("/models").json["models"] == []
        waiting = server.upload(pictures.png(pictures.BLUE)).expect(200).json
        assert waiting["status"] == "pending"
    server.models = own_models
    with server:
        image = eventually(lambda: (b := server.get(f"/images/{waiting['image_id']}").json)["count"] == 3 and b)
        assert image["status"] == "completed"


def test_restart_keeps_everything(server):
    images = [server.upload(pictures.png(color, comment=b"keep"), "k.png", wait=30, label="red").expect(200).json
              for color in (pictures.RED, pictures.GREEN, pictures.BLUE)]
    before = {path: server.get(path).expect(200).json for path in
              ["/stats/models", "/stats/performance", "/predictions/recent/50", "/topics"]
              + [f"/images/{i['image_id']}" for i in images] + [f"/comparisons/{i['image_id']}" for i in images]}
    bytes_ = [server.get(f"/images/{i['image_id']}/content").body for i in images]
    server.restart()
    assert {path: server.get(path).expect(200).json for path in before} == before
    assert [server.get(f"/images/{i['image_id']}/content").body for i in images] == bytes_


def test_two_servers_on_one_folder(server):
    result = run("serve", "--port", "0", "--data-dir", server.data, "--models-dir", server.models, status=1)
    assert "another ocelli" in result.stderr and str(server.data) in result.stderr
    server.get("/livez").expect(200)
