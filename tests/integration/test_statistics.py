"""Statistics: what /stats says equals a recount from the raw predictions."""
import itertools
import math
import random

import pytest

from support import networks, pictures

COLORS = [pictures.RED, pictures.GREEN, pictures.BLUE, pictures.BLACK, (200, 120, 0), (0, 140, 120), (90, 90, 90)]


def recount(images):
    """Models and pairs, counted from images with their predictions and labels."""
    models, pairs = {}, {}
    for image in images:
        answers = sorted((f"{p['model_name']}@{p['model_version']}", p) for p in image["predictions"])
        for key, p in answers:
            model = models.setdefault(key, {"predictions": [], "labelled": 0, "correct": 0})
            model["predictions"].append(p)
            model["labelled"] += image["label"] is not None
            model["correct"] += image["label"] == p["prediction_class"]
        for (a, p), (b, q) in itertools.combinations(answers, 2):
            pair = pairs.setdefault((a, b), {"both_answered": 0, "agree": 0, "labelled": 0, "both_right": 0, "a_right_only": 0,
                                             "b_right_only": 0, "both_wrong": 0, "classes": []})
            pair["both_answered"] += 1
            pair["agree"] += p["prediction_class"] == q["prediction_class"]
            pair["classes"].append((p["prediction_class"], q["prediction_class"]))
            if image["label"] is not None:
                right = (p["prediction_class"] == image["label"], q["prediction_class"] == image["label"])
                pair["labelled"] += 1
                pair[{(True, True): "both_right", (True, False): "a_right_only", (False, True): "b_right_only",
                      (False, False): "both_wrong"}[right]] += 1
    return models, pairs


def kappa(classes):
    n = len(classes)
    observed = sum(a == b for a, b in classes) / n
    names = {c for pair in classes for c in pair}
    expected = sum(sum(a == c for a, _ in classes) * sum(b == c for _, b in classes) for c in names) / n**2
    return (observed - expected) / (1 - expected) if expected < 1 else None


def mcnemar_exact(b, c):
    n, k = b + c, min(b, c)
    return min(1.0, 2 * sum(math.comb(n, i) for i in range(k + 1)) / 2**n)


def wilson(k, n, z=1.959963984540054):
    p, d = k / n, 1 + z * z / n
    middle, half = (p + z * z / (2 * n)) / d, z * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n)) / d
    return [middle - half, middle + half]


def quantile(values, q):
    values = sorted(values)
    return values[min(len(values) - 1, max(0, math.ceil(q * len(values)) - 1))]


def compare(server, ids):
    images = [server.get(f"/images/{i}").expect(200).json for i in ids]
    models, pairs = recount(images)
    stats = server.get("/stats/models").expect(200).json
    assert {f"{m['model_name']}@{m['model_version']}" for m in stats["models"]} == set(models)
    for m in stats["models"]:
        counted = models[f"{m['model_name']}@{m['model_version']}"]
        predictions = counted["predictions"]
        times = [p["inference_time_ms"] for p in predictions]
        confidences = [p["confidence"] for p in predictions]
        assert m["total_predictions"] == len(predictions) and m["state"] == "active"
        assert m["avg_confidence"] == pytest.approx(sum(confidences) / len(confidences), abs=1e-9)
        assert m["avg_time_ms"] == pytest.approx(sum(times) / len(times), abs=1e-9)
        assert (m["min_time_ms"], m["max_time_ms"]) == (min(times), max(times))
        for name, q in (("p50", 0.5), ("p90", 0.9), ("p95", 0.95), ("p99", 0.99)):
            # A bucket is at most 0.8 % wide, and times are kept in whole microseconds.
            assert m[f"{name}_time_ms"] == pytest.approx(quantile(times, q), rel=0.016, abs=0.002)
            low, high = m[f"{name}_time_ms_interval"]
            assert low <= m[f"{name}_time_ms"] <= high
        assert m["unique_classes"] == len({p["prediction_class"] for p in predictions})
        assert (m["labelled"], m["correct"]) == (counted["labelled"], counted["correct"])
        if counted["labelled"]:
            assert m["accuracy"] == pytest.approx(counted["correct"] / counted["labelled"])
            assert m["accuracy_interval"] == pytest.approx(wilson(counted["correct"], counted["labelled"]), abs=1e-6)
            assert 0 <= m["calibration_error"] <= 1
        else:
            assert m["accuracy"] is None and m["accuracy_interval"] is None
    assert {(p["model_a"], p["model_b"]) for p in stats["pairs"]} == set(pairs)
    for p in stats["pairs"]:
        counted = pairs[(p["model_a"], p["model_b"])]
        for name in ("both_answered", "agree", "labelled", "both_right", "a_right_only", "b_right_only", "both_wrong"):
            assert p[name] == counted[name], (name, p)
        assert p["agreement"] == pytest.approx(counted["agree"] / counted["both_answered"])
        expected = kappa(counted["classes"])
        assert p["kappa"] == (None if expected is None else pytest.approx(expected, abs=1e-9))
        if counted["labelled"]:
            if p["mcnemar"]["exact"]:
                assert p["mcnemar"]["p"] == pytest.approx(mcnemar_exact(counted["a_right_only"], counted["b_right_only"]), abs=1e-9)
            assert 0 <= p["mcnemar"]["p"] <= 1
        else:
            assert p["mcnemar"] is None
    return stats


