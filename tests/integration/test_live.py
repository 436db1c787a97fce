"""The live feed over server-sent events."""
from support import pictures
from support.server import Events, eventually


def test_events_of_an_image(server):
    events = Events(server)
    image = server.upload(pictures.png(pictures.RED), "live.png", wait=30, label="red").expect(200).json
    got = events.wait_for(4)
    assert [i for i, _, _ in got] == [1, 2, 3, 4]
    kinds = [kind for _, kind, _ in got]
    assert kinds.count("prediction") == 3 and kinds.count("comparison") == 1
    for _, kind, data in got:
        assert data["image_id"] == image["image_id"]
        if kind == "prediction":
            known = next(p for p in image["predictions"] if p["model_name"] == data["model_name"])
            assert data["prediction_class"] == known["prediction_class"]
            assert abs(data["confidence"] - known["confidence"]) < 1e-6
        else:
            assert data["status"] == "completed" and len(data["models"]) == 3 and data["label"] == "red"
            assert data["original_filename"] == "live.png"
            assert data["consensus_prediction"] == image["comparison"]["consensus_prediction"]
    events.close()


def test_resuming_misses_nothing(server):
    first = Events(server)
    for color in (pictures.RED, pictures.GREEN):
        server.upload(pictures.png(color), wait=30).expect(200)
    first.wait_for(8)
    first.close()
    server.upload(pictures.png(pictures.BLUE), wait=30).expect(200)  # nobody watches
    resumed = Events(server, last_id=5)
    got = resumed.wait_for(7)
    assert [i for i, _, _ in got] == list(range(6, 13))
    server.upload(pictures.png(pictures.BLACK), wait=30).expect(200)
    assert [i for i, _, _ in resumed.wait_for(11)] == list(range(6, 17))
    resumed.close()
    fresh = Events(server)
    server.upload(pictures.png(pictures.BLACK), wait=30).expect(200)
    assert fresh.wait_for(4)[0][0] == 17
    fresh.close()


def test_an_odd_last_id(server):
    for last_id in ("abc", "-5", "99999999999999999999"):
        events = Events(server, last_id)
        events.close()
    assert server.get("/livez").status == 200


def test_many_watchers(server):
    watchers = [Events(server) for _ in range(40)]
    gauge = "ocelli_live_subscribers 40"
    eventually(lambda: gauge in server.get("/metrics").body.decode())
    server.upload(pictures.png(pictures.RED), wait=30).expect(200)
    for watcher in watchers:
        watcher.wait_for(4)
    for watcher in watchers[:20]:
        watcher.close()
    server.upload(pictures.png(pictures.RED), wait=30).expect(200)
    for watcher in watchers[20:]:
        assert len(watcher.wait_for(8)) == 8
        watcher.close()
    eventually(lambda: "ocelli_live_subscribers 0" in server.get("/metrics").body.decode())


def test_streams_end_when_the_server_stops(server):
    events = Events(server)
    server.upload(pictures.png(pictures.RED), wait=30).expect(200)
    events.wait_for(4)
    server.stop()
    assert events.ended.wait(30)
    server.start()
