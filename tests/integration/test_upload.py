"""Uploading: one image, many, with labels, waiting for the answer, and everything that is refused."""
import hashlib
import uuid

import pytest

from support import networks, pictures
from support.server import form


def test_upload_answers_what_was_stored(shared):
    image = pictures.png(pictures.RED, 20, 10)
    body = shared.upload(image, "holiday.png").expect(200).json
    assert uuid.UUID(body["image_id"]).version == 7
    assert body["status"] == "pending" and body["source"] == "upload" and body["label"] is None
    assert body["original_filename"] == "holiday.png"
    assert body["metadata"] == {"width": 20, "height": 10, "format": "PNG", "size": len(image)}
    assert body["minio_path"].startswith("raw-images/20") and body["minio_path"].endswith(body["image_id"] + ".png")


@pytest.mark.parametrize("color", [pictures.RED, pictures.GREEN, pictures.BLUE, pictures.BLACK])
def test_waiting_gives_every_models_answer(shared, color):
    body = shared.upload(pictures.png(color), wait=30).expect(200).json
    assert body["status"] == "completed" and body["count"] == 3 and body["processed_at"]
    answers = {p["model_name"]: p for p in body["predictions"]}
    assert sorted(answers) == ["bold", "plain", "timid"]
    for name, prediction in answers.items():
        assert prediction["prediction_class"] == networks.says(name, color)
        assert prediction["model_version"] == "1" and prediction["image_id"] == body["image_id"]
        top = prediction["top_k"]
        assert top[0] == {"class": prediction["prediction_class"], "confidence": prediction["confidence"]}
        assert [t["confidence"] for t in top] == sorted((t["confidence"] for t in top), reverse=True)
        assert abs(sum(t["confidence"] for t in top) - 1) < 1e-3 and len(top) == 4
    comparison = body["comparison"]
    classes = [networks.says(name, color) for name in answers]
    assert comparison["model_count"] == 3
    assert comparison["agreement"] == (len(set(classes)) == 1)
    assert comparison["consensus_prediction"] == max(classes, key=classes.count)
    assert comparison["fastest_model"] == min(answers.values(), key=lambda p: p["inference_time_ms"])["model_name"]
    assert comparison["most_confident_model"] == max(answers.values(), key=lambda p: p["confidence"])["model_name"]
    assert body["failures"] == [] and sorted(body["expected_models"]) == ["bold@1", "plain@1", "timid@1"]


def test_waiting_too_shortly_is_accepted(shared):
    answer = shared.upload(pictures.png(pictures.RED), wait=0.000001)
    assert answer.status in (200, 202)
    assert answer.json["image_id"]


@pytest.mark.parametrize("wait", ["-1", "abc", "1e9", "nan", "61"])
def test_bad_waits(shared, wait):
    shared.upload(pictures.png(pictures.RED), wait=wait).problem(400, "wait")


def test_label_and_source(shared):
    image = pictures.png(pictures.GREEN)
    body = shared.upload(image, wait=30, label="green", source="webcam").expect(200).json
    assert body["label"] == "green" and body["source"] == "webcam"
    body = shared.upload(image, wait=30, query="&label=red&source=folder").expect(200).json
    assert body["label"] == "red" and body["source"] == "folder"


def test_order_of_fields(shared):
    image = pictures.png(pictures.GREEN)
    parts = [("note", "x"), ("source", "a"), ("label", "green"), ("file", image, "x.png"), ("after", "y")]
    body = shared.send_form("/upload?wait=30", parts).expect(200).json
    assert body["label"] == "green" and body["source"] == "a"
    # What comes after the file is too late to matter, and breaks nothing.
    body = shared.send_form("/upload?wait=30", [("file", image, "x.png"), ("label", "green")]).expect(200).json
    assert body["status"] == "completed"
    # The last of two wins; an empty one is none.
    body = shared.send_form("/upload", [("label", "red"), ("label", "blue"), ("source", ""), ("file", image, "x.png")])
    assert body.expect(200).json["label"] == "blue" and body.json["source"] == "upload"


@pytest.mark.parametrize("name", ["jpeg-420.jpg", "jpeg-cmyk.jpg", "jpeg-grey.jpg", "jpeg-progressive.jpg",
                                  "jpeg-exif6.jpg", "photo.jpg", "png-exif6.png"])
def test_real_formats(shared, name):
    image = pictures.golden(name)
    body = shared.upload(image, name, wait=30).expect(200).json
    assert body["status"] == "completed" and body["count"] == 3
    assert body["format"] == ("JPEG" if name.endswith("jpg") else "PNG")
    assert body["sha256"] == hashlib.sha256(image).hexdigest()
    assert shared.get(f"/images/{body['image_id']}/content").expect(200).body == image


def test_webp(shared):
    name = next(pictures.GOLDENS.glob("webp*.webp")).name
    body = shared.upload(pictures.golden(name), name, wait=30).expect(200).json
    assert body["format"] == "WEBP" and body["status"] == "completed" and body["minio_path"].endswith(".webp")


