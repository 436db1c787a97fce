"""Starting the program, stopping it in every way, and talking to it."""
import http.client
import json
import os
import pathlib
import re
import secrets
import signal
import socket
import subprocess
import threading
import time

BINARY = os.environ.get("OCELLI", "build/ocelli")
# A sanitizer's build keeps freed memory on purpose and is many times slower.
SANITIZED = any(mark in pathlib.Path(BINARY).read_bytes() for mark in (b"__asan_init", b"__tsan_init")) if os.path.exists(BINARY) else False
READY = re.compile(r"ready at http://([^:]+):(\d+)")


def eventually(check, seconds=60, pause=0.02):
    """The first truthy answer of `check`; fails the test when there is none in time."""
    end = time.monotonic() + seconds
    while True:
        answer = check()
        if answer:
            return answer
        assert time.monotonic() < end, f"not within {seconds} s: {check}"
        time.sleep(pause)


class Answer:
    def __init__(self, response, body):
        self.status, self.headers, self.body = response.status, response.headers, body

    @property
    def json(self):
        return json.loads(self.body)

    def expect(self, status):
        assert self.status == status, f"{self.status} instead of {status}: {self.body[:400]!r}"
        return self

    def problem(self, status, *words):
        """A problem document with that status whose sentence has these words."""
        self.expect(status)
        assert self.headers["Content-Type"].startswith("application/problem+json")
        body = self.json
        assert body["status"] == status and body["title"] and len(body["detail"]) > 8, body
        for word in words:
            assert word in body["detail"], f"'{word}' is not in '{body['detail']}'"
        return body


def form(parts):
    """multipart/form-data of (name, value) and (name, value, filename); the content type and the bytes."""
    boundary = secrets.token_hex(12)
    out = []
    for name, value, *filename in parts:
        value = value.encode() if isinstance(value, str) else value
        disposition = f'form-data; name="{name}"' + (f'; filename="{filename[0]}"' if filename else "")
        out.append(f"--{boundary}\r\nContent-Disposition: {disposition}\r\n\r\n".encode() + value + b"\r\n")
    return f"multipart/form-data; boundary={boundary}", b"".join(out) + f"--{boundary}--\r\n".encode()


