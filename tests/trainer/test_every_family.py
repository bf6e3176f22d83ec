"""A round with a tiny model of every family whose two rounds are not tested elsewhere, one after another in one
real Ray: two Solvers, two training workers."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from actors.roles.templates import load_templates
from actors.weights.digests import weights_digest
from policies.registry import FAMILIES
from tests.policies.taught import TEMPLATES, own_policy, taught_folder
from tests.policies.tools.small import CALL_TOKENS, TOOLS
from tests.trainer.test_family_loops import groups

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
PROMPTS = 3
OWN: dict[str, dict[str, Any]] = {
    "chameleon": {
        "solver": {"guidance": [1.0, 3.0]},
        "reconstruction": {"condition_dropout": {"text": 0.1}},
    },
    "showo": {
        "solver": {"guidance": [1.0, 4.0], "steps": 4},
        "reconstruction": {"condition_dropout": {"text": 0.1}},
    },
    "emu3": {
        "solver": {"guidance": [1.0, 3.0]},
        "reconstruction": {"condition_dropout": {"text": 0.1}},
    },
    "external": {"solver": {"guidance": [1.0, 3.0], "steps": 4}},
    "showo2": {
        "solver": {"guidance": [1.0, 5.0], "steps": 4, "shift": 3.0},
        "reconstruction": {"condition_dropout": {"text": 0.1, "latents": 0.1}},
        "trainer": {"kind_weights": {"text": 0.2, "latents": 1.0}},
    },
    "tools": {"policy": {"tools": list(TOOLS), "call_tokens": CALL_TOKENS}},
}
ONE_AFTER_ANOTHER = """
import sys
from cluster import api
from cluster.session import ray_session
with ray_session.connected():
    for recipe in sys.argv[1:]:
        api.run(recipe, gallery="off")
"""


def recipe(family: str, folder: Path) -> Path:
    templates = folder / "templates.yaml"
    templates.write_text(TEMPLATES)
    base = taught_folder(family, folder / family, load_templates(str(templates)), PROMPTS)
    own = OWN[family]
    settings = {
        "name": f"{family}-run",
        "rounds": 1,
        "folder": str(folder),
        "policy": {"family": family, "path": str(base)} | own.get("policy", {}),
        "actors": {"templates": str(templates)},
        "proposer": {"prompts": PROMPTS, "prompts_per_task": 3, "temperature": 0.2, "max_tokens": 130},
        "solver": {"cpus": 0.3, "rollouts": 4, "prompts_per_task": 2} | own.get("solver", {}),
        "judge": {"temperature": 1.0, "max_tokens": 60},
        "reconstruction": own.get("reconstruction", {}),
        "trainer": {"warmup_steps": 1, "groups_per_step": 2} | own.get("trainer", {}),
        "evaluation": {"suite": "none"},
    }  # fmt: skip
    file = folder / f"{family}.yaml"
    file.write_text(yaml.safe_dump(settings))
    return file


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of all runs."""
    folder = tmp_path_factory.mktemp("families")
    recipes = [str(recipe(family, folder)) for family in OWN]
    done = subprocess.run(
        [sys.executable, "-c", ONE_AFTER_ANOTHER, *recipes],
        cwd=ROOT,
        env={**os.environ, "RAY_AUTH_MODE": "disabled", "RAY_ADDRESS": ""},
        capture_output=True,
        text=True,
        timeout=1200,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


def test_no_family_is_forgotten() -> None:
    assert FAMILIES.keys() == {*OWN, "tiny", "janus", "bagel"}


@pytest.mark.parametrize("family", OWN)
def test_a_round_is_drawn_judged_and_learned(runs: Path, family: str) -> None:
    run = runs / f"{family}-run"
    found = groups(run, 1)
    assert len(found) == PROMPTS and any(group.accepted for group in found)
    rows = [json.loads(line) for line in (run / "train.jsonl").read_text().splitlines()]
    assert {pattern for row in rows for pattern in row["losses"]} >= {"generation", "judgement"}
    weights = [
        own_policy(family, folder).weights() for folder in (runs / family, run / "versions/00001")
    ]
    assert len({weights_digest(each) for each in weights}) == 2