def test_type_is_by_content_not_by_name(shared):
    body = shared.upload(pictures.png(pictures.RED), "picture.jpg").expect(200).json
    assert body["metadata"]["format"] == "PNG" and body["minio_path"].endswith(".png")


@pytest.mark.parametrize("filename", ["größe.png", "猫.png", "a b'c.png", "../../etc/passwd", "C:\\x\\y.png", "", "x" * 300])
def test_names_of_every_kind(shared, filename):
    body = shared.upload(pictures.png(pictures.RED), filename, wait=30).expect(200).json
    assert body["status"] == "completed"
    kept = body["original_filename"] or ""
    assert "/" not in kept and "\\" not in kept
    if filename in ("größe.png", "猫.png", "a b'c.png"):
        assert kept == filename


def test_a_name_that_is_not_utf8(shared):
    kind, body = form([("file", pictures.png(pictures.RED), "caf#.png")])
    answer = shared.request("POST", "/upload?wait=30", body.replace(b"caf#", b"caf\xe9"), {"Content-Type": kind})
    assert answer.expect(200).json["status"] == "completed"


def test_texts_that_are_not_utf8_are_refused(shared):
    for field in ("label", "source"):
        answer = shared.send_form("/upload", [(field, b"caf\xe9"), ("file", pictures.png(pictures.RED), "x.png")])
        answer.problem(400, field, "UTF-8")
    shared.send_form("/upload", [("label", "l" * 200), ("file", pictures.png(pictures.RED), "x.png")]).problem(400, "label")


def test_what_is_no_upload(shared):
    image = pictures.png(pictures.RED)
    shared.send_form("/upload", [("image", image, "x.png")]).problem(400, "file")
    shared.send_form("/upload", []).problem(400, "file")
    shared.request("POST", "/upload", image, {"Content-Type": "image/png"}).problem(415)
    shared.request("POST", "/upload", b"{}", {"Content-Type": "application/json"}).problem(415)
    shared.request("POST", "/upload", b"x", {"Content-Type": "multipart/form-data"}).problem(400)
    kind, body = form([("file", image, "x.png")])
    shared.request("POST", "/upload", body[:-20], {"Content-Type": kind}).problem(422)
    shared.request("POST", "/upload", b"nothing of the kind", {"Content-Type": kind}).problem(422)


def test_batch(shared):
    images = [pictures.png(color, comment=bytes([65 + i])) for i, color in enumerate([pictures.RED, pictures.GREEN, pictures.BLUE])]
    parts = [("label", "red"), ("source", "album")] + [("files", image, f"{i}.png") for i, image in enumerate(images)]
    body = shared.send_form("/upload/batch", parts).expect(200).json
    assert body["accepted_count"] == 3 and body["refused_count"] == 0 and "interrupted" not in body
    shared.settle()
    for i, accepted in enumerate(body["accepted"]):
        image = shared.get(f"/images/{accepted['image_id']}").expect(200).json
        assert image["original_filename"] == f"{i}.png" and image["label"] == "red" and image["source"] == "album"
        assert image["status"] == "completed" and image["count"] == 3
        assert shared.get(f"/images/{accepted['image_id']}/content").body == images[i]


def test_batch_refuses_file_by_file(shared):
    parts = [("files", pictures.png(pictures.RED), "good.png"), ("files", b"hello", "text.png"), ("files", b"", "empty.png"),
             ("files", pictures.huge_png(), "huge.png"), ("files", b"\0" * (10485760 + 1), "long.png"),
             ("files", pictures.png(pictures.BLUE), "also-good.png")]
    body = shared.send_form("/upload/batch", parts).expect(200).json
    assert [a["original_filename"] for a in body["accepted"]] == ["good.png", "also-good.png"]
    refused = {r["original_filename"]: r["code"] for r in body["refused"]}
    assert refused == {"text.png": "unsupported", "empty.png": "invalid", "huge.png": "too_large", "long.png": "too_large"}
    assert all(len(r["detail"]) > 10 for r in body["refused"])


def test_batch_without_files(shared):
    shared.send_form("/upload/batch", [("file", pictures.png(pictures.RED), "x.png")]).problem(400, "files")


def test_batch_cut_in_the_middle(shared):
    kind, body = form([("files", pictures.png(pictures.RED), "a.png"), ("files", pictures.png(pictures.RED), "b.png")])
    answer = shared.request("POST", "/upload/batch", body[:-40], {"Content-Type": kind}).expect(200).json
    assert answer["accepted_count"] == 1 and answer["interrupted"]


def test_uploads_over_one_connection(shared):
    connection = shared.connect()
    for color in (pictures.RED, pictures.GREEN, pictures.BLUE) * 5:
        shared.upload(pictures.png(color), connection=connection).expect(200)
    connection.close()