def test_recounted(server):
    chance = random.Random(3)
    ids = []
    for i in range(60):
        color = chance.choice(COLORS)
        fields = {"label": chance.choice(networks.LABELS)} if chance.random() < 0.5 else {}
        ids.append(server.upload(pictures.png(color, comment=b"%d" % i), **fields).expect(200).json["image_id"])
    server.settle()
    compare(server, ids)
    for _ in range(40):  # corrections by people, again and again on the same images
        label = chance.choice([*networks.LABELS, None])
        server.send_json("PUT", f"/images/{chance.choice(ids)}/label", {"label": label}).expect(200)
    stats = compare(server, ids)
    assert any(m["labelled"] for m in stats["models"])
    # After a restart the same.
    server.restart()
    assert compare(server, ids) == stats


def test_performance_and_clearing(server):
    ids = [server.upload(pictures.png(color), wait=30, label="red").expect(200).json["image_id"] for color in COLORS]
    rows = server.get("/stats/performance").expect(200).json["rows"]
    predictions = [p for i in ids for p in server.get(f"/predictions/{i}").json["predictions"]]
    for name in networks.KNOWN:
        own = [p for p in predictions if p["model_name"] == name]
        mine = [r for r in rows if r["model_name"] == name]
        assert sum(r["prediction_count"] for r in mine) == len(own) == len(COLORS)
        mean = sum(r["avg_confidence"] * r["prediction_count"] for r in mine) / len(own)
        assert mean == pytest.approx(sum(p["confidence"] for p in own) / len(own), abs=1e-9)
    for hours in ("0", "8785", "x", "-3"):
        server.get(f"/stats/performance?hours={hours}").problem(400, "hours")
    assert server.get("/stats/performance?hours=1").expect(200).json["hours"] == 1

    cleared = server.request("POST", "/admin/clear-predictions").expect(200).json
    assert cleared == {"deleted_predictions": len(predictions)}
    assert server.get("/stats/models").json["models"] == [] and server.get("/stats/performance").json["rows"] == []
    assert server.get("/predictions/recent/10").json["count"] == 0
    image = server.get(f"/images/{ids[0]}").expect(200).json
    assert image["status"] == "completed" and image["predictions"] == [] and image["comparison"] is None
    server.get(f"/comparisons/{ids[0]}").problem(404)
    assert server.request("POST", "/admin/clear-predictions").expect(200).json == {"deleted_predictions": 0}
    ids = [server.upload(pictures.png(pictures.BLUE), wait=30).expect(200).json["image_id"]]
    compare(server, ids)
