"""A bucket on this machine: an S3 server in a process of its own, behind a line that can be cut."""

from __future__ import annotations

import os
import select
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from actors.storage import clients

NAME = "unicorn"
ADDRESS = f"s3://{NAME}"
PATIENCE_S = 60.0


class Line:
    """Passes bytes on to `port`, from a port of its own, unless it is cut."""

    def __init__(self, port: int) -> None:
        self._to, self._ends, self._cut = port, list[socket.socket](), False
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port = self._listening.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def cut(self) -> None:
        self._cut = True
        for end in self._ends:
            end.close()
        self._ends.clear()

    def mend(self) -> None:
        self._cut = False

    def _accept(self) -> None:
        while True:
            near, _ = self._listening.accept()
            if self._cut:
                near.close()
                continue
            far = socket.create_connection(("127.0.0.1", self._to))
            self._ends += [near, far]
            threading.Thread(target=self._pass_on, args=(near, far), daemon=True).start()

    def _pass_on(self, near: socket.socket, far: socket.socket) -> None:
        other = {near: far, far: near}
        with suppress(OSError, ValueError):  # it was cut
            while True:
                for end in select.select([near, far], [], [], 0.2)[0]:
                    data = end.recv(2**16)
                    if not data:
                        return near.close(), far.close()
                    other[end].sendall(data)


@contextmanager
def served() -> Iterator[Line]:
    """While this lasts the bucket NAME is there, and the environment names it and its keys."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    server = subprocess.Popen(
        [sys.executable, "-m", "moto.server", "-p", str(port)],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        line = Line(_answering(port))
        os.environ |= {
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{line.port}", "AWS_REGION": "us-east-1",
            "AWS_ACCESS_KEY_ID": "who", "AWS_SECRET_ACCESS_KEY": "hidden-from-all",
        }  # fmt: skip
        clients._of.cache_clear()
        urllib.request.urlopen(
            urllib.request.Request(f"http://127.0.0.1:{port}/{NAME}", method="PUT")
        )
        yield line
    finally:
        server.kill()
        server.wait()


def _answering(port: int) -> int:
    end = time.monotonic() + PATIENCE_S
    while True:
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{port}/moto-api/", timeout=5).close()
            return port
        except OSError:
            assert time.monotonic() < end, "the S3 server does not start"
            time.sleep(0.1)
