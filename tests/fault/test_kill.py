"""kill -9 at random moments, again and again, and a graceful stop under load: nothing acknowledged is lost, nothing
is counted twice, nothing is half there."""
import hashlib
import os
import random
import sqlite3
import subprocess
import time

import pytest

from support import networks
from support.audit import audit
from support.load import Load
from support.server import BINARY, Server

CYCLES = int(os.environ.get("OCELLI_KILL_CYCLES", "10"))


def merge(into, load):
    into.acknowledged.update(load.acknowledged)
    for identity, labels in load.labels.items():
        into.labels.setdefault(identity, set()).update(labels)


def kill_while_starting(server, chance):
    process = subprocess.Popen([BINARY, "serve", "--port", "0", "--data-dir", server.data, "--models-dir", server.models],
                               stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    time.sleep(chance.uniform(0, 0.2))
    process.kill()
    process.wait()


def test_killed_at_random_moments(models, tmp_path):
    chance = random.Random(os.environ.get("OCELLI_KILL_SEED", "11"))
    server = Server(tmp_path / "data", models, "--disk-free-bytes-min", "0")
    total = Load(server)
    for cycle in range(CYCLES):
        if cycle % 5 == 4:
            kill_while_starting(server, chance)
        server.start()
        load = Load(server, threads=6, seed=cycle, relabel=True)
        load.acknowledged, load.labels = dict(total.acknowledged), {i: set(l) for i, l in total.labels.items()}
        load.start()
        time.sleep(chance.uniform(0.02, 0.8))
        server.kill()
        load.stop()
        merge(total, load)
    server.start()
    server.settle(120)
    sample = chance.sample(sorted(total.acknowledged), min(100, len(total.acknowledged)))
    for identity in sample:
        image = server.get(f"/images/{identity}").expect(200).json
        assert image["status"] == "completed" and sorted(p["model_name"] for p in image["predictions"]) == sorted(networks.KNOWN)
        assert image["sha256"] == total.acknowledged[identity]
        assert len(server.get(f"/images/{identity}/content").expect(200).body) == image["file_size_bytes"]
    server.stop()
    counts = audit(server.data, total)
    print(f"{CYCLES} kills: {counts}")
    assert counts["acknowledged"] >= CYCLES  # the load did get through


def test_every_acknowledged_byte_over_http(models, tmp_path):
    """A few cycles, and then each acknowledged image is fetched and compared."""
    chance = random.Random(5)
    server = Server(tmp_path / "data", models)
    total = Load(server)
    for cycle in range(2):
        server.start()
        load = Load(server, threads=4, seed=100 + cycle, bytes_extra=20000).start()
        time.sleep(chance.uniform(0.1, 0.4))
        server.kill()
        load.stop()
        merge(total, load)
    with server:
        connection = server.connect()
        for identity, sha256 in total.acknowledged.items():
            body = server.request("GET", f"/images/{identity}/content", connection=connection).expect(200).body
            assert hashlib.sha256(body).hexdigest() == sha256
        connection.close()


def test_stopped_under_load(models, tmp_path):
    server = Server(tmp_path / "data", models, "--disk-free-bytes-min", "0")
    total = Load(server)
    for cycle in range(3):
        server.start()
        load = Load(server, threads=8, seed=200 + cycle, relabel=True).start()
        time.sleep(0.4)
        server.stop()  # checks for exit status 0
        load.stop()
        merge(total, load)
    server.start()
    server.settle(120)
    server.stop()
    counts = audit(server.data, total)
    assert counts["acknowledged"] > 10
    assert counts["objects"] == counts["images"]  # gracefully: not even an object without a row


def test_the_audit_notices(server):
    """The audit itself: each kind of damage fails it."""
    load = Load(server, threads=2, seed=300, relabel=True).start()
    time.sleep(0.3)
    load.stop()
    server.settle()
    server.stop()
    audit(server.data, load)
    for damage in ("DELETE FROM predictions WHERE prediction_id = 1",
                   "UPDATE images SET processing_status = 'processing' WHERE image_id = (SELECT min(image_id) FROM images)",
                   "UPDATE model_totals SET predictions = predictions + 1", "UPDATE model_pairs SET agree = agree + 1",
                   "UPDATE model_comparisons SET model_count = 2", "UPDATE images SET label = 'unheard of'"):
        database = sqlite3.connect(server.data / "ocelli.db")
        backup = sqlite3.connect(":memory:")
        database.backup(backup)
        with database:
            database.execute(damage)
        with pytest.raises(AssertionError):
            audit(server.data, load)
        backup.backup(database)
        database.close()
        backup.close()
    audit(server.data, load)
    stored = next(p for p in (server.data / "objects").rglob("*.png"))
    stored.write_bytes(stored.read_bytes()[:-1] + b"\0")
    with pytest.raises(AssertionError):
        audit(server.data, load)
    server.start()
