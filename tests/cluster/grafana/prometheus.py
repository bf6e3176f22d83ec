"""A real Prometheus, and a Ray head with ports of its own for it to scrape; skips without one."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[3]
PATIENCE = 600  # a limit for a hang, not for a busy machine


def promtool(*words: str, cwd: Path) -> None:
    if shutil.which("promtool") is None:
        pytest.skip("there is no promtool here: install prometheus")
    done = subprocess.run(
        ["promtool", *words], cwd=cwd, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stdout + done.stderr


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


REPORTS = {"RAY_metrics_report_interval_ms": "2000"}
"""For every process of a Ray: what keeps series forgets those that come later than it expects."""


@contextmanager
def head() -> Iterator[tuple[str, Path]]:
    """The address of a Ray of four CPUs with a dashboard, and its folder."""
    folder = Path(tempfile.mkdtemp(prefix="ur-"))  # short: Ray's socket paths must fit 107 bytes
    port = free_port()
    command = [
        "ray", "start", "--head", "--num-cpus=4", "--disable-usage-stats",
        f"--port={port}", f"--dashboard-port={free_port()}", f"--temp-dir={folder}",
        f"--ray-client-server-port={free_port()}", f"--metrics-export-port={free_port()}",
        f"--dashboard-agent-listen-port={free_port()}", "--object-store-memory=300000000",
    ]  # fmt: skip
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    settings = {
        "PYTHONPATH": str(ROOT), "RAY_AUTH_MODE": "disabled", "RAY_worker_niceness": "0",
        "PATH": path, **REPORTS,
    }  # fmt: skip
    try:
        subprocess.run(command, env={**os.environ, **settings}, check=True, capture_output=True)
        targets = folder / "prom_metrics_service_discovery.json"
        wait(targets.exists, "Ray to say where its metrics are")
        yield f"127.0.0.1:{port}", folder
    finally:
        _end(folder)
        shutil.rmtree(folder, ignore_errors=True)


def _end(folder: Path) -> None:
    """Workers end with their raylet; `ray stop` would end every Ray of the machine."""
    for pid in processes("raylet/raylet", str(folder)):
        os.kill(pid, signal.SIGTERM)
    time.sleep(2)
    for pid in processes(str(folder)):
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def processes(*words: str) -> list[int]:
    """Those whose command line has all the words; a Ray is known by its own folder."""
    found = []
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):
            line = entry.read_bytes().replace(b"\0", b" ").decode(errors="replace")
            if all(word in line for word in words):
                found.append(int(entry.parent.name))
    return found


class Prometheus:
    """Asks the server at `port`."""

    def __init__(self, port: int, process: subprocess.Popen[bytes]) -> None:
        self.port, self.process = port, process

    def ask(self, query: str) -> list[dict[str, Any]]:
        """The series and their values; what is no number is no answer."""
        words = urllib.parse.urlencode({"query": query})
        where = f"http://127.0.0.1:{self.port}/api/v1/query?{words}"
        with urllib.request.urlopen(where, timeout=60) as answer:
            found = json.load(answer)["data"]["result"]
        return [each for each in found if each["value"][1] != "NaN"]


@contextmanager
def prometheus(ray_folder: Path, folder: Path, every: str = "2s") -> Iterator[Prometheus]:
    """One that scrapes all that the Ray in `ray_folder` names."""
    if shutil.which("prometheus") is None:
        pytest.skip("there is no prometheus here: install it to run this test")
    folder.mkdir(parents=True)
    (folder / "prometheus.yml").write_text(
        f"global: {{scrape_interval: {every}, evaluation_interval: {every}}}\n"
        f"rule_files: ['{ROOT / 'cluster' / 'grafana' / 'alerts.yml'}']\n"
        "scrape_configs:\n- job_name: ray\n  file_sd_configs:\n"
        f"  - files: ['{ray_folder / 'prom_metrics_service_discovery.json'}']\n"
    )
    port = free_port()
    with (folder / "log").open("w") as log:
        started = subprocess.Popen(
            ["prometheus", f"--config.file={folder / 'prometheus.yml'}",
             f"--storage.tsdb.path={folder / 'data'}", f"--web.listen-address=127.0.0.1:{port}"],
            stdout=log, stderr=log,
        )  # fmt: skip
    server = Prometheus(port, started)
    try:
        wait(lambda: _answers(server), "Prometheus to answer", started)
        yield server
    finally:
        started.terminate()
        started.wait(30)


def _answers(server: Prometheus) -> bool:
    try:
        return bool(server.ask("vector(1)"))
    except OSError:
        return False


def wait(
    ready: Callable[[], bool], what: str, process: subprocess.Popen[Any] | None = None
) -> None:
    """`process` must not end meanwhile."""
    end = time.monotonic() + PATIENCE
    while not ready():
        assert process is None or process.poll() is None, f"it ended before {what}"
        assert time.monotonic() < end, f"waited {PATIENCE} s for {what}"
        time.sleep(0.5)
