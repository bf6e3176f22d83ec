"""A run on a Ray head that a real Prometheus scrapes: every panel shows something, also after a
Solver was killed, and the run does not mind who watches."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from actors.storage import events
from cluster.grafana.dashboard import dashboard
from tests.cluster.grafana.prometheus import (
    PATIENCE,
    REPORTS,
    ROOT,
    Prometheus,
    head,
    processes,
    prometheus,
    wait,
)

pytestmark = pytest.mark.slow

DRAWN = "replay/round-*/slice-*.parquet"


class Watched(NamedTuple):
    folder: Path
    ray: Path
    process: subprocess.Popen[bytes]
    server: Prometheus


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    """A run that goes on for longer than any test, small enough that rounds are short."""
    folder = tmp_path_factory.mktemp("watched")
    with head() as (address, ray), prometheus(ray, folder / "prometheus") as server:
        with (folder / "log").open("w") as log:
            run = subprocess.Popen(
                [sys.executable, "-m", "cluster", "run", "configs/smoke.yaml", "name=watched",
                 f"folder={folder}", "rounds=99", "evaluation.prompts=20", "evaluation.scenes=10"],
                cwd=ROOT, stdout=log, stderr=log, start_new_session=True,
                env={**os.environ, "RAY_AUTH_MODE": "disabled", "RAY_ADDRESS": address, **REPORTS},
            )  # fmt: skip
        try:
            yield Watched(folder / "watched", ray, run, server)
        finally:
            run.terminate()
            try:
                run.wait(60)
            except subprocess.TimeoutExpired:
                run.kill()


def queries() -> dict[str, str]:
    """All of the dashboard's, as Grafana asks them when everything is chosen."""
    found = {}
    for panel in dashboard("any")["panels"]:
        for target in panel.get("targets", ()):
            asked = target["expr"].replace("$SessionName", ".*").replace("$run", "watched")
            found[f"{panel['title']} {target['refId']}"] = asked
    return found


def unanswered(watched: Watched) -> set[str]:
    """Asks until every panel has shown something, which the last do when a round is measured."""
    left, end = queries(), time.monotonic() + PATIENCE
    while left and time.monotonic() < end:
        assert watched.process.poll() is None, (watched.folder.parent / "log").read_text()
        for name, query in list(left.items()):
            if found := watched.server.ask(query):
                del left[name]
                print(f"{name}: {', '.join(shown(each) for each in found[:3])}")
        time.sleep(1)
    return set(left)


def shown(series: dict) -> str:
    return f"{' '.join(series['metric'].values())} {float(series['value'][1]):.3g}".strip()


def test_every_panel_shows_something(watched: Watched) -> None:
    assert unanswered(watched) == set()


def test_every_panel_shows_something_after_a_solver_was_killed(watched: Watched) -> None:
    victim = next(
        event for event in reversed(events.read(watched.folder)) if event["who"] == "solver 1"
    )
    assert events.born(victim["pid"]) == victim["born"]
    os.kill(victim["pid"], signal.SIGKILL)
    lost = 'max(ray_unicorn_replicas_lost{role="solver"}) > 0'
    wait(lambda: bool(watched.server.ask(lost)), "the loss to be seen", watched.process)
    back = 'max(ray_unicorn_replicas_running{role="solver"}) == 2'
    wait(lambda: bool(watched.server.ask(back)), "the Solver to be replaced", watched.process)
    workers = 'count(count by (WorkerId) (ray_unicorn_tasks_total{role="solver"})) > 2'
    wait(lambda: bool(watched.server.ask(workers)), "the new Solver to work", watched.process)
    assert unanswered(watched) == set()
    alive = 'count(ray_unicorn_replica_version{role="solver"}) == 2'
    wait(lambda: bool(watched.server.ask(alive)), "two Solvers to be alive", watched.process)
    busy = next(query for name, query in queries().items() if name == "Busy A")
    assert all(float(each["value"][1]) < 1.5 for each in watched.server.ask(busy))


def test_a_run_goes_on_when_nobody_watches_any_more(watched: Watched) -> None:
    watched.server.process.kill()
    dashboards = processes("dashboard/dashboard.py", str(watched.ray))
    assert dashboards
    for pid in dashboards:
        os.kill(pid, signal.SIGKILL)
    before = len(list(watched.folder.glob(DRAWN)))
    wait(lambda: len(list(watched.folder.glob(DRAWN))) > before + 8, "slices", watched.process)
