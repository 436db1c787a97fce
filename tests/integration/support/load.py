"""Uploading from many threads, keeping a log of what the server acknowledged."""
import hashlib
import http.client
import itertools
import random
import threading

from support import networks, pictures

COLORS = [pictures.RED, pictures.GREEN, pictures.BLUE, pictures.BLACK]
SERIAL = itertools.count()


class Load:
    """Threads that upload until told to stop, each over its own connection. An upload is in `acknowledged` (id to
    SHA-256 of its bytes) exactly when its answer was read as a success."""

    def __init__(self, server, threads=4, bytes_extra=2000, seed=1, relabel=False):
        self.server, self.bytes_extra, self.seed, self.relabel = server, bytes_extra, seed, relabel
        self.acknowledged, self.statuses, self.lock = {}, {}, threading.Lock()
        self.labels = {}  # id to the labels it may have: the last acknowledged one, or one asked for since
        self.stopping = threading.Event()
        self.threads = [threading.Thread(target=self.run, args=[i], daemon=True) for i in range(threads)]

    def start(self):
        for thread in self.threads:
            thread.start()
        return self

    def stop(self):
        self.stopping.set()
        for thread in self.threads:
            thread.join(90)
            assert not thread.is_alive()

    def run(self, number):
        chance = random.Random(self.seed * 1000 + number)
        connection = self.server.connect(timeout=60)
        while not self.stopping.is_set():
            try:
                self.upload(chance, connection)
                if self.relabel and chance.random() < 0.3:
                    self.change_label(chance, connection)
            except (OSError, http.client.HTTPException, ValueError):
                if self.stopping.wait(0.01):
                    break
                connection.close()
        connection.close()

    def upload(self, chance, connection):
        noise = b"%d " % next(SERIAL) + chance.randbytes(chance.randrange(self.bytes_extra)).hex().encode()
        image = pictures.png(chance.choice(COLORS), comment=noise)
        label = chance.choice([None, *networks.LABELS])
        answer = self.server.upload(image, connection=connection, **({"label": label} if label else {}))
        with self.lock:
            self.statuses[answer.status] = self.statuses.get(answer.status, 0) + 1
            if answer.status in (200, 202):
                identity = answer.json["image_id"]
                self.labels[identity] = {label}
                self.acknowledged[identity] = hashlib.sha256(image).hexdigest()

    def change_label(self, chance, connection):
        label = chance.choice([None, *networks.LABELS])
        with self.lock:
            if not self.acknowledged:
                return
            identity = chance.choice(list(self.acknowledged))
            self.labels[identity].add(label)
        answer = self.server.request("PUT", f"/images/{identity}/label",
                                     b'{"label": %s}' % (b"null" if label is None else b'"%s"' % label.encode()),
                                     {"Content-Type": "application/json"}, connection)
        assert answer.status == 200 or answer.status >= 500, answer.body
