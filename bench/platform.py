#!/usr/bin/env python3
"""Measures the platform as its users meet it: a real `ocelli serve`, real uploads over HTTP, everything durable.

Usage: bench/platform.py OCELLI [--quick] [--json FILE] [--only PART...]

Parts, each with a server of its own on a fresh data folder:
  throughput  images/s through all three models, upload to recorded, beside the bare engine's sum on the same cores, in turns
  uploads     acknowledged (synced) uploads a second from 16 clients, nothing else running
  latency     milliseconds from an upload's arrival to its third prediction recorded, at half the load that throughput found
  memory      resident memory after warm-up and after 100,000 images; time from start to ready; the binary's size

Needs Python with Pillow to make the photographs (JPEG, 500 x 375) it uploads. Networks are untrained: speed does not depend on weights.
"""
import argparse
import contextlib
import json
import pathlib
import random
import shutil
import signal
import sqlite3
import statistics
import subprocess
import tempfile
import time
import urllib.request

ARCHITECTURES = ("resnet50", "mobilenetv2", "efficientnet_b0")
TURNS = 3


def make_photographs(folder, size, count):
    from PIL import Image, ImageFilter
    folder.mkdir(parents=True)
    source = random.Random(7)
    for i in range(count):
        noise = Image.frombytes("RGB", (size[0] // 8, size[1] // 8), source.randbytes(size[0] // 8 * (size[1] // 8) * 3))
        picture = noise.resize(size, Image.BICUBIC).filter(ImageFilter.GaussianBlur(1))
        picture.save(folder / f"{i:04}.jpg", quality=85)


def make_models(ocelli, folder, size):
    for architecture in ARCHITECTURES:
        subprocess.run([ocelli, "models", "new", architecture, "--classes", "10", "--input", str(size), "--seed", "1",
                        "--out", str(folder / architecture)], check=True, stdout=subprocess.DEVNULL)


def get(url):
    with urllib.request.urlopen(url, timeout=30) as answer:
        return json.load(answer)


@contextlib.contextmanager
def server(ocelli, data, *options):
    began = time.monotonic()
    process = subprocess.Popen([ocelli, "serve", "--port", "0", "--data-dir", str(data), "--log-level", "warning", *options],
                               stdout=subprocess.PIPE, text=True)
    try:
        line = process.stdout.readline()
        ready = time.monotonic() - began
        url = next(word for word in line.split() if word.startswith("http://"))
        yield url, process.pid, ready
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(60)


def stream(ocelli, url, photographs, limit, rate=None):
    command = [ocelli, "stream", str(photographs), "--url", url, "--loop", "--limit", str(limit), "--concurrency", "16", "--json"]
    if rate:
        command += ["--rate", f"{rate:.2f}"]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)


def recorded(url):
    models = get(url + "/stats/models")["models"]
    return min((model["total_predictions"] for model in models), default=0) if len(models) == len(ARCHITECTURES) else 0


def wait_recorded(url, count):
    while recorded(url) < count:
        time.sleep(0.02)


def engine_rate(ocelli, models):
    """Images/s of the three models one after the other over the same cores: what a platform of no cost would reach."""
    answer = json.loads(subprocess.run([ocelli, "bench", "--models-dir", str(models), "--batch", "8", "--threads", "2", "--seconds", "3",
                                        "--json"], check=True, capture_output=True, text=True).stdout)
    rows = answer["models"] if isinstance(answer, dict) else answer
    return 1.0 / sum(1.0 / row["images_per_second"] for row in rows)


def platform_rate(ocelli, models, photographs, count, folder):
    with server(ocelli, folder, "--models-dir", str(models)) as (url, _, _):
        warm = 64
        stream(ocelli, url, photographs, warm).wait()
        wait_recorded(url, warm)
        began = time.monotonic()
        client = stream(ocelli, url, photographs, count)
        wait_recorded(url, warm + count)
        rate = count / (time.monotonic() - began)
        client.wait()
    shutil.rmtree(folder)
    return rate


def measure_throughput(ocelli, work, quick):
    rows = []
    for size, photo_size, count, goal in ((224, (500, 375), 300, 0.95), (32, (32, 32), 3000, 0.70)):
        models, photographs = work / f"models{size}", work / f"photographs{size}"
        make_models(ocelli, models, size)
        make_photographs(photographs, photo_size, 64)
        count = count // 5 if quick else count
        engine, platform = [], []
        for turn in range(TURNS):
            engine.append(engine_rate(ocelli, models))
            platform.append(platform_rate(ocelli, models, photographs, count, work / f"data{size}-{turn}"))
        ratios = [b / a for a, b in zip(engine, platform)]
        rows.append({"input": size, "engine_images_per_second": statistics.median(engine),
                     "platform_images_per_second": statistics.median(platform), "ratio": statistics.median(ratios), "goal": goal})
        print(f"{size} x {size}: engine {statistics.median(engine):.1f}, platform {statistics.median(platform):.1f} images/s, "
              f"ratio {statistics.median(ratios):.2f} (goal {goal})", flush=True)
    return rows


def measure_uploads(ocelli, work, quick):
    photographs = work / "photographs-upload"
    make_photographs(photographs, (500, 375), 64)
    count, rates = (1000 if quick else 5000), []
    for turn in range(TURNS):
        with server(ocelli, work / f"uploads-{turn}", "--roles", "api") as (url, _, _):
            began = time.monotonic()
            stream(ocelli, url, photographs, count).wait()
            rates.append(count / (time.monotonic() - began))
        shutil.rmtree(work / f"uploads-{turn}")
    print(f"acknowledged uploads: {statistics.median(rates):.0f} a second from 16 clients", flush=True)
    return {"uploads_per_second": statistics.median(rates), "clients": 16}


def percentile(values, share):
    return sorted(values)[min(len(values) - 1, int(share * len(values)))]


def measure_latency(ocelli, work, quick):
    models, photographs = work / "models-latency", work / "photographs-latency"
    make_models(ocelli, models, 32)
    make_photographs(photographs, (32, 32), 64)
    full = platform_rate(ocelli, models, photographs, 400 if quick else 2000, work / "latency-full")
    count = int(full / 2 * (5 if quick else 30))
    folder = work / "latency"
    with server(ocelli, folder, "--models-dir", str(models)) as (url, _, _):
        stream(ocelli, url, photographs, 200).wait()
        wait_recorded(url, 200)
        stream(ocelli, url, photographs, count, rate=full / 2).wait()
        wait_recorded(url, 200 + count)
    with sqlite3.connect(folder / "ocelli.db") as database:
        rows = database.execute("SELECT (julianday(processed_at) - julianday(upload_timestamp)) * 86400000 FROM images "
                                "WHERE processing_status = 'completed' ORDER BY upload_timestamp").fetchall()
    times = [row[0] for row in rows][200:]
    result = {"load_images_per_second": full / 2, "images": len(times), "p50_ms": percentile(times, 0.5), "p99_ms": percentile(times, 0.99)}
    print(f"upload to third prediction at {full / 2:.0f} images/s: p50 {result['p50_ms']:.1f} ms, p99 {result['p99_ms']:.1f} ms "
          f"(n = {len(times)})", flush=True)
    return result


def resident_kb(pid):
    for line in pathlib.Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1])
    raise RuntimeError("no VmRSS")


