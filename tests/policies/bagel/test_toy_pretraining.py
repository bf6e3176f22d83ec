"""The toy is rebuilt from its seed."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch

from policies.bagel.policy import BagelPolicy
from policies.bagel.toy import learning, model, patches, pretrain
from policies.pretraining import phrases
from policies.pretraining.scenes import vocabulary
from policies.tiny import lessons
from tests.trainer.small import group_of_one


@pytest.fixture
def alone() -> Iterator[None]:
    """Workers meet in a process group, though there is but one."""
    with group_of_one():
        yield


def test_phrases_are_words_that_follow_one_another() -> None:
    assert list(phrases.phrases("a dotted red star and a circle")) == [
        "dotted red", "red star", "star and", "and circle", "dotted star", "red and", "star circle",
    ]  # fmt: skip


@pytest.mark.slow
@pytest.mark.usefixtures("alone")
def test_the_encoder_learns_which_phrases_are_true_of_what_it_sees(
    capsys: pytest.CaptureFixture[str],
) -> None:
    rng = np.random.default_rng(0)
    scenes = [lessons.scene(rng, "clean") for _ in range(300)]
    module = model.new(vocabulary(), seed=3).module
    before = {name: weight.clone() for name, weight in module.named_parameters()}
    eyes, width = module.vit_model, module.config.vision.hidden_size
    look = partial(pretrain.looked, module)
    phrases.train(eyes, look, eyes.stack(), width, scenes, 0, 60, 32)
    nats = [float(line.split()[4]) for line in capsys.readouterr().out.splitlines()]
    assert nats[-1] < 0.8 * nats[0]
    moved = {n for n, weight in module.named_parameters() if not weight.equal(before[n])}
    assert moved and all(name.startswith("vit_model.") for name in moved)


@pytest.mark.usefixtures("alone")
@pytest.mark.parametrize("everything", [True, False])
def test_a_phase_moves_what_it_teaches_alone(everything: bool) -> None:
    policy = BagelPolicy(model.new(vocabulary(), seed=3))
    patches.fit(policy.autoencoder, torch.rand(64, 3, 48, 48) * 2 - 1)
    rng = np.random.default_rng(0)
    scenes = [lessons.scene(rng, kind) for kind in ("clean", "wordless", "spoilt") * 4]
    before = {name: weight.clone() for name, weight in policy.module.named_parameters()}
    phase, saved = learning.Phase("any", everything, 2, 24, 2e-3, 3.0), list[int]()
    learning.train(policy.module, policy.layout, scenes, 0, phase, saved.append)
    moved = {n for n, weight in policy.module.named_parameters() if not weight.equal(before[n])}
    seeing = {name for name in before if name.startswith("vit_model")}
    drawing = {name for name in before if learning.draws(name)}
    assert moved >= drawing and not moved & seeing and saved == [1, 2]
    assert everything == bool(moved - drawing)


@pytest.mark.slow
@pytest.mark.usefixtures("alone")
def test_pretraining_follows_from_its_seed(tmp_path: Path) -> None:
    few = {"scenes": 24, "picture-steps": 2, "picture-batch": 4, "phrase-steps": 2,
           "phrase-batch": 4, "steps": 2, "drawing-steps": 1, "batch": 24, "drawing-batch": 24,
           "workers": 1}  # fmt: skip
    given = ["--no-compile", *(f"--{name}={value}" for name, value in few.items())]

    def made(seed: int) -> dict[str, torch.Tensor]:
        pretrain.pretrain(pretrain.parsed([*given, f"--seed={seed}", f"--out={tmp_path}"]))
        policy = BagelPolicy.from_pretrained(tmp_path)
        return {**policy.module.state_dict(), **policy.autoencoder.state_dict()}

    first, again, other = made(1), made(1), made(2)
    assert all(weight.equal(again[name]) for name, weight in first.items())
    assert not all(weight.equal(other[name]) for name, weight in first.items())
