"""A real Ray of several nodes with the real autoscaler (v2), all on this machine.

Nodes are raylets of their own that Ray's fake provider starts and ends; nothing else is played. It
is stopped by the ids of its own processes: `ray stop` would end every Ray of the machine.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cluster.sizing.capacity import LAUNCHED

HEAD_ID = "f" * 51 + "00000"
PROVIDER = "ray.autoscaler._private.fake_multi_node.node_provider.FakeMultiNodeProvider"
START_S = 60.0


@dataclass(frozen=True)
class FakeCluster:
    address: str
    temp: Path

    def env(self) -> dict[str, str]:
        """For a program that is to use it, on its head."""
        own = {"RAY_AUTH_MODE": "disabled", "RAY_ADDRESS": self.address, "HOME": str(self.temp)}
        return {**os.environ, **own}

    def raylets(self) -> list[int]:
        """The ids of the nodes' own processes, the head's first."""
        return sorted(pid for pid, name in self._processes() if name == "raylet")

    def stop(self) -> None:
        for wanted in ("raylet", ""):  # a raylet ends its workers
            for pid, name in self._processes():
                if name.startswith(wanted):
                    with suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGKILL)

    def _processes(self) -> list[tuple[int, str]]:
        """Those that name this cluster's own folder."""
        found = []
        for entry in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):
                line = (entry / "cmdline").read_bytes().decode(errors="replace")
                if str(self.temp) in line and int(entry.name) != os.getpid():
                    found.append((int(entry.name), (entry / "comm").read_text().strip()))
        return found


def settings(port: int, ip: str, head_cpus: float, node_cpus: float, most: int) -> dict[str, Any]:
    """Of a cluster whose nodes for Solvers come and go."""
    node = {"CPU": node_cpus, "solver": 1, "object_store_memory": 150 * 2**20}
    empty: dict[str, Any] = {
        name: []
        for name in (
            "initialization_commands", "setup_commands", "head_setup_commands",
            "worker_setup_commands", "head_start_ray_commands", "worker_start_ray_commands",
            "cluster_synced_files", "rsync_exclude", "rsync_filter",
        )
    }  # fmt: skip
    return {
        "cluster_name": "fake",
        "max_workers": most,
        "idle_timeout_minutes": 0.1,
        "upscaling_speed": 10.0,
        "provider": {
            "type": "external", "module": PROVIDER, "gcs_address": f"{ip}:{port}",
            "launch_multiple": True, "head_node_id": HEAD_ID,
        },
        "available_node_types": {
            "ray.head.default": {
                "resources": {"CPU": head_cpus}, "node_config": {}, "max_workers": 0
            },
            "solver_node": {
                "resources": node, "node_config": {}, "min_workers": 0, "max_workers": most
            },
        },
        "head_node_type": "ray.head.default",
        "auth": {}, "docker": {}, "file_mounts": {}, "file_mounts_sync_continuously": False,
        **empty,
    }  # fmt: skip


@contextmanager
def fake_cluster(
    temp: Path, head_cpus: float = 2.0, node_cpus: float = 1.0, most: int = 4
) -> Iterator[FakeCluster]:
    """`temp` must be a short path: Ray puts sockets into it."""
    ip, port = socket.gethostbyname(socket.gethostname()), free_port()
    cluster = FakeCluster(f"{ip}:{port}", temp)
    temp.mkdir(parents=True, exist_ok=True)
    file = temp / LAUNCHED.name  # where Ray's launcher puts it, of a head whose home this is
    file.write_text(json.dumps(settings(port, ip, head_cpus, node_cpus, most)))
    ray = str(Path(sys.executable).with_name("ray"))
    command = [
        ray, "start", "--head", f"--node-ip-address={ip}", f"--port={port}",
        f"--temp-dir={temp}", f"--num-cpus={head_cpus:g}", "--object-store-memory=300000000",
        f"--autoscaling-config={file}", "--disable-usage-stats", "--include-dashboard=false",
        f"--ray-client-server-port={free_port()}",
    ]  # fmt: skip
    env = {
        **cluster.env(), "AUTOSCALER_UPDATE_INTERVAL_S": "1", "RAY_FAKE_CLUSTER": "1",
        "RAY_enable_autoscaler_v2": "1", "RAY_CLOUD_INSTANCE_ID": HEAD_ID,
        "RAY_OVERRIDE_NODE_ID_FOR_TESTING": HEAD_ID, "RAY_NODE_TYPE_NAME": "ray.head.default",
    }  # fmt: skip
    del env["RAY_ADDRESS"]
    try:
        subprocess.run(command, env=env, check=True, capture_output=True, timeout=START_S)
        yield cluster
    finally:
        cluster.stop()


PORTS = iter(range(5000 + os.getpid() % 4000, 10000))
"""Each is tried once; those from 10000 on are Ray's for its workers."""


def free_port() -> int:
    for port in PORTS:
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("0.0.0.0", port))
            return port
    raise OSError("no free port below 10000")


def wait_until(ready: Any, seconds: float, what: str) -> float:
    """Gives the seconds that it took."""
    began = time.monotonic()
    while not ready():
        if time.monotonic() - began > seconds:
            raise TimeoutError(f"waited {seconds:g} s for {what}")
        time.sleep(0.2)
    return time.monotonic() - began
