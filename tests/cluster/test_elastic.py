"""Solvers scale over the nodes of a real Ray with the real autoscaler, and the log does not show it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from actors.replay.segments import log_digest
from actors.storage import events
from actors.weights.digests import weights_digest
from policies.tiny.policy import TinyPolicy
from tests.cluster.session.fake_cluster import FakeCluster, fake_cluster, wait_until

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
RECIPE = (
    "configs/smoke.yaml", "rounds=1", "proposer.prompts=110", "solver.replicas=1",
    "solver.prompts_per_task=2", "solver.rollouts=8", "evaluation.prompts=10",
    "evaluation.scenes=10", "evaluation.tasks=[]",
)  # fmt: skip
# Each Solver asks for a whole CPU of a node for Solvers, and none of those is there at first.
ELASTIC = (
    "solver.cpus=1",
    "solver.node=solver",
    "solver.max_replicas=3",
    "actors.backlog_seconds=0.5",
    "actors.cool_down=5",
)
RUN_S, NODES_S, SOON_S = 400.0, 120.0, 120.0


@pytest.fixture(scope="module")
def cluster() -> Iterator[FakeCluster]:
    # Ray puts sockets into it: pytest's own path is too long.
    with (
        tempfile.TemporaryDirectory(prefix="fake", ignore_cleanup_errors=True) as temp,
        fake_cluster(Path(temp), most=3) as made,
    ):
        yield made


def start(folder: Path, name: str, env: dict[str, str], *settings: str) -> subprocess.Popen[bytes]:
    out = (folder / f"{name}.log").open("wb")
    command = [sys.executable, "-m", "cluster", "run", *RECIPE, *settings]
    return subprocess.Popen(
        [*command, f"folder={folder}", f"name={name}"], cwd=ROOT, env=env, stdout=out, stderr=out
    )


def outcome(run: Path) -> tuple[str, str]:
    weights = TinyPolicy.from_pretrained(run / "versions/00001").weights()
    return log_digest(run / "replay"), weights_digest(weights)


def test_solvers_come_and_go_with_their_nodes_and_the_log_is_the_same(
    cluster: FakeCluster, tmp_path: Path
) -> None:
    assert len(cluster.raylets()) == 1
    too_many = ("solver.replicas=4", "solver.max_replicas=4", "trainer.workers=1")
    assert start(tmp_path, "larger", cluster.env(), *ELASTIC, *too_many).wait(SOON_S) == 2
    assert (tmp_path / "larger.log").read_text().splitlines()[-1] == (
        "unicorn-ray: run larger asks for 4 CPUs and the nodes that offer solver have at most 3: "
        "solver 4 x 1; 1 of 4 solvers would wait for ever; lower solver.cpus (fractions are fine), or "
        "the numbers of replicas"
    )
    assert [e["who"] for e in events.read(tmp_path / "larger")] == ["driver"]

    run = start(tmp_path, "elastic", cluster.env(), *ELASTIC)
    wait_until(lambda: len(cluster.raylets()) >= 3, NODES_S, "two nodes for Solvers")
    os.kill(cluster.raylets()[-1], signal.SIGKILL)
    assert run.wait(RUN_S) == 0, (tmp_path / "elastic.log").read_text()
    wait_until(lambda: len(cluster.raylets()) == 1, NODES_S, "the nodes without work to end")

    told = events.read(tmp_path / "elastic")
    sizes = [int(e["to"].split()[0]) for e in told if (e["who"], e["what"]) == ("solver", "scales")]
    assert max(sizes) >= 2 and sizes[-1] == 1
    assert any(e["what"] == "left" for e in told)

    alone = {**os.environ, "RAY_AUTH_MODE": "disabled", "RAY_ADDRESS": ""}
    assert start(tmp_path, "alone", alone).wait(RUN_S) == 0, (tmp_path / "alone.log").read_text()
    assert outcome(tmp_path / "elastic") == outcome(tmp_path / "alone")
