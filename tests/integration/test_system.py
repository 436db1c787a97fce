"""Health, metrics, topics, events, pages, and what HTTP itself asks of every answer."""
import gzip
import json
import re
import sqlite3

import pytest

from support import pictures
from support.server import Server, eventually


def test_probes(shared):
    assert shared.get("/livez").expect(200).body == b"ok\n"
    assert shared.get("/readyz").expect(200).body == b"ready\n"


def test_health_names_every_part(shared):
    body = shared.get("/health").expect(200).json
    assert body["status"] == "healthy" and body["uptime_seconds"] > 0 and body["version"]
    assert set(body["parts"]) == {"database", "objects", "bus", "cache"}
    assert all(part["status"] == "ok" and part["engine"] for part in body["parts"].values())
    assert {(m["name"], m["state"], m["classes"]) for m in body["models"]} == {
        (name, "active", 4) for name in ("plain", "bold", "timid")}
    assert {lane["model"] for lane in body["lanes"]} == {"plain", "bold", "timid"}


def test_root_links_answer(shared):
    for path in shared.get("/").expect(200).json["links"].values():
        shared.get(path).expect(200)


# --- HTTP


def test_unknown_paths(shared):
    for path in ("/nothing", "/images", "/predictions", "/upload/", "/stats", "/assets/none.js", "/docs/x", "//", "/%00", "/a%2fb"):
        answer = shared.get(path)
        assert answer.status in (400, 404, 405), path
        answer.problem(answer.status)


def test_wrong_methods(shared):
    for method, path, allowed in [("GET", "/upload", "POST"), ("POST", "/health", "GET"), ("DELETE", "/stats/models", "GET"),
                                  ("GET", "/admin/clear-predictions", "POST")]:
        answer = shared.request(method, path)
        answer.problem(405)
        assert allowed in answer.headers["Allow"]
    answer = shared.request("OPTIONS", "/stats/models")
    assert answer.status in (200, 204) and "GET" in answer.headers["Allow"]
    head = shared.request("HEAD", "/stats/models").expect(200)
    assert head.body == b"" and int(head.headers["Content-Length"]) > 0


