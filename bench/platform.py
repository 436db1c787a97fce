#!/usr/bin/env python3
"""Measures the platform as its users meet it: a real `ocelli serve`, real uploads over HTTP, everything durable.

Usage: bench/platform.py BUILD_DIR [--quick] [--json FILE] [--only PART...] [--turns N] [--images N]

Parts, each with a server of its own on a fresh data folder:
  throughput  images/s through all three models, upload to recorded, beside the bare engine's own on the same cores, in turns
  uploads     acknowledged (synced) uploads a second from 16 clients, nothing else running
  latency     milliseconds from an upload's arrival to its third prediction recorded, at half the load the platform can take
  memory      resident memory after warm-up and while it classifies 100,000 images
  start       time from start to ready, first and later, with float32 and with float16 weights; the binary's size

The networks are untrained (speed does not depend on weights), the photographs are made (make_photographs.c), the clients run on
the same cores as the server. Times are medians of turns. A part that misses its goal says so and makes the exit status 1.
"""
import argparse
import collections
import contextlib
import json
import os
import pathlib
import re
import signal
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request

ARCHITECTURES = ("resnet50", "mobilenetv2", "efficientnet_b0")
CLIENTS = 16
BATCH = 8
PRECISION = "bf16"  # what `auto` becomes for the networks that ship; fp32 where the CPU has none
STUCK_SECONDS = 120  # without one more recorded prediction
TICKS = os.sysconf("SC_CLK_TCK")
CORES = len(os.sched_getaffinity(0))

Bench = collections.namedtuple("Bench", "ocelli make_photographs work quick turns images")


class Trouble(Exception):
    """A measurement that cannot be had."""


def run(command):
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True)
    if done.returncode != 0:
        raise Trouble(f"{' '.join(map(str, command))} ended with {done.returncode}:\n{done.stderr.strip() or done.stdout.strip()}")
    return done.stdout


def photographs(bench, width, height):
    folder = bench.work / f"photographs-{width}"
    if not folder.exists():
        run([bench.make_photographs, folder, width, height, 64])
    return folder


def models(bench, size):
    folder = bench.work / f"models-{size}"
    for architecture in ARCHITECTURES:
        if not (folder / architecture).exists():
            run([bench.ocelli, "models", "new", architecture, "--classes", "10", "--input", size, "--seed", "1",
                 "--out", folder / architecture])
    return folder


def get(url):
    with urllib.request.urlopen(url, timeout=30) as answer:
        return json.load(answer)


