"""How Solvers follow their work over the nodes of a cluster: a timeline, and a picture of it.

Invariant: the cluster is a real Ray of several nodes with the real autoscaler on this machine (see
tests/cluster/session/fake_cluster.py), and the run is a real one; only observed events are shown.

`python -m benchmarks.elastic --out FOLDER` writes timeline.html and prints when nodes came.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from actors.storage import events
from cluster.report import charts as report_charts
from tests.cluster.session.fake_cluster import FakeCluster, fake_cluster

ROOT = Path(__file__).parents[1]
NODES, GONE_S = 4, 120.0
SETTINGS = (
    "configs/smoke.yaml", "name=elastic", "rounds=1", "proposer.prompts=400",
    "solver.rollouts=16", "solver.prompts_per_task=4", "solver.cpus=1", "solver.replicas=1",
    "solver.max_replicas=4", "actors.backlog_seconds=2", "actors.cool_down=10",
    "evaluation.prompts=10", "evaluation.scenes=10",
)  # fmt: skip


class Timeline:
    def __init__(self, cluster: FakeCluster, run: Path) -> None:
        self.began = time.time()
        self.cluster, self.run = cluster, run
        self.nodes: list[tuple[float, float]] = [(0.0, 1.0)]
        self.came: dict[int, float] = {}
        self.node_of: dict[int, int] = {}

    def look(self) -> int:
        """Notes which nodes and Solvers there are now; returns the number of nodes."""
        now, raylets = time.time() - self.began, self.cluster.raylets()
        for pid in raylets:
            self.came.setdefault(pid, now)
        if len(raylets) != self.nodes[-1][1]:
            self.nodes += [(now, self.nodes[-1][1]), (now, float(len(raylets)))]
        for event in self.solvers():
            if event["pid"] not in self.node_of:
                with suppress(OSError):
                    stat = Path(f"/proc/{event['pid']}/stat").read_text()
                    self.node_of[event["pid"]] = int(stat.rpartition(")")[2].split()[1])
        return len(raylets)

    def solvers(self) -> list[dict[str, Any]]:
        recorded = events.read(self.run)
        return [e for e in recorded if e["what"] == "started" and e["who"].startswith("solver")]

    def wanted(self) -> list[tuple[float, float]]:
        points = [(0.0, 1.0)]
        for event in events.read(self.run):
            if (event["who"], event["what"]) == ("solver", "scales"):
                at = event["at"] - self.began
                points += [(at, points[-1][1]), (at, float(event["to"].split()[0]))]
        return [*points, (self.nodes[-1][0], points[-1][1])]

    def delays(self) -> list[tuple[str, float, float]]:
        """Returns each Solver on a later node, with the times of its node's and its own start."""
        found = []
        for event in self.solvers():
            came = self.came.get(self.node_of.get(event["pid"], 0), 0.0)
            if came > 1.0:
                found.append((event["who"], came, event["at"] - self.began))
        return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    out = parser.parse_args().out
    out.mkdir(parents=True, exist_ok=True)
    with (
        tempfile.TemporaryDirectory(prefix="fake", ignore_cleanup_errors=True) as temp,
        fake_cluster(Path(temp), most=NODES) as cluster,
    ):
        timeline = Timeline(cluster, out / "elastic")
        with (out / "run.log").open("wb") as log:
            command = [sys.executable, "-m", "cluster", "run", *SETTINGS, f"folder={out}"]
            run = subprocess.Popen(command, cwd=ROOT, env=cluster.env(), stdout=log, stderr=log)
            while run.poll() is None:
                timeline.look()
                time.sleep(0.25)
        ended, until = time.time() - timeline.began, time.time() + GONE_S
        while timeline.look() > 1 and time.time() < until:
            time.sleep(0.25)
    for who, came, started in timeline.delays():
        print(f"{who}: its node came at {came:.0f} s, it started {started - came:.1f} s later")
    print(f"the run ended at {ended:.0f} s with exit code {run.returncode}")
    print(f"the last node without work was gone at {timeline.nodes[-1][0]:.0f} s")
    series = {"nodes": timeline.nodes, "Solvers wanted": timeline.wanted()}
    chart = report_charts.lines(series, "seconds", "how many")
    style = (ROOT / "cluster" / "report" / "report.css").read_text()
    (out / "timeline.html").write_text(f"<style>{style}</style><figure>{chart}</figure>")


if __name__ == "__main__":
    main()
