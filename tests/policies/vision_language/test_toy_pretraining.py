"""The toy is rebuilt from its seed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from policies.bagel.policy import BagelPolicy
from policies.tiny import lessons
from policies.vision_language.toy import learning, model, pretrain, seeing
from tests.trainer.small import group_of_one


@pytest.fixture(autouse=True)
def alone() -> Iterator[None]:
    """Workers meet in a process group, though there is but one."""
    with group_of_one():
        yield


def test_each_phase_moves_its_part_alone(tmp_path: Path) -> None:
    bagel = BagelPolicy.from_pretrained(pretrain.BAGEL)
    model.write(tmp_path, 0)
    policy = model.loaded(tmp_path)
    model.begin(policy, bagel)
    rng = np.random.default_rng(0)
    scenes = [lessons.scene(rng, kind) for kind in ("clean", "wordless", "spoilt") * 4]

    def moved(before: dict[str, torch.Tensor]) -> set[str]:
        weights = policy.module.state_dict()
        return {name for name, weight in weights.items() if not weight.equal(before[name])}

    def kept() -> dict[str, torch.Tensor]:
        return {name: weight.clone() for name, weight in policy.module.state_dict().items()}

    before = kept()
    seeing.train(policy.module.model, bagel.module, scenes, 0, 2, 4)
    assert {name.split(".")[1] for name in moved(before)} == {"multi_modal_projector"}
    before, saved = kept(), list[int]()
    learning.train(policy, scenes, 0, 2, 24, 1e-3, saved.append)
    changed = moved(before)
    assert not any("vision_tower" in name for name in changed) and saved == [1, 2]
    assert {name for name in before if "vision_tower" not in name} == changed


@pytest.mark.slow
def test_pretraining_follows_from_its_seed(tmp_path: Path) -> None:
    few = {
        "scenes": 24,
        "projector-steps": 2,
        "picture-batch": 4,
        "steps": 2,
        "batch": 24,
        "workers": 1,
    }
    given = [f"--{name}={value}" for name, value in few.items()]

    def made(seed: int, *more: str) -> dict[str, torch.Tensor]:
        pretrain.pretrain(pretrain.parsed([*given, *more, f"--seed={seed}", f"--out={tmp_path}"]))
        return model.loaded(tmp_path).module.state_dict()

    first, again, other = made(1), made(1), made(2)
    assert all(weight.equal(again[name]) for name, weight in first.items())
    assert not all(weight.equal(other[name]) for name, weight in first.items())
    further = made(3, f"--start={tmp_path}")
    eyes = {name for name in first if "vision_tower" in name}
    assert all(first[name].equal(further[name]) for name in eyes)
    assert not all(other[name].equal(further[name]) for name in first)