class Server:
    """A running `ocelli serve`. Its log goes to a file, to be shown when something is wrong."""

    def __init__(self, bench, data, *options):
        self.data = data
        self.log = bench.work / "server.log"
        began = time.monotonic()
        with open(self.log, "w", encoding="utf-8") as log:
            self.process = subprocess.Popen([bench.ocelli, "serve", "--port", "0", "--data-dir", str(data), "--log-level", "warning",
                                             *map(str, options)], stdout=subprocess.PIPE, stderr=log, text=True)
        line = self.process.stdout.readline()
        self.ready_seconds = time.monotonic() - began
        found = re.search(r"http://\S+", line)
        if found is None:
            self.process.kill()
            self.process.wait()
            raise Trouble(f"the server did not start:\n{self.log.read_text()}")
        self.url = found[0]

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(60)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise Trouble("the server did not stop within a minute") from None

    def status_kib(self, field):
        text = pathlib.Path(f"/proc/{self.process.pid}/status").read_text(encoding="ascii")
        return int(re.search(rf"^{field}:\s+(\d+)", text, re.MULTILINE)[1])

    def cpu_seconds(self):
        fields = pathlib.Path(f"/proc/{self.process.pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / TICKS

    def recorded(self):
        """Images that every model has answered, as the slowest model's count says."""
        stats = get(self.url + "/stats/models")["models"]
        return min((model["total_predictions"] for model in stats), default=0) if len(stats) == len(ARCHITECTURES) else 0

    def wait_recorded(self, count):
        """Asks seldom while there is much to do, since asking takes from the cores that are measured."""
        began, first = time.monotonic(), self.recorded()
        most, changed = first, began
        while most < count:
            elapsed = time.monotonic() - began
            left = (count - most) / (most - first) * elapsed if most > first else 0.1
            time.sleep(min(max(left / 2, 0.01), 5.0))
            if (now := self.recorded()) > most:
                most, changed = now, time.monotonic()
            if time.monotonic() - changed > STUCK_SECONDS:
                raise Trouble(f"only {most} of {count} images were recorded:\n{self.log.read_text()}")


@contextlib.contextmanager
def server(bench, *options):
    """On a data folder of its own, which stays until the end: ext4 takes several hundred microseconds more to make a file while
    many have been deleted in the last minutes, which would be measured in the turns that follow."""
    running = Server(bench, pathlib.Path(tempfile.mkdtemp(prefix="data-", dir=bench.work)), *options)
    try:
        yield running
    finally:
        running.stop()


def stream(bench, running, folder, limit, rate=None):
    """Uploads `limit` photographs and returns `ocelli stream`'s own summary."""
    command = [bench.ocelli, "stream", folder, "--url", running.url, "--loop", "--limit", limit, "--concurrency", CLIENTS, "--json"]
    return json.loads(run(command + (["--rate", f"{rate:.3f}"] if rate else [])))


def engine_rates(bench, folder, precision):
    """Images/s of each model alone, one single-threaded run a core side by side, as the platform runs them."""
    rows = json.loads(run([bench.ocelli, "bench", "--models-dir", folder, "--batch", BATCH, "--threads", 1, "--parallel", CORES,
                           "--seconds", 1 if bench.quick else 4, "--precision", precision, "--json"]))
    return {row["name"]: row["images_per_second"] for row in rows}


def combined(rates):
    """Through all models one after the other: what a platform that costs nothing would reach."""
    return 1.0 / sum(1.0 / rate for rate in rates.values())


def platform_rate(bench, folder, precision, pictures, warm, count):
    """Images/s from the first upload until the last is recorded, and the server's processor time an image."""
    with server(bench, "--models-dir", folder, "--precision", precision) as running:
        stream(bench, running, pictures, warm)
        running.wait_recorded(warm)
        cpu, began = running.cpu_seconds(), time.monotonic()
        stream(bench, running, pictures, count)
        running.wait_recorded(warm + count)
        return count / (time.monotonic() - began), (running.cpu_seconds() - cpu) / count


def measure_throughput(bench):
    rows = []
    for size, precision, photo, warm, count, goal in ((224, "bf16", (500, 375), 200, 1500, 0.95),
                                                      (224, "fp32", (500, 375), 200, 750, 0.95),
                                                      (32, "bf16", (32, 32), 1000, 12000, 0.70)):
        folder, pictures = models(bench, size), photographs(bench, *photo)
        count = count // 10 if bench.quick else count
        engines, platforms = [], []
        for _ in range(bench.turns):
            engines.append(engine_rates(bench, folder, precision))
            platforms.append(platform_rate(bench, folder, precision, pictures, warm, count))
        ratio = statistics.median(rate / combined(engine) for engine, (rate, _) in zip(engines, platforms))
        rows.append({
            "input": size, "precision": precision, "photographs": f"{photo[0]}x{photo[1]}", "images": count, "turns": bench.turns,
            "engine_images_per_second": statistics.median(map(combined, engines)),
            "engine_by_model": {name: statistics.median(engine[name] for engine in engines) for name in ARCHITECTURES},
            "platform_images_per_second": statistics.median(rate for rate, _ in platforms),
            "server_cpu_us_per_image": statistics.median(cpu for _, cpu in platforms) * 1e6,
            "engine_cpu_us_per_image": CORES / statistics.median(map(combined, engines)) * 1e6,
            "ratio": ratio, "goal": goal, "met": ratio >= goal})
        print("{input} x {input} in {precision}: engine {engine_images_per_second:.1f}, platform {platform_images_per_second:.1f} images/s: "
              "ratio {ratio:.2f} (goal {goal}); server {server_cpu_us_per_image:.0f} us of processor an image, of which about "
              "{engine_cpu_us_per_image:.0f} the engine's".format(**rows[-1]), flush=True)
    return rows


def measure_uploads(bench):
    pictures, rates, answers = photographs(bench, 500, 375), [], []
    count = 1000 if bench.quick else 5000
    for _ in range(bench.turns):
        with server(bench, "--roles", "api") as running:
            stream(bench, running, pictures, CLIENTS)
            summary = stream(bench, running, pictures, count)
            rates.append(summary["images_per_second"])
            answers.append(summary["answer_ms"])
    row = {"clients": CLIENTS, "images": count, "turns": bench.turns, "uploads_per_second": statistics.median(rates),
           "answer_p50_ms": statistics.median(answer["p50"] for answer in answers),
           "answer_p99_ms": statistics.median(answer["p99"] for answer in answers)}
    print("acknowledged uploads: {uploads_per_second:.0f} a second from {clients} clients; answered in {answer_p50_ms:.1f} ms (median), "
          "{answer_p99_ms:.1f} ms (p99)".format(**row), flush=True)
    return row


def percentile(values, share):
    return sorted(values)[min(len(values) - 1, int(share * len(values)))]


def measure_latency(bench):
    folder, pictures = models(bench, 32), photographs(bench, 32, 32)
    full, _ = platform_rate(bench, folder, PRECISION, pictures, 400, 400 if bench.quick else 3000)
    warm, rate = 400, full / 2
    count = int(rate * (5 if bench.quick else 30))
    with server(bench, "--models-dir", folder, "--precision", PRECISION) as running:
        stream(bench, running, pictures, warm)
        running.wait_recorded(warm)
        stream(bench, running, pictures, count, rate=rate)
        running.wait_recorded(warm + count)
        with contextlib.closing(sqlite3.connect(f"file:{running.data}/ocelli.db?mode=ro", uri=True)) as database:
            times = [row[0] for row in database.execute(
                "SELECT (julianday(processed_at) - julianday(upload_timestamp)) * 86400000 FROM images "
                "WHERE processing_status = 'completed' ORDER BY upload_timestamp LIMIT -1 OFFSET ?", (warm,))]
    if len(times) != count:
        raise Trouble(f"{len(times)} of {count} images were completed")
    row = {"load_images_per_second": rate, "images": count, "p50_ms": percentile(times, 0.5), "p99_ms": percentile(times, 0.99)}
    print("upload to third prediction at {load_images_per_second:.0f} images/s: p50 {p50_ms:.1f} ms, p99 {p99_ms:.1f} ms "
          "(n = {images})".format(**row), flush=True)
    return row


def measure_memory(bench):
    """Resident memory over the whole stream, so that growth shows; the first tenth is where caches fill."""
    folder, pictures, warm = models(bench, 32), photographs(bench, 32, 32), 2000
    count = 4000 if bench.quick else bench.images
    samples, done = [], threading.Event()

    def watch():
        while not done.wait(1.0):
            samples.append((running.recorded(), running.status_kib("VmRSS")))

    with server(bench, "--models-dir", folder, "--precision", PRECISION) as running:
        stream(bench, running, pictures, warm)
        running.wait_recorded(warm)
        before = running.status_kib("VmRSS")
        watcher = threading.Thread(target=watch)
        watcher.start()
        try:
            stream(bench, running, pictures, count)
            running.wait_recorded(warm + count)
        finally:
            done.set()
            watcher.join()
        after = running.status_kib("VmRSS")
    tenths = [[kib for at, kib in samples if tenth <= (at - warm) * 10 / count < tenth + 1] for tenth in range(10)]
    row = {"warm_images": warm, "images": count, "resident_warm_mib": before / 1024, "resident_after_mib": after / 1024,
           "resident_by_tenth_mib": [round(statistics.median(tenth) / 1024, 1) for tenth in tenths if tenth]}
    print("resident: {resident_warm_mib:.0f} MiB after {warm_images} images, {resident_after_mib:.0f} MiB after {images} more; on the "
          "way {resident_by_tenth_mib}".format(**row), flush=True)
    return row


def start_times(bench, folder):
    """Milliseconds to ready on no data folder, and on the one that is then there."""
    first, later = [], []
    for _ in range(bench.turns):
        data = pathlib.Path(tempfile.mkdtemp(prefix="start-", dir=bench.work)) / "data"
        for times in (first, later):
            running = Server(bench, data, "--models-dir", folder)
            times.append(running.ready_seconds)
            running.stop()
    return statistics.median(first) * 1000, statistics.median(later) * 1000


def measure_start(bench):
    goal_ms, row = 1000.0, {"goal_ms": 1000.0}
    sets = {"float32": models(bench, 32)}
    shipped = pathlib.Path(__file__).resolve().parent.parent / "models"
    if all((shipped / name / "model.onnx").exists() for name in ARCHITECTURES):
        sets["shipped_float16"] = shipped
    for name, folder in sets.items():
        row[name + "_first_ms"], row[name + "_ms"] = start_times(bench, folder)
        print(f"start to ready, three models ({name}): {row[name + '_first_ms']:.0f} ms the first time, {row[name + '_ms']:.0f} ms "
              f"later (goal {goal_ms:.0f})", flush=True)
    row["met"] = all(value < goal_ms for key, value in row.items() if key.endswith("_ms") and key != "goal_ms")
    stripped = bench.work / "ocelli-stripped"
    run(["strip", "-o", stripped, bench.ocelli])
    row["binary_bytes"], row["binary_stripped_bytes"] = pathlib.Path(bench.ocelli).stat().st_size, stripped.stat().st_size
    print("binary: {binary_bytes} bytes, {binary_stripped_bytes} stripped".format(**row), flush=True)
    return row


PARTS = {"throughput": measure_throughput, "uploads": measure_uploads, "latency": measure_latency, "memory": measure_memory,
         "start": measure_start}


def is_met(figures):
    if isinstance(figures, dict):
        return figures.get("met", True) and all(map(is_met, figures.values()))
    return all(map(is_met, figures)) if isinstance(figures, list) else True


def main():
    parser = argparse.ArgumentParser(description="Measures the platform as its users meet it.")
    parser.add_argument("build", type=pathlib.Path, help="the build folder")
    parser.add_argument("--quick", action="store_true", help="few images and one turn: to see that it works, not to quote")
    parser.add_argument("--json", metavar="FILE", type=pathlib.Path, help="also write the figures here")
    parser.add_argument("--only", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--images", type=int, default=100000, help="that the memory part streams")
    options = parser.parse_args()
    build, figures = options.build.resolve(), {"cores": CORES}
    try:
        with tempfile.TemporaryDirectory(prefix="ocelli-bench-") as work:
            bench = Bench(str(build / "ocelli"), build / "bench" / "make_photographs", pathlib.Path(work), options.quick,
                          1 if options.quick else options.turns, options.images)
            for part in options.only:
                figures[part] = PARTS[part](bench)
    except Trouble as trouble:
        print(f"platform.py: {trouble}", file=sys.stderr)
        return 2
    if options.json:
        options.json.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
    return 0 if is_met(figures) else 1


if __name__ == "__main__":
    sys.exit(main())
