"""The live feed over server-sent events."""
import socket

from support import pictures
from support.server import SANITIZED, Events, eventually


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


def test_a_watcher_that_does_not_read_is_let_go(server):
    """Its events are not kept without bound, and nobody else notices."""
    watcher = Events(server)
    stuck = socket.socket()
    stuck.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    stuck.connect((server.host, server.port))
    stuck.sendall(b"GET /live HTTP/1.1\r\nHost: x\r\n\r\n")
    eventually(lambda: "ocelli_live_subscribers 2" in server.get("/metrics").body.decode())
    before, sent = server.memory(), 0
    while "ocelli_live_subscribers 2" in server.get("/metrics").body.decode():
        assert sent < 20000
        parts = [("files", pictures.png(pictures.RED, comment=b"%d" % (sent + i)), f"{i}.png") for i in range(500)]
        sent += server.send_form("/upload/batch", parts).expect(200).json["accepted_count"]
        server.settle()
    events = watcher.wait_for(4 * sent)
    assert [i for i, _, _ in events] == list(range(1, 4 * sent + 1))
    assert server.memory() - before < 64 << 20 or SANITIZED
    watcher.close()
    stuck.close()


def test_streams_end_when_the_server_stops(server):
    events = Events(server)
    server.upload(pictures.png(pictures.RED), wait=30).expect(200)
    events.wait_for(4)
    server.stop()
    assert events.ended.wait(30)
    server.start()