class Server:
    def __init__(self, data, models, *arguments, environment=None):
        self.data, self.models = pathlib.Path(data), pathlib.Path(models)
        self.arguments, self.environment = list(arguments), environment or {}
        self.process = self.port = None
        self.output = []

    # --- life

    def start(self, timeout=60):
        self.data.parent.mkdir(parents=True, exist_ok=True)
        log = open(f"{self.data}.log", "ab")
        self.process = subprocess.Popen(
            [BINARY, "serve", "--port", "0", "--data-dir", self.data, "--models-dir", self.models,
             "--models-scan-seconds", "1", *self.arguments],
            stdout=subprocess.PIPE, stderr=log, text=True, env={**os.environ, **self.environment})
        log.close()
        killer = threading.Timer(timeout, self.process.kill)
        killer.start()
        for line in self.process.stdout:
            self.output.append(line)
            match = READY.search(line)
            if match:
                self.host, self.port = match.group(1), int(match.group(2))
                break
        killer.cancel()
        assert self.port, f"not ready; see {self.log()}"
        return self

    def log(self):
        return pathlib.Path(f"{self.data}.log").read_text(errors="replace")

    def stop(self, kind=signal.SIGTERM, timeout=60):
        """Stops it gracefully and checks that it agreed."""
        self.process.send_signal(kind)
        status = self.process.wait(timeout)
        self.process.stdout.close()
        self.process = self.port = None
        assert status == 0, f"exit status {status}:\n{self.log()[-4000:]}"

    def kill(self):
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()
        self.process = self.port = None

    def restart(self):
        self.stop()
        return self.start()

    def __enter__(self):
        return self.start()

    def __exit__(self, kind, error, trace):
        if self.process is None:
            return
        if kind is None:
            self.stop()
        else:
            self.kill()
            print(self.log()[-4000:])

    def memory(self):
        """Resident bytes."""
        fields = pathlib.Path(f"/proc/{self.process.pid}/statm").read_text().split()
        return int(fields[1]) * os.sysconf("SC_PAGE_SIZE")

    @property
    def url(self):
        return f"http://{self.host}:{self.port}"

    # --- requests

    def connect(self, timeout=90):
        return http.client.HTTPConnection(self.host, self.port, timeout=timeout)

    def request(self, method, path, body=None, headers=None, connection=None):
        own = connection is None
        connection = connection or self.connect()
        try:
            connection.request(method, path, body, headers or {})
            response = connection.getresponse()
            return Answer(response, response.read())
        finally:
            if own:
                connection.close()

    def get(self, path, **headers):
        return self.request("GET", path, headers={name.replace("_", "-"): value for name, value in headers.items()})

    def send_json(self, method, path, body):
        return self.request(method, path, json.dumps(body), {"Content-Type": "application/json"})

    def send_form(self, path, parts, connection=None):
        kind, body = form(parts)
        return self.request("POST", path, body, {"Content-Type": kind}, connection)

    def upload(self, image, filename="picture.png", wait=None, connection=None, query="", **fields):
        """One upload; fields go before the file."""
        parts = [*fields.items(), ("file", image, filename)]
        path = "/upload" + (f"?wait={wait}" if wait is not None else "") + query
        return self.send_form(path, parts, connection)

    def raw(self, request, timeout=30):
        """Sends bytes as they are and returns all that comes back until the server closes."""
        with socket.create_connection((self.host, self.port), timeout) as connection:
            connection.sendall(request)
            out = b""
            while piece := connection.recv(65536):
                out += piece
            return out

    # --- waiting

    def lag(self):
        topics = self.get("/topics").expect(200).json["topics"]
        return sum(group["lag"] for topic in topics if not topic["topic"].endswith(".dlq")
                   for group in topic["groups"])

    def settle(self, seconds=60):
        """Waits until every group has read everything: what was accepted is classified and recorded. One look
        is enough, since a stage publishes in the transaction that commits its offset."""
        eventually(lambda: self.lag() == 0, seconds)

    def active_models(self):
        return sorted(m["name"] for m in self.get("/models").json["models"] if m["state"] == "active")


def run(*arguments, status=0, timeout=60, **options):
    """Runs a subcommand; its standard output, after checking how it left."""
    result = subprocess.run([BINARY, *map(str, arguments)], capture_output=True, text=True, timeout=timeout, **options)
    assert result.returncode == status, f"{arguments}: {result.returncode}\n{result.stdout}\n{result.stderr}"
    return result


class Events:
    """A client of /live in a thread of its own."""

    def __init__(self, server, last_id=None):
        headers = {"Last-Event-ID": str(last_id)} if last_id is not None else {}
        self.connection = server.connect(timeout=120)
        self.connection.request("GET", "/live", headers=headers)
        self.response = self.connection.getresponse()
        assert self.response.status == 200
        assert self.response.headers["Content-Type"].startswith("text/event-stream")
        self.events, self.ended = [], threading.Event()
        self.thread = threading.Thread(target=self.read, daemon=True)
        self.thread.start()

    def read(self):
        event = {}
        try:
            for line in self.response:
                line = line.decode().rstrip("\n")
                if line == "" and event:
                    self.events.append((int(event["id"]), event["event"], json.loads(event["data"])))
                    event = {}
                elif line and not line.startswith(":"):
                    name, _, value = line.partition(": ")
                    event[name] = value
        except (OSError, ValueError, AttributeError, http.client.HTTPException):
            pass
        self.ended.set()

    def wait_for(self, count, seconds=60):
        eventually(lambda: len(self.events) >= count, seconds)
        return self.events

    def close(self):
        try:
            self.connection.sock.shutdown(socket.SHUT_RDWR)
        except (OSError, AttributeError):
            pass
        self.ended.wait(30)
        self.connection.close()
