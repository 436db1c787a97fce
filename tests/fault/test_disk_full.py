"""A full disk: uploads are refused with 507, reads go on, and all recovers by itself once there is room."""
import os
import subprocess
import time

import pytest

from support import pictures
from support.audit import audit
from support.load import Load
from support.server import Server, eventually

MIB = 1 << 20


@pytest.fixture
def small_disk(tmp_path):
    folder = tmp_path / "disk"
    folder.mkdir()
    if os.geteuid() != 0 or subprocess.run(["mount", "-t", "tmpfs", "-o", "size=48m", "tmpfs", folder], capture_output=True).returncode != 0:
        pytest.skip("a small file system cannot be mounted here (needs root)")
    yield folder
    subprocess.run(["umount", "-l", folder], check=True)


def fill(disk, leave=0):
    """Takes all room but `leave` bytes."""
    with open(disk / "ballast", "ab", buffering=0) as ballast:
        for size in (MIB, 4096, 1):
            try:
                while True:
                    free = os.statvfs(disk)
                    if free.f_bavail * free.f_frsize - size < leave:
                        break
                    ballast.write(b"\0" * size)
            except OSError:
                pass


def free(disk):
    (disk / "ballast").unlink()


def check_full(server, known):
    answers = [server.upload(pictures.png(pictures.RED, comment=os.urandom(3000).hex().encode())) for _ in range(20)]
    assert {a.status for a in answers} <= {200, 507} and any(a.status == 507 for a in answers)
    for answer in answers:
        if answer.status == 507:
            answer.problem(507)
    # Reads go on.
    assert server.get(f"/images/{known['image_id']}").expect(200).json == known
    server.get(f"/images/{known['image_id']}/content").expect(200)
    for path in ("/stats/models", "/predictions/recent/5", "/topics", "/metrics", "/livez", "/events"):
        server.get(path).expect(200)
    return [a.json["image_id"] for a in answers if a.status == 200]


def check_recovered(server):
    eventually(lambda: server.upload(pictures.png(pictures.GREEN, comment=b"after"), wait=30).status == 200)
    eventually(lambda: server.get("/health").status == 200)
    assert server.upload(pictures.png(pictures.BLUE), wait=30).expect(200).json["status"] == "completed"


def test_the_reserve_is_kept(models, small_disk):
    """By default uploads end while there is still room for what was accepted to be finished."""
    with Server(small_disk / "data", models, "--disk-free-bytes-min", str(4 * MIB)) as server:
        known = server.upload(pictures.png(pictures.RED), wait=30).expect(200).json
        fill(small_disk, leave=3 * MIB)
        assert check_full(server, known) == []
        health = server.get("/health").expect(503).json
        assert health["status"] == "degraded" and health["parts"]["objects"]["status"] == "failed"
        assert "507" not in str(health) and len(health["parts"]["objects"]["detail"]) > 10
        server.send_form("/upload/batch", [("files", pictures.png(pictures.RED), "x.png")]).expect(200)
        free(small_disk)
        check_recovered(server)


def test_full_to_the_last_byte(models, small_disk):
    """Without a reserve, under load, several times: nothing acknowledged is lost and the process stays."""
    server = Server(small_disk / "data", models, "--disk-free-bytes-min", "0").start()
    known = server.upload(pictures.png(pictures.RED), wait=30).expect(200).json
    total = Load(server)
    for cycle in range(3):
        load = Load(server, threads=4, seed=400 + cycle, bytes_extra=200).start()
        time.sleep(0.2)
        fill(small_disk)
        eventually(lambda: load.statuses.get(507, 0) >= 10)
        for identity in check_full(server, known):
            total.labels[identity] = {None}
        before = len(load.acknowledged)
        free(small_disk)
        eventually(lambda: len(load.acknowledged) > before + 5)  # by itself, while they go on asking
        load.stop()
        assert set(load.statuses) <= {200, 507}, load.statuses
        total.acknowledged.update(load.acknowledged)
        total.labels.update(load.labels)
    check_recovered(server)
    server.settle()
    server.stop()
    assert audit(server.data, total)["acknowledged"] > 10


def test_killed_while_full(models, small_disk):
    server = Server(small_disk / "data", models, "--disk-free-bytes-min", "0").start()
    known = server.upload(pictures.png(pictures.RED), wait=30).expect(200).json
    load = Load(server, threads=4, seed=500, bytes_extra=200).start()
    time.sleep(0.2)
    fill(small_disk)
    eventually(lambda: load.statuses.get(507, 0) >= 10)
    server.kill()
    load.stop()
    free(small_disk)
    server.start()
    assert server.get(f"/images/{known['image_id']}").expect(200).json == known
    check_recovered(server)
    server.settle()
    server.stop()
    audit(server.data, load)
