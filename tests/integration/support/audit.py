"""Looking into a stopped server's data folder: everything acknowledged is there, nothing is half there, and the
roll-ups are what a recount gives."""
import hashlib
import sqlite3

from support import networks

# Sums are rounded to the decimals their terms have, so that a sum is never half way between two.
RECOUNTS = {
    "model_totals": (
        "SELECT model_name, model_version, predictions, round(sum_confidence, 6), round(sum_time_ms, 3), min_time_ms, "
        "max_time_ms, labelled, correct FROM model_totals ORDER BY 1, 2",
        "SELECT model_name, model_version, count(*), round(sum(confidence), 6), round(sum(inference_time_ms), 3), "
        "min(inference_time_ms), max(inference_time_ms), sum(label IS NOT NULL), "
        "sum(coalesce(label = prediction_class, 0)) FROM labelled GROUP BY 1, 2 ORDER BY 1, 2"),
    "model_classes": (
        "SELECT * FROM model_classes ORDER BY 1, 2, 3",
        "SELECT model_name, model_version, prediction_class, count(*) FROM labelled GROUP BY 1, 2, 3 ORDER BY 1, 2, 3"),
    "model_hours": (
        "SELECT hour, model_name, count FROM model_hours ORDER BY 1, 2",
        "SELECT substr(created_at, 1, 13) || ':00:00.000000Z', model_name, count(*) FROM labelled GROUP BY 1, 2 ORDER BY 1, 2"),
    "model_times": (
        "SELECT model_name, model_version, sum(count) FROM model_times GROUP BY 1, 2 ORDER BY 1, 2",
        "SELECT model_name, model_version, count(*) FROM labelled GROUP BY 1, 2 ORDER BY 1, 2"),
    "model_confusion": (
        "SELECT * FROM model_confusion WHERE count <> 0 ORDER BY 1, 2, 3, 4",
        "SELECT model_name, model_version, label, prediction_class, count(*) FROM labelled WHERE label IS NOT NULL "
        "GROUP BY 1, 2, 3, 4 ORDER BY 1, 2, 3, 4"),
    "model_calibration": (
        "SELECT model_name, model_version, sum(count), sum(correct) FROM model_calibration GROUP BY 1, 2 "
        "HAVING sum(count) <> 0 ORDER BY 1, 2",
        "SELECT model_name, model_version, count(*), sum(label = prediction_class) FROM labelled WHERE label IS NOT NULL "
        "GROUP BY 1, 2 ORDER BY 1, 2"),
    "model_pairs": (
        "SELECT * FROM model_pairs ORDER BY 1, 2",
        "SELECT a.key, b.key, count(*), sum(a.prediction_class = b.prediction_class), sum(a.label IS NOT NULL), "
        "sum(coalesce(a.prediction_class = a.label AND b.prediction_class = a.label, 0)), "
        "sum(coalesce(a.prediction_class = a.label AND b.prediction_class <> a.label, 0)), "
        "sum(coalesce(a.prediction_class <> a.label AND b.prediction_class = a.label, 0)), "
        "sum(coalesce(a.prediction_class <> a.label AND b.prediction_class <> a.label, 0)) "
        "FROM labelled a JOIN labelled b ON a.image_id = b.image_id AND a.key < b.key GROUP BY 1, 2 ORDER BY 1, 2"),
    "model_pair_classes": (
        "SELECT * FROM model_pair_classes ORDER BY 1, 2, 3, 4",
        "SELECT a.key, b.key, a.prediction_class, b.prediction_class, count(*) FROM labelled a JOIN labelled b "
        "ON a.image_id = b.image_id AND a.key < b.key GROUP BY 1, 2, 3, 4 ORDER BY 1, 2, 3, 4"),
}


def audit(data, load, models=tuple(networks.KNOWN)):
    """Checks a stopped server's folder against what a Load was told. Returns counts for the report."""
    database = sqlite3.connect(data / "ocelli.db")
    database.execute("CREATE TEMP VIEW labelled AS SELECT p.*, i.label, p.model_name || '@' || p.model_version AS key "
                     "FROM main.predictions p JOIN main.images i ON i.image_id = p.image_id")
    assert database.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    images = {row[0]: row[1:] for row in database.execute(
        "SELECT image_id, minio_path, sha256, file_size_bytes, processing_status, label FROM images")}
    missing = set(load.acknowledged) - set(images)
    assert not missing, f"{len(missing)} acknowledged images are lost: {sorted(missing)[:5]}"
    for identity, (path, sha256, size, status, label) in images.items():
        stored = (data / "objects" / path).read_bytes()
        assert hashlib.sha256(stored).hexdigest() == sha256 and len(stored) == size, identity
        assert status == "completed", f"{identity} is {status}"
        if identity in load.acknowledged:
            assert sha256 == load.acknowledged[identity]
            assert label in load.labels[identity], f"{identity}: {label} is none of {load.labels[identity]}"
    answers = database.execute("SELECT image_id, model_name, model_version, count(*) FROM predictions GROUP BY 1, 2, 3").fetchall()
    assert all(count == 1 for *_, count in answers)
    assert {(i, m) for i, m, *_ in answers} == {(i, m) for i in images for m in models}
    assert len(answers) == len(images) * len(models)
    assert database.execute("SELECT count(*) FROM prediction_failures").fetchone() == (0,)
    assert database.execute("SELECT count(*) FROM model_comparisons WHERE model_count = ?", [len(models)]).fetchone() == (len(images),)
    finished = dict(database.execute("SELECT key, count(*) FROM bus_messages WHERE topic = 'comparisons-output-stream' GROUP BY 1"))
    assert finished == dict.fromkeys(images, 1)
    for name, (kept, recounted) in RECOUNTS.items():
        ours, theirs = database.execute(kept).fetchall(), database.execute(recounted).fetchall()
        assert ours == theirs, f"{name}: {sorted(set(ours) ^ set(theirs))}"
    assert not [p for p in database.execute("SELECT topic FROM bus_topics WHERE topic LIKE '%.dlq' AND messages > 0")]
    database.close()
    temporary = [p for p in (data / "objects").rglob("*") if p.is_file() and ".tmp" in p.name]
    assert not temporary, temporary
    objects = sum(p.is_file() for p in (data / "objects").rglob("*"))
    return {"acknowledged": len(load.acknowledged), "images": len(images), "predictions": len(answers), "objects": objects}
