"""The whole loop with a tiny model of each kind, as a user starts it: real processes, real Ray, two
Solvers, two training workers, two rounds."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from actors.replay.records import JudgedGroup
from actors.replay.segments import read_segment
from actors.roles.templates import load_templates
from actors.weights.digests import weights_digest
from policies.config import PolicyConfig
from policies.interface import PATTERNS, Policy, last_picture
from policies.registry import load_policy
from tests.policies.taught import TEMPLATES, taught_folder

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
PROMPTS = 4
DRAWN = {
    "janus": {"guidance": [1.0, 5.0]},
    "bagel": {"guidance": [1.0, 4.0], "steps": 4, "shift": 3.0, "renorm": "global"},
}
DROPPED = {"janus": {"text": 0.3}, "bagel": {"text": 0.1, "latents": 0.3, "features": 0.3}}
LEARNED = {"janus": {}, "bagel": {"kind_weights": {"text": 0.1, "latents": 1.0}}}


def recipe(family: str, folder: Path) -> Path:
    templates = folder / "templates.yaml"
    templates.write_text(TEMPLATES)
    base = taught_folder(family, folder / "base", load_templates(str(templates)), PROMPTS)
    file = folder / "recipe.yaml"
    settings = {
        "name": family,
        "rounds": 2,
        "folder": str(folder / "runs"),
        "policy": {"family": family, "path": str(base)},
        "actors": {"templates": str(templates)},
        "proposer": {"prompts": PROMPTS, "prompts_per_task": 2, "temperature": 0.2, "max_tokens": 130},
        "solver": {"cpus": 0.3, "rollouts": 4, "prompts_per_task": 1} | DRAWN[family],
        "judge": {"temperature": 1.0, "max_tokens": 60},
        "reconstruction": {"condition_dropout": DROPPED[family]},
        "trainer": {"warmup_steps": 1, "epochs": 2, "groups_per_step": 2} | LEARNED[family],
        "evaluation": {"suite": "none"},
    }  # fmt: skip
    file.write_text(yaml.safe_dump(settings))
    return file


@pytest.fixture(scope="module", params=["janus", "bagel"])
def run(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the run."""
    folder = tmp_path_factory.mktemp("loop")
    done = subprocess.run(
        [sys.executable, "-m", "cluster", "run", str(recipe(request.param, folder))],
        cwd=ROOT,
        env={**os.environ, "RAY_AUTH_MODE": "disabled", "RAY_ADDRESS": ""},
        capture_output=True,
        text=True,
        timeout=900,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return folder / "runs" / request.param


def policy_of(run: Path, folder: Path) -> Policy:
    return load_policy(PolicyConfig(family=run.name, path=str(folder)))


def groups(run: Path, round_: int) -> list[JudgedGroup]:
    files = sorted((run / f"replay/round-{round_:05d}").glob("slice-*.parquet"))
    return [group for file in files for group in read_segment(file)]


def test_two_rounds_are_sampled_and_learned(run: Path) -> None:
    rows = [json.loads(line) for line in (run / "train.jsonl").read_text().splitlines()]
    assert {row["round"] for row in rows} == {1, 2}
    assert {pattern for row in rows for pattern in row["losses"]} == set(PATTERNS)
    for round_ in (1, 2):
        assert len(groups(run, round_)) == PROMPTS
        assert any(group.accepted for group in groups(run, round_))
    weights = [
        policy_of(run, folder).weights()
        for folder in (run.parents[1] / "base", run / "versions/00001", run / "versions/00002")
    ]
    assert len({weights_digest(each) for each in weights}) == 3


def test_both_solvers_drew(run: Path) -> None:
    events = [json.loads(line) for line in (run / "events.jsonl").read_text().splitlines()]
    assert {e["who"] for e in events if e["what"] == "started"} >= {"solver 0", "solver 1"}


def test_a_published_version_draws_the_same_in_another_process(run: Path) -> None:
    """What the Solvers drew in round 2 with the weights that training published, drawn again here
    from the folder of that version."""
    policy = policy_of(run, run / "versions/00001")
    for group in groups(run, 2):
        assert group.weight_version == 1
        how = [r.sampling for r in group.rollouts]
        seeds = [r.seed for r in group.rollouts]
        drawn = policy.draw([(group.prompt,)] * len(how), how, seeds)
        for rollout, output in zip(group.rollouts, drawn, strict=True):
            again = last_picture(output)
            np.testing.assert_array_equal(rollout.picture.codes, again.codes)
            assert np.array_equal(rollout.picture.pixels, again.pixels)
            if again.latents is not None:
                assert torch.equal(rollout.picture.latents, again.latents)
