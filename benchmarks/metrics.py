"""What metrics cost: Solvers with metrics on and off, side by side.

Invariant: both sides do the same tasks with the same weights, each in a Ray of its own. Both are up
all the time and work in turns, so that the rest of the machine disturbs both alike. "On" is what a
run does by default, with its metrics page read every 10 s as by Prometheus; "off" is a Ray that
collects none. Beside images a second, it counts images a processor second over all processes of
that Ray, which a busy machine disturbs least. A burst is longer than a report and a scrape.

    python -m benchmarks.metrics [--pairs 8] [--tasks 40]
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections import defaultdict
from contextlib import suppress
from pathlib import Path
from typing import Any

SCRAPE_S = 10.0
TARGET = 0.02
Row = dict[str, float]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pairs", type=int, default=8)
    parser.add_argument("--tasks", type=int, default=40)
    parser.add_argument("--side", choices=("on", "off"), help="one side, for this program")
    options = parser.parse_args()
    if options.side:
        one_side(options.side == "on", options.tasks)
        return
    sides = {name: start(name, options.tasks) for name in ("off", "on")}
    found: dict[str, list[Row]] = {"off": [], "on": []}
    for pair in range(options.pairs):
        for name in ("off", "on") if pair % 2 else ("on", "off"):
            found[name].append(burst(sides[name]))
            print(name, found[name][-1], flush=True)
    for side in sides.values():
        side.communicate()
    raise SystemExit(report(found))


def start(name: str, tasks: int) -> subprocess.Popen[str]:
    """Starts a side as a process, because Ray reads its settings when it is imported."""
    command = [sys.executable, "-m", "benchmarks.metrics", f"--side={name}", f"--tasks={tasks}"]
    settings = {
        "RAY_enable_metrics_collection": str(int(name == "on")), "RAY_AUTH_MODE": "disabled",
        "RAY_USAGE_STATS_ENABLED": "0", "RAY_worker_niceness": "0",
        "PYTHONPATH": str(Path(__file__).resolve().parents[1]),
    }  # fmt: skip
    side = subprocess.Popen(
        command, env={**os.environ, **settings}, text=True,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    burst(side)  # loads the weights and lets Ray finish its start
    return side


def burst(side: subprocess.Popen[str]) -> Row:
    assert side.stdin and side.stdout
    side.stdin.write("go\n")
    side.stdin.flush()
    line = side.stdout.readline()
    while not line.startswith("{"):
        assert line, "a side ended: run it alone with --side to see why"
        line = side.stdout.readline()
    row: Row = json.loads(line)
    return row


def one_side(on: bool, tasks: int) -> None:
    """Runs a burst for each line on stdin."""
    import ray

    folder = tempfile.mkdtemp(prefix="ur-")
    ray.init(
        address="local", num_cpus=4, include_dashboard=False, log_to_driver=False,
        _temp_dir=folder, object_store_memory=300 * 10**6,
    )  # fmt: skip
    port = ray.nodes()[0]["MetricsExportPort"]
    assert on == (port > 0), f"metrics are to be {'on' if on else 'off'}, and their port is {port}"
    if on:
        threading.Thread(target=scrape, args=(port,), daemon=True).start()
    try:
        asyncio.run(bursts(tasks, folder))
    finally:
        ray.shutdown()
        shutil.rmtree(folder, ignore_errors=True)


async def bursts(tasks: int, folder: str) -> None:
    from actors.config import ActorsConfig, SolverConfig
    from actors.replay.records import Proposal, Task
    from actors.replica import ReplicaSpec, role_pool
    from actors.roles.requests import Draw
    from actors.weights.store import WeightStoreActor
    from actors.weights.version_folder import VersionFolder
    from policies.config import TinyPolicyConfig

    policy, solver = TinyPolicyConfig(), SolverConfig(cpus=0.5)
    options: Any = {"name": "weight_store", "namespace": "benchmark"}
    store = WeightStoreActor.options(**options).remote(2, VersionFolder(Path(folder), policy))
    spec = ReplicaSpec("solver", solver, policy, "tiny", 0, "benchmark", folder)
    pool = role_pool(spec, ActorsConfig())
    await pool.start(600)
    await store.versions.remote()
    proposals = [Proposal(i, "counting", "", "three red circles", i) for i in range(16)]

    at = 0
    for _ in sys.stdin:
        before, began, used = pool.stats().drawings, time.perf_counter(), processor_seconds()
        names = [Task(1, "solver", index, 0) for index in range(at, at + tasks)]
        await asyncio.gather(*(pool.run(Draw(name), proposals) for name in names))
        seconds, used = time.perf_counter() - began, processor_seconds() - used
        images, at = pool.stats().drawings - before, at + tasks
        row = {"images": images, "seconds": round(seconds, 2), "cpu seconds": round(used, 2)}
        print(json.dumps(row), flush=True)
    pool.stop()


def scrape(port: int) -> None:
    while True:
        with suppress(OSError):
            urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=60).read()
        time.sleep(SCRAPE_S)


def processor_seconds() -> float:
    """Returns the processor seconds of this process and its descendants, which include its Ray."""
    children, used = defaultdict(list), {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            fields = stat.read_text().rpartition(")")[2].split()
            pid = int(stat.parent.name)
            children[int(fields[1])].append(pid)
            used[pid] = (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    total, left = 0.0, [os.getpid()]
    while left:
        pid = left.pop()
        total += used.get(pid, 0.0)
        left += children[pid]
    return total


def report(found: dict[str, list[Row]]) -> bool:
    """Prints the figures; returns whether the target is missed."""
    print(f"{'images a':14}{'off':>10}{'on':>10}{'on/off':>10}{'of pairs':>18}")
    for name in ("seconds", "cpu seconds"):
        off, on = ([row["images"] / row[name] for row in found[side]] for side in ("off", "on"))
        pairs = sorted(b / a for a, b in zip(off, on, strict=True))
        whole = {
            side: sum(row["images"] for row in rows) / sum(row[name] for row in rows)
            for side, rows in found.items()
        }
        ratio = whole["on"] / whole["off"]
        spread = f"{pairs[0]:.3f}..{pairs[-1]:.3f}"
        print(f"{name[:-1]:14}{whole['off']:10.1f}{whole['on']:10.1f}{ratio:10.3f}{spread:>18}")
    missed = ratio < 1 - TARGET
    print(f"target: below {TARGET:.0%} of throughput: {'MISSED' if missed else 'met'}; "
          f"load {os.getloadavg()[0]:.0f}")  # fmt: skip
    return missed


if __name__ == "__main__":
    main()
