"""A Ray that is started by hand, of one node, with its dashboard: what jobs are submitted to."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.cluster.session.fake_cluster import START_S, FakeCluster, free_port


@dataclass(frozen=True)
class Head:
    url: str
    env: dict[str, str]
    """For a program that may submit jobs to it."""
    temp: Path


@contextmanager
def ray_head(temp: Path, token: str, cpus: int = 4) -> Iterator[Head]:
    """Whoever has `token` may use it. `temp` must be a short path: Ray puts sockets into it."""
    port, dashboard = free_port(), free_port()
    url = f"http://127.0.0.1:{dashboard}"
    bin_ = Path(sys.executable).parent
    env = {
        **os.environ, "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": token,
        "PATH": f"{bin_}{os.pathsep}{os.environ['PATH']}",  # a job's `python` is the raylet's
        "RAY_worker_niceness": "0",
    }  # fmt: skip
    env.pop("RAY_ADDRESS", None)
    command = [
        str(bin_ / "ray"), "start", "--head", f"--port={port}", "--dashboard-host=127.0.0.1",
        f"--dashboard-port={dashboard}", f"--temp-dir={temp}", f"--num-cpus={cpus}",
        "--object-store-memory=300000000", "--disable-usage-stats",
        f"--ray-client-server-port={free_port()}",
        f"--dashboard-agent-listen-port={free_port()}",
    ]  # fmt: skip
    started = FakeCluster(f"127.0.0.1:{port}", temp)
    try:
        subprocess.run(command, env=env, check=True, capture_output=True, timeout=START_S)
        yield Head(url, env | {"RAY_API_SERVER_ADDRESS": url}, temp)
    finally:
        started.stop()
