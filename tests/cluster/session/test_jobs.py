"""Runs as jobs of a real Ray that wants a token."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import urllib.request
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from actors.replay.segments import log_digest
from actors.weights.digests import weights_digest
from cluster.recipes import recipe
from cluster.session import jobs
from policies.config import ConfigError
from policies.tiny.policy import TinyPolicy
from tests.cluster.session.fake_cluster import free_port, wait_until
from tests.cluster.session.ray_head import Head, ray_head

ROOT = Path(__file__).parents[3]
RECIPE = (
    "configs/smoke.yaml", "rounds=1", "proposer.prompts=60", "solver.prompts_per_task=2",
    "solver.rollouts=8", "evaluation.prompts=10", "evaluation.scenes=10",
    "evaluation.tasks=[]",
)  # fmt: skip
TOKEN = "0123456789abcdef" * 4
SOON_S, RUN_S = 120.0, 400.0


@pytest.fixture(scope="module")
def head() -> Iterator[Head]:
    with ray_head(Path(tempfile.gettempdir(), f"unicorn-jobs-{os.getpid()}"), TOKEN) as made:
        yield made


def unicorn(env: dict[str, str], *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "cluster", *words],
        cwd=ROOT, env=env, capture_output=True, text=True, timeout=RUN_S,
    )  # fmt: skip


def refused(env: dict[str, str], *words: str) -> str:
    done = unicorn(env, *words)
    assert done.returncode == 2 and done.stderr.count("\n") == 1, done.stderr
    return done.stderr


def told_of(head: Head, job: str) -> dict[str, Any]:
    """What the dashboard shows of it."""
    request = urllib.request.Request(
        f"{head.url}/api/jobs/{job}", headers={"Authorization": f"Bearer {TOKEN}"}
    )
    with urllib.request.urlopen(request, timeout=SOON_S) as answer:
        return dict(json.load(answer))


def answers(link: str) -> bool:
    with suppress(OSError), urllib.request.urlopen(f"{link}api/run", timeout=10) as answer:
        return bool(answer.status == 200)
    return False


def outcome(run: Path) -> tuple[str, str]:
    weights = TinyPolicy.from_pretrained(run / "versions/00001").weights()
    return log_digest(run / "replay"), weights_digest(weights)


@pytest.mark.slow
def test_a_job_that_is_stopped_and_submitted_again_ends_as_if_undisturbed(
    head: Head, tmp_path: Path
) -> None:
    job = (*RECIPE, f"folder={tmp_path}", "name=job")
    place, taken = (f"127.0.0.1:{free_port()}" for _ in range(2))
    secret = {"UNICORN_GALLERY_TOKEN": "opensesame"}
    begun = subprocess.Popen(
        [sys.executable, "-m", "cluster", "submit", *job, "--gallery", place],
        cwd=ROOT, env=head.env | secret, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    stored = tmp_path / "job/replay"
    wait_until(lambda: any(stored.rglob("*.parquet")), RUN_S, "the first slice")
    wait_until(lambda: answers(f"http://{place}/"), RUN_S, "the gallery")
    begun.send_signal(signal.SIGINT)
    out, err = begun.communicate(timeout=SOON_S)
    name = out.split()[0]
    assert begun.returncode == 130
    assert f"`unicorn-ray stop {name} --address={head.url}` stops it" in err
    told = told_of(head, name)
    assert told["metadata"] == {
        "run": "job",
        "folder": str(tmp_path),
        "gallery": f"http://{place}/?run={tmp_path}/job",
    }
    assert "opensesame" not in str(told)
    stopped = unicorn(head.env, "stop", name)
    assert stopped.returncode == 0, stopped.stderr
    assert not (tmp_path / "job/versions/00001").exists()
    assert "it is STOPPED already" in refused(head.env, "stop", name)

    host, port = taken.split(":")
    with socket.create_server((host, int(port))):
        again = unicorn(head.env, "submit", *job, "--gallery", taken)
    assert again.returncode == 0, again.stderr
    assert f"no gallery: the gallery cannot listen at {taken} (Address already in" in again.stdout
    assert re.search(r"^\[ *\d.*\] finished \| report ", again.stdout, re.MULTILINE), again.stdout

    alone = {**os.environ, "RAY_AUTH_MODE": "disabled", "RAY_ADDRESS": ""}
    calm = unicorn(alone, "run", *RECIPE, f"folder={tmp_path}", "name=calm")
    assert calm.returncode == 0, calm.stderr
    assert outcome(tmp_path / "job") == outcome(tmp_path / "calm")
    texts = (again.stdout, again.stderr, (tmp_path / "job/config.yaml").read_text())
    assert not any(TOKEN in text for text in texts)


@pytest.mark.slow
def test_what_a_cluster_can_never_have_is_refused_before_there_is_a_job(
    head: Head, tmp_path: Path
) -> None:
    run = ("submit", "configs/smoke.yaml", f"folder={tmp_path}")
    said = refused(head.env, *run, "solver.replicas=99")
    assert "this cluster has 4: proposer 1 x 0.2, solver 99 x 0.3, judge 1 x 0.4, trainer" in said
    assert "solver.node is 'far': no node of this cluster" in refused(
        head.env, *run, "solver.node=far"
    )
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_who_has_no_token_or_a_wrong_one_is_told_so(head: Head, tmp_path: Path) -> None:
    run = ("submit", "configs/smoke.yaml", f"folder={tmp_path}")
    for wrong in ({"RAY_AUTH_MODE": "disabled"}, {"RAY_AUTH_TOKEN": "f" * 64}):
        said = refused(head.env | wrong, *run)
        assert f"the cluster at {head.url} wants its token: set RAY_AUTH_MODE=token" in said


@pytest.mark.slow
def test_the_plain_command_is_refused_a_folder_that_would_go_with_the_job(head: Head) -> None:
    ray = str(Path(sys.executable).with_name("ray"))
    done = subprocess.run(
        [ray, "job", "submit", "--working-dir=.", "--", *"python -m cluster run".split(),
         "configs/smoke.yaml"],
        cwd=ROOT, env=head.env, capture_output=True, text=True, timeout=RUN_S,
    )  # fmt: skip
    assert done.returncode != 0
    assert "unicorn-ray: folder is 'runs': a job works in a directory" in done.stdout + done.stderr


def test_nobody_is_asked_where_no_job_server_is_named_or_answers(tmp_path: Path) -> None:
    run = ("submit", "configs/smoke.yaml", f"folder={tmp_path}")
    unnamed = {k: v for k, v in os.environ.items() if k not in (jobs.API_ADDRESS, "RAY_ADDRESS")}
    assert "no job server is named" in refused(unnamed, *run)
    assert "no job server is named" in refused(unnamed, *run, "--address=head:8265")
    said = refused(unnamed, *run, "--address=http://127.0.0.1:1")
    assert "no job server answers at http://127.0.0.1:1 (" in said


def test_a_job_reaches_a_bucket() -> None:
    config = recipe.load(ROOT / "configs/smoke.yaml", ["folder=s3://bucket/runs"])
    jobs.require_reachable(config)


@pytest.mark.parametrize("setting", [
    "folder=runs", "folder=/shared/../runs", "policy.path=mine",
    "judge.hygiene.clip=mine judge.hygiene.clip_from=0.2",
    "judge.hygiene.aesthetic=mine judge.hygiene.aesthetic_from=5 judge.hygiene.clip=/shared/clip",
])  # fmt: skip
def test_what_a_job_could_not_reach_is_refused(setting: str) -> None:
    config = recipe.load(ROOT / "configs/smoke.yaml", ["folder=/shared", *setting.split()])
    with pytest.raises(ConfigError, match=rf"^{setting.split('=')[0]} is "):
        jobs.require_reachable(config)
