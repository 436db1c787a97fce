"""Reading back: images, predictions, comparisons, labels and bytes."""
import uuid

import pytest

from support import networks, pictures

UNKNOWN = str(uuid.uuid4())


@pytest.fixture(scope="module")
def image(shared):
    bytes_ = pictures.png(pictures.RED, 33, 44)
    return {**shared.upload(bytes_, "known.png", wait=30).expect(200).json, "bytes": bytes_}


def test_image_and_predictions_are_one(shared, image):
    by_image = shared.get(f"/images/{image['image_id']}").expect(200).json
    by_predictions = shared.get(f"/predictions/{image['image_id']}").expect(200).json
    assert by_image == by_predictions == {k: v for k, v in image.items() if k != "bytes"}
    assert shared.get(f"/images/{image['image_id'].upper()}").status in (200, 404)


def test_comparison(shared, image):
    body = shared.get(f"/comparisons/{image['image_id']}").expect(200).json
    assert body["image_id"] == image["image_id"] and body["model_count"] == 3 and body["status"] == "completed"
    assert body["original_filename"] == "known.png" and body["source"] == "upload"
    assert {m["model_name"]: m["prediction_class"] for m in body["models"]} == {
        name: networks.says(name, pictures.RED) for name in networks.KNOWN}


def test_recent(shared, image):
    last = shared.upload(pictures.png(pictures.BLUE), "latest.png", wait=30).expect(200).json
    body = shared.get("/predictions/recent/3").expect(200).json
    assert body["count"] == 3 and {p["image_id"] for p in body["predictions"]} == {last["image_id"]}
    assert {p["original_filename"] for p in body["predictions"]} == {"latest.png"}
    times = [p["created_at"] for p in shared.get("/predictions/recent/1000").expect(200).json["predictions"]]
    assert times == sorted(times, reverse=True)
    for limit in ("0", "1001", "-1", "abc", "1.5", "9" * 30, "%20", "5x"):
        shared.get(f"/predictions/recent/{limit}").problem(400, "1")


@pytest.mark.parametrize("path", ["/images/{}", "/predictions/{}", "/comparisons/{}", "/images/{}/content"])
def test_what_is_not_there(shared, path):
    shared.get(path.format(UNKNOWN)).problem(404)
    answer = shared.get(path.format("no-uuid"))
    assert answer.status in (400, 404)
    answer.problem(answer.status)


# --- Bytes


def test_content(shared, image):
    answer = shared.get(f"/images/{image['image_id']}/content").expect(200)
    assert answer.body == image["bytes"] and answer.headers["Content-Type"] == "image/png"
    assert answer.headers["ETag"] == f'"{image["sha256"]}"'
    assert "immutable" in answer.headers["Cache-Control"] and answer.headers["Accept-Ranges"] == "bytes"
    head = shared.request("HEAD", f"/images/{image['image_id']}/content").expect(200)
    assert head.body == b"" and int(head.headers["Content-Length"]) == len(image["bytes"])


@pytest.mark.parametrize("tag, status", [("{}", 304), ('"other", {}', 304), ("*", 304), ("W/{}", 304), ('"other"', 200)])
def test_content_not_changed(shared, image, tag, status):
    answer = shared.get(f"/images/{image['image_id']}/content", If_None_Match=tag.format(f'"{image["sha256"]}"'))
    answer.expect(status)
    assert answer.headers["ETag"] == f'"{image["sha256"]}"'
    assert answer.body == (b"" if status == 304 else image["bytes"])


def test_content_ranges(shared, image):
    whole, path = image["bytes"], f"/images/{image['image_id']}/content"
    size = len(whole)
    for text, first, last in [("0-9", 0, 9), (f"5-{size + 100}", 5, size - 1), ("7-", 7, size - 1), ("-6", size - 6, size - 1),
                              (f"-{size * 2}", 0, size - 1), ("0-0", 0, 0)]:
        answer = shared.get(path, Range=f"bytes={text}").expect(206)
        assert answer.body == whole[first:last + 1]
        assert answer.headers["Content-Range"] == f"bytes {first}-{last}/{size}"
    for text in (f"{size}-", f"{size + 5}-{size + 9}", "-0"):
        answer = shared.get(path, Range=f"bytes={text}")
        answer.problem(416)
        assert answer.headers["Content-Range"] == f"bytes */{size}"
    for text in ("bytes=9-5", "bytes=a-b", "lines=0-1", "bytes="):
        assert shared.get(path, Range=text).expect(200).body == whole
    assert shared.get(path, Range="bytes=0-1", If_Range='"other"').expect(200).body == whole


# --- Labels


def test_label_set_changed_removed(shared):
    image = shared.upload(pictures.png(pictures.GREEN), wait=30).expect(200).json
    path = f"/images/{image['image_id']}/label"
    assert shared.send_json("PUT", path, {"label": "green"}).expect(200).json["label"] == "green"
    assert shared.send_json("PUT", path, {"label": "red"}).expect(200).json["label"] == "red"
    assert shared.get(f"/images/{image['image_id']}").json["label"] == "red"
    assert shared.send_json("PUT", path, {"label": None}).expect(200).json["label"] is None
    shared.send_json("PUT", path, {"label": "unicorn"}).problem(400, "unicorn")
    shared.send_json("PUT", path, {}).problem(400, "label")
    shared.send_json("PUT", path, {"label": 5}).problem(400, "label")
    shared.send_json("PUT", path, []).problem(400)
    shared.request("PUT", path, b"{", {"Content-Type": "application/json"}).problem(400)
    shared.request("PUT", path, b"x" * 5000, {"Content-Type": "application/json"}).problem(413)
    shared.send_json("PUT", f"/images/{UNKNOWN}/label", {"label": "green"}).problem(404)