def measure_memory(ocelli, work, quick):
    models, photographs = work / "models-memory", work / "photographs-memory"
    make_models(ocelli, models, 32)
    make_photographs(photographs, (32, 32), 64)
    count = 5000 if quick else 100000
    with server(ocelli, work / "memory", "--models-dir", str(models)) as (url, pid, ready):
        stream(ocelli, url, photographs, 1000).wait()
        wait_recorded(url, 1000)
        warm = resident_kb(pid)
        stream(ocelli, url, photographs, count).wait()
        wait_recorded(url, 1000 + count)
        after = resident_kb(pid)
    binary = pathlib.Path(ocelli).stat().st_size
    print(f"resident: {warm / 1024:.0f} MiB after warm-up, {after / 1024:.0f} MiB after {count} images; ready in {ready * 1000:.0f} ms; "
          f"binary {binary / 1e6:.1f} MB", flush=True)
    return {"resident_warm_kib": warm, "resident_after_kib": after, "images": count, "ready_ms": ready * 1000, "binary_bytes": binary}


PARTS = {"throughput": measure_throughput, "uploads": measure_uploads, "latency": measure_latency, "memory": measure_memory}


def main():
    parser = argparse.ArgumentParser(description="Measures the platform as its users meet it.")
    parser.add_argument("ocelli")
    parser.add_argument("--quick", action="store_true", help="a tenth of the images: to see that it works, not to quote")
    parser.add_argument("--json", metavar="FILE", help="also write the figures here")
    parser.add_argument("--only", nargs="+", choices=PARTS, default=list(PARTS))
    options = parser.parse_args()
    figures = {}
    for part in options.only:
        with tempfile.TemporaryDirectory(prefix="ocelli-bench-") as work:
            figures[part] = PARTS[part](str(pathlib.Path(options.ocelli).resolve()), pathlib.Path(work), options.quick)
    if options.json:
        pathlib.Path(options.json).write_text(json.dumps(figures, indent=2) + "\n")


if __name__ == "__main__":
    main()
