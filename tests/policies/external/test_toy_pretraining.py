"""The toy is rebuilt from its seed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from policies.bagel.policy import BagelPolicy
from policies.external.policy import ExternalPolicy
from policies.external.toy import learning, model, pretrain
from policies.tiny import lessons
from policies.vision_language.toy import model as language
from tests.trainer.small import group_of_one


@pytest.fixture(autouse=True)
def alone() -> Iterator[None]:
    """Workers meet in a process group, though there is but one."""
    with group_of_one():
        yield


def test_what_learns_is_what_learns_in_self_play_and_nothing_frozen(tmp_path: Path) -> None:
    bagel = BagelPolicy.from_pretrained(pretrain.BAGEL)
    language.write(tmp_path / "language", 0)
    sizes = bagel.module.config.autoencoder
    model.write(tmp_path / "made", tmp_path / "language", bagel.autoencoder, sizes, 0)
    policy = ExternalPolicy.from_pretrained(tmp_path / "made")
    rng = np.random.default_rng(0)
    made = [lessons.scene(rng, kind) for kind in ("clean", "wordless", "spoilt") * 4]
    scenes, saved = pretrain.with_latents(bagel.autoencoder, made), list[int]()
    frozen = [*policy.vision.parts(), policy.decoder.pipe.vae]
    kept = [weight.clone() for part in frozen for weight in part.parameters()]
    before = {name: weight.clone() for name, weight in policy.module.named_parameters()}
    phase = learning.Phase(3, 1, 4, 2, 12, 1e-3, 0.5)
    learning.train(policy, scenes, 0, phase, saved.append)
    assert saved == [2, 3]
    after = [weight for part in frozen for weight in part.parameters()]
    assert all(torch.equal(one, other) for one, other in zip(kept, after, strict=True))
    for name, weight in policy.module.named_parameters():
        assert not torch.equal(weight, before[name]), name


@pytest.mark.slow
def test_pretraining_follows_from_its_seed(tmp_path: Path) -> None:
    language.write(tmp_path / "language", 0)
    few = {"scenes": 24, "word-steps": 2, "prompts": 4, "steps": 2, "drawings": 4, "copies": 2,
           "texts": 12, "workers": 1}  # fmt: skip
    given = ["--no-compile", *(f"--{name}={value}" for name, value in few.items())]

    def made(seed: int, name: str, *begin: str) -> dict[str, torch.Tensor]:
        pretrain.pretrain(
            pretrain.parsed([*given, *begin, f"--seed={seed}", f"--out={tmp_path / name}"])
        )
        return ExternalPolicy.from_pretrained(tmp_path / name).module.state_dict()

    new = f"--language={tmp_path / 'language'}"
    first, again, other = made(1, "first", new), made(1, "again", new), made(2, "other", new)
    assert all(weight.equal(again[name]) for name, weight in first.items())
    assert not all(weight.equal(other[name]) for name, weight in first.items())
    start = f"--start={tmp_path / 'other'}"
    further, same = (made(2, name, start, "--steps=3", "--done=2") for name in ("further", "same"))
    assert all(weight.equal(same[name]) for name, weight in further.items())
    assert not any(weight.equal(other[name]) for name, weight in further.items())