def test_broken_requests_get_an_answer(shared):
    reply = shared.raw(b"nonsense\r\n\r\n")
    assert reply == b"" or reply.startswith((b"HTTP/1.1 4", b"HTTP/1.0 4"))
    long = shared.raw(b"GET /" + b"x" * 100000 + b" HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
    assert long[9:12] in (b"414", b"413", b"431", b"400", b"404")
    many = b"".join(b"X-%d: y\r\n" % i for i in range(20000))
    assert shared.raw(b"GET / HTTP/1.1\r\nHost: a\r\n" + many + b"Connection: close\r\n\r\n")[9:12] in (b"431", b"413", b"400")
    shared.request("GET", "/livez").expect(200)


def test_security_headers(shared):
    for path in ("/", "/docs", "/nothing", "/openapi.json"):
        assert shared.get(path).headers["X-Content-Type-Options"] == "nosniff"


# --- Pages


def test_docs_page_and_its_assets(shared):
    page = shared.get("/docs", Accept_Encoding="gzip").expect(200)
    assert page.headers["Content-Type"].startswith("text/html") and page.headers["Content-Encoding"] == "gzip"
    text = gzip.decompress(page.body).decode()
    assets = set(re.findall(r'(?:src|href)="(/assets/[^"]+)"', text))
    assert assets
    for path in assets:
        asset = shared.get(path, Accept_Encoding="gzip").expect(200)
        assert len(gzip.decompress(asset.body)) > 0
        assert asset.headers["Content-Type"].split(";")[0] in ("text/javascript", "application/javascript", "text/css",
                                                               "image/png", "image/svg+xml", "image/x-icon")
    # Nothing is loaded from elsewhere: the page works without the Internet.
    assert not re.findall(r'(?:src|href)="https?://', text)


# --- Metrics

SERIES = re.compile(r'^([a-zA-Z_:][a-zA-Z0-9_:]*)(\{(?:[a-zA-Z_][a-zA-Z0-9_]*="(?:[^"\\\n]|\\.)*",?)*\})? (\S+)$')


def read_metrics(server):
    """Series by text, after checking the exposition format."""
    series, kinds, helped, current = {}, {}, set(), None
    answer = server.get("/metrics").expect(200)
    assert answer.headers["Content-Type"].startswith("text/plain; version=0.0.4")
    for line in answer.body.decode().splitlines():
        if line.startswith("# HELP "):
            helped.add(line.split()[2])
        elif line.startswith("# TYPE "):
            _, _, current, kind = line.split()
            assert current not in kinds, f"{current} twice"
            kinds[current] = kind
        else:
            match = SERIES.match(line)
            assert match, line
            name = match.group(1)
            family = re.sub(r"_(bucket|sum|count)$", "", name) if kinds.get(current) == "histogram" else name
            assert family == current, f"{name} stands below {current}"
            assert line.rsplit(" ", 1)[0] not in series
            series[line.rsplit(" ", 1)[0]] = float(match.group(3))
    assert helped == set(kinds)
    for name, kind in kinds.items():
        assert (kind == "counter") == name.endswith("_total") or kind == "gauge", f"{name} is a {kind}"
    return series, kinds


def test_metrics_count_what_happens(server):
    before, _ = read_metrics(server)
    for color in (pictures.RED, pictures.GREEN):
        server.upload(pictures.png(color), wait=30).expect(200)
    server.upload(b"hello").problem(415)
    server.upload(b"").problem(400)
    server.settle()
    after, kinds = read_metrics(server)

    def grew(series):
        return after.get(series, 0) - before.get(series, 0)

    def has_counted():  # a stage counts after its transaction, so an answer can be ahead of its counters
        nonlocal after, kinds
        after, kinds = read_metrics(server)
        answered = sum(grew(f'ocelli_classified_total{{model="{name}",result="answered"}}') for name in ("plain", "bold", "timid"))
        return answered >= 6 and grew('ocelli_predictions_recorded_total{result="new"}') >= 6

    eventually(has_counted, 60)
    assert grew("ocelli_images_accepted_total") == 2
    assert grew('ocelli_images_refused_total{reason="unsupported"}') == 1
    assert grew('ocelli_images_refused_total{reason="invalid"}') == 1
    assert grew('ocelli_predictions_recorded_total{result="new"}') == 6
    assert grew('ocelli_image_decodes_total{result="decoded"}') == 2
    for name in ("plain", "bold", "timid"):
        assert grew(f'ocelli_classified_total{{model="{name}",result="answered"}}') == 2
        assert after[f'ocelli_model_active{{model="{name}",version="1"}}'] == 1
    assert grew('ocelli_http_requests_total{route="/upload",method="POST",status="200"}') == 2
    assert after["process_resident_memory_bytes"] > 1e6
    assert any(kind == "histogram" for kind in kinds.values())
    buckets = [(float(re.search(r'le="([^"]+)"', s).group(1).replace("+Inf", "inf")), v) for s, v in after.items()
               if s.startswith("ocelli_ingest_duration_seconds_bucket")]
    assert sorted(v for _, v in buckets) == [v for _, v in sorted(buckets)] and max(buckets)[1] == 2


# --- Topics


def test_topics_and_messages(server):
    image = server.upload(pictures.png(pictures.RED), wait=30, label="red").expect(200).json
    server.settle()
    topics = {t["topic"]: t for t in server.get("/topics").expect(200).json["topics"]}
    assert topics["images-input-stream"]["messages"] == 1
    assert topics["predictions-output-stream"]["messages"] == 3
    assert topics["comparisons-output-stream"]["messages"] == 1
    assert {g["group"] for g in topics["images-input-stream"]["groups"]} == {
        f"classify-{name}@1" for name in ("plain", "bold", "timid")}
    assert all(g["lag"] == 0 for t in topics.values() for g in t["groups"])
    message, = server.get("/topics/images-input-stream/messages").expect(200).json["messages"]
    assert message["key"] == image["image_id"] and message["offset"] == 0
    value = message["value"]
    assert value["image_id"] == image["image_id"] and value["minio_path"] == image["minio_path"]
    assert value["source"] == "upload" and value["label"] == "red"
    assert {k: value["metadata"][k] for k in ("width", "height", "format")} == {"width": 12, "height": 12, "format": "PNG"}
    predictions = server.get("/topics/predictions-output-stream/messages?from=0&limit=2").expect(200).json["messages"]
    assert [m["offset"] for m in predictions] == [0, 1]
    assert set(predictions[0]["value"]) >= {"image_id", "model_name", "prediction_class", "confidence", "inference_time_ms",
                                            "timestamp"}
    last, = server.get("/topics/predictions-output-stream/messages?from=-1").expect(200).json["messages"]
    assert last["offset"] == 2
    assert server.get("/topics/predictions-output-stream/messages?from=3").expect(200).json["messages"] == []
    assert server.get("/topics/no-such-topic/messages").status in (200, 404)
    for query in ("limit=0", "limit=1001", "limit=x", "from=x", "from=1.5", "from=99999999999999999999"):
        server.get(f"/topics/predictions-output-stream/messages?{query}").problem(400)
    server.get("/topics/predictions-output-stream/messages?from=-9223372036854775808&limit=1").expect(200)


def poison(server, topic, values):
    """Puts messages into a topic of a stopped server's database, as a foreign producer would."""
    database = sqlite3.connect(server.data / "ocelli.db")
    with database:
        offset, = database.execute("SELECT next_offset FROM bus_topics WHERE topic = ?", [topic]).fetchone() or (0,)
        for i, value in enumerate(values):
            database.execute("INSERT INTO bus_messages (topic, partition, message_offset, key, value, created_at) "
                             "VALUES (?, 0, ?, 'odd', CAST(? AS TEXT), '2024-01-15T10:30:00.000000Z')", [topic, offset + i, value])
        database.execute("INSERT INTO bus_topics (topic, partition, next_offset, messages) VALUES (?1, 0, ?2, ?3) "
                         "ON CONFLICT (topic, partition) DO UPDATE SET next_offset = ?2, messages = messages + ?3",
                         [topic, offset + len(values), len(values)])
    database.close()


def dead_letters(server, topic):
    return server.get(f"/topics/{topic}.dlq/messages?from=0&limit=1000").expect(200).json["messages"]


@pytest.mark.parametrize("topic, readers", [("images-input-stream", 3), ("predictions-output-stream", 1)])
def test_poison_goes_to_the_dead_letters(server, topic, readers):
    bad = [b"not json", b"{}", b"[1,2", b"\xff\xfe", b'{"image_id":"x"}', "é".encode() * 300, b"", b"{\"a\":" * 100]
    before = server.upload(pictures.png(pictures.RED), wait=30).expect(200).json
    server.stop()
    poison(server, topic, bad)
    server.start()
    after = server.upload(pictures.png(pictures.GREEN), wait=30).expect(200).json
    assert after["status"] == "completed" and after["count"] == 3
    server.settle()
    letters = dead_letters(server, topic)
    assert len(letters) == len(bad) * readers
    for letter in letters:
        headers = letter["headers"]
        assert headers["origin_topic"] == topic and headers["error"] and headers["group"] and headers["attempts"] >= 1
    assert [m["value"] for m in letters if m["headers"]["group"] == letters[0]["headers"]["group"]][0] == "not json"
    # Replayed, it fails again and comes back; nothing is lost and nothing else is disturbed.
    replayed = server.request("POST", f"/topics/{topic}/replay").expect(200).json["replayed"]
    assert replayed == len(letters)
    server.settle()
    assert len(dead_letters(server, topic)) == len(letters) * readers
    assert server.get(f"/images/{before['image_id']}").json == before
    assert server.get("/health").expect(200).json["status"] == "healthy"


def test_a_replayed_image_is_not_counted_twice(server):
    image = server.upload(pictures.png(pictures.RED), wait=30).expect(200).json
    message, = server.get("/topics/images-input-stream/messages").json["messages"]
    server.stop()
    poison(server, "images-input-stream", [json.dumps(message["value"])] * 5)
    server.start()
    server.settle()
    assert server.get(f"/images/{image['image_id']}").json == image
    assert all(m["total_predictions"] == 1 for m in server.get("/stats/models").json["models"])


def test_a_foreign_image_message(server):
    """Another producer's object and message, without a row: it is classified and gets one."""
    stored = server.upload(pictures.png(pictures.BLUE), wait=30).expect(200).json
    identity = "018f2b6e-aaaa-4222-8333-944444444444"
    value = {"image_id": identity, "minio_path": stored["minio_path"], "source": "cifar10",
             "timestamp": "2024-01-15T10:30:00Z", "metadata": {"width": 12, "height": 12, "format": "PNG"}, "label": "blue"}
    missing = {"image_id": identity.replace("aaaa", "bbbb"), "minio_path": "raw-images/2024/01/15/none.png"}
    server.stop()
    poison(server, "images-input-stream", [json.dumps(value), json.dumps(missing)])
    server.start()
    image = eventually(lambda: (a := server.get(f"/images/{identity}")).status == 200 and a.json["status"] == "completed" and a.json)
    assert image["count"] == 3 and image["label"] == "blue" and image["source"] == "cifar10"
    server.settle()
    image = server.get(f"/images/{missing['image_id']}").expect(200).json
    assert image["status"] == "failed" and image["failure_reason"] and len(image["failures"]) == 3


def test_events(shared):
    shared.get("/events").expect(200)
    assert len(shared.get("/events?limit=1").expect(200).json["events"]) <= 1
    shared.get("/events?limit=0").problem(400, "limit")


def test_key_is_asked_for(models, tmp_path):
    with Server(tmp_path / "data", models, environment={"OCELLI_API_KEY": "open sesame"}) as server:
        for path in ("/livez", "/readyz", "/health", "/docs", "/openapi.json"):
            server.get(path).expect(200)
        for path in ("/stats/models", "/metrics", "/topics", "/"):
            answer = server.get(path)
            answer.problem(401)
            assert "Bearer" in answer.headers["WWW-Authenticate"]
            assert server.get(path, Authorization="Bearer wrong").status in (401, 403)
            server.get(path, Authorization="Bearer open sesame").expect(200)
        assert server.upload(pictures.png(pictures.RED)).status == 401


def test_rate_limit(models, tmp_path):
    with Server(tmp_path / "data", models, "--rate-limit-per-minute", "20") as server:
        answers = [server.get("/stats/models") for _ in range(30)]
        assert sum(a.status == 200 for a in answers) in range(20, 26)
        refused = next(a for a in answers if a.status != 200)
        refused.problem(429)
        assert int(refused.headers["Retry-After"]) > 0
