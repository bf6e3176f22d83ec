"""What it costs that a run can be watched: Solvers with metrics on and off, side by side.

Invariant: both sides do the same tasks with the same weights, in a Ray of their own, in turns. On is
what a run does by itself, with its page of metrics read every 10 s as Prometheus would; off is a
Ray that collects none. Beside images a second stand images a processor second, of all processes of
that Ray together, which a busy machine disturbs less.

    python -m benchmarks.metrics [--repeats 5] [--tasks 24]
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import shutil
import statistics
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
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--tasks", type=int, default=24)
    parser.add_argument("--side", choices=("on", "off"), help="one side once, for this program")
    options = parser.parse_args()
    if options.side:
        print(json.dumps(one_side(options.side == "on", options.tasks)))
        return
    found: dict[str, list[Row]] = {"off": [], "on": []}
    for repeat in range(options.repeats):
        for side in ("off", "on") if repeat % 2 else ("on", "off"):
            found[side].append(in_a_process(side, options.tasks))
            print(side, found[side][-1], flush=True)
    raise SystemExit(report(found))


def in_a_process(side: str, tasks: int) -> Row:
    """Ray reads its settings when it is imported."""
    command = [sys.executable, "-m", "benchmarks.metrics", f"--side={side}", f"--tasks={tasks}"]
    settings = {
        "RAY_enable_metrics_collection": str(int(side == "on")), "RAY_AUTH_MODE": "disabled",
        "RAY_USAGE_STATS_ENABLED": "0", "RAY_worker_niceness": "0",
        "PYTHONPATH": str(Path(__file__).resolve().parents[1]),
    }  # fmt: skip
    out = subprocess.run(command, env={**os.environ, **settings}, capture_output=True, text=True)
    if out.returncode:
        raise SystemExit(out.stderr)
    row: Row = json.loads(out.stdout.splitlines()[-1])
    return row


def one_side(on: bool, tasks: int) -> Row:
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
        return asyncio.run(draw(tasks, folder))
    finally:
        ray.shutdown()
        shutil.rmtree(folder, ignore_errors=True)


async def draw(tasks: int, folder: str) -> Row:
    from actors.config import ActorsConfig, SolverConfig
    from actors.records import Proposal, Task
    from actors.replica import Part, role_pool
    from actors.version_folder import VersionFolder
    from actors.weight_store import WeightStoreActor
    from policies.config import PolicyConfig

    policy, solver = PolicyConfig(), SolverConfig(cpus=0.5)
    named: Any = {"name": "weight_store", "namespace": "benchmark"}
    store = WeightStoreActor.options(**named).remote(2, VersionFolder(Path(folder), policy))
    part = Part("solver", solver, policy, "tiny", 0, "benchmark", folder)
    pool = role_pool(part, ActorsConfig())
    await pool.start(600)
    await store.versions.remote()
    proposals = [Proposal(i, "counting", "", "three red circles", i) for i in range(16)]

    async def one(index: int) -> None:
        await pool.run(Task(1, "solver", index, 0), "draw", proposals)

    await asyncio.gather(*map(one, range(4)))  # load the weights, fill the caches
    before, began, used = pool.stats(), time.perf_counter(), processor_seconds()
    await asyncio.gather(*map(one, range(4, 4 + tasks)))
    seconds, used = time.perf_counter() - began, processor_seconds() - used
    images = pool.stats().pictures - before.pictures
    pool.stop()
    return {"images/s": round(images / seconds, 2), "images/cpu s": round(images / used, 2)}


def scrape(port: int) -> None:
    while True:
        with suppress(OSError):
            urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=60).read()
        time.sleep(SCRAPE_S)


def processor_seconds() -> float:
    """Of this process and all that descend from it, which is all of its Ray."""
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
    """Says the figures; whether the target is missed."""
    ratios = {}
    print(f"{'':14}{'off':>10}{'on':>10}{'on/off':>10}{'of pairs':>18}")
    for name in found["off"][0]:
        off, on = ([row[name] for row in found[side]] for side in ("off", "on"))
        pairs = sorted(b / a for a, b in zip(off, on, strict=True))
        ratios[name] = statistics.median(pairs)
        spread = f"{pairs[0]:.3f}..{pairs[-1]:.3f}"
        print(f"{name:14}{statistics.median(off):10.1f}{statistics.median(on):10.1f}"
              f"{ratios[name]:10.3f}{spread:>18}")  # fmt: skip
    missed = ratios["images/cpu s"] < 1 - TARGET
    print(f"target: below {TARGET:.0%} of throughput: {'MISSED' if missed else 'met'}; "
          f"load {os.getloadavg()[0]:.0f}")  # fmt: skip
    return missed


if __name__ == "__main__":
    main()
