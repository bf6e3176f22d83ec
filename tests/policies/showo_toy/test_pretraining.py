"""The masked toy is rebuilt from its seed, goes on from where it was, and is an ordinary Show-o."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch

from policies.config import ShowoPolicyConfig
from policies.convolutions import Block, Glance
from policies.interface import PictureSampling, TextSampling
from policies.pretraining import phrases
from policies.pretraining.scenes import vocabulary
from policies.registry import load_policy
from policies.showo import checkpoint
from policies.showo.policy import ShowoPolicy
from policies.showo.toy import learning, model, pretrain, seeing
from policies.tiny import lessons
from tests.trainer.small import group_of_one

FEW = {"scenes": 24, "code-steps": 2, "code-batch": 64, "picture-steps": 1, "picture-batch": 2,
       "phrase-steps": 1, "phrase-batch": 4, "steps": 2, "batch": 12, "workers": 1}  # fmt: skip


@pytest.fixture(autouse=True)
def alone() -> Iterator[None]:
    """Workers meet in a process group, though there is but one."""
    with group_of_one():
        yield


def made(folder: Path, seed: int, **others: object) -> dict[str, torch.Tensor]:
    given = {**FEW, "seed": seed, "out": folder, **others}
    arguments = [f"--{name}={value}" for name, value in given.items()]
    pretrain.pretrain(pretrain.parsed(["--no-bfloat16", *arguments]))
    loaded = checkpoint.load(folder)
    return {**loaded.module.state_dict(), **loaded.magvit.state_dict()}


@pytest.mark.slow
def test_pretraining_follows_from_its_seed(tmp_path: Path) -> None:
    first, again, other = (made(tmp_path, seed) for seed in (1, 1, 2))
    assert all(weight.equal(again[name]) for name, weight in first.items())
    assert not all(weight.equal(other[name]) for name, weight in first.items())


def test_what_is_saved_is_an_ordinary_checkpoint_that_goes_on(tmp_path: Path) -> None:
    first = made(tmp_path / "first", 1)
    policy = load_policy(ShowoPolicyConfig(path=str(tmp_path / "first")))
    assert isinstance(policy, ShowoPolicy)
    (output,) = policy.draw([("a red circle",)], [PictureSampling(steps=2)], [0])
    drawn = output[0].segment
    assert not isinstance(drawn, str) and drawn.pixels.shape == (48, 48, 3)
    assert len(policy.write([(drawn, "describe")], [TextSampling(max_tokens=4)], [0])) == 1
    later = made(tmp_path / "second", 1, start=tmp_path / "first", steps=3)
    moved = {name for name, weight in later.items() if not weight.equal(first[name])}
    assert moved and all(name.startswith("showo.") for name in moved)
    progress = json.loads((tmp_path / "second" / pretrain.PROGRESS).read_bytes())
    assert progress == {"codes": 2, "pictures": 1, "phrases": 1, "lessons": 3}


def test_all_that_the_tokenizer_passes_over_is_nothing(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    scenes = [lessons.scene(rng, "clean") for _ in range(12)]
    magvit = model.new(vocabulary(), seed=0).magvit
    seeing.train_codes(magvit, scenes, 0, 1, 16)
    seeing.train(magvit, scenes, 0, 1, 2, 0, lambda step: None)
    parts = {n: p for n, p in magvit.named_modules() if isinstance(p, Block | Glance)}
    working = {name for name, part in parts.items() if not part.idle}
    assert working == {*seeing.TRAINED, "encoder.mid.block_1", "encoder.mid.block_2"}
    pixels = torch.rand(2, 3, 48, 48) * 2 - 1
    passed = magvit.encoder(pixels), magvit.decode(magvit.encode(pixels))
    for part in parts.values():
        part.idle = False
    assert torch.equal(magvit.encoder(pixels), passed[0])
    assert torch.equal(magvit.decode(magvit.encode(pixels)), passed[1])


@pytest.mark.slow
def test_the_tokenizer_learns_to_give_patches_and_pictures_back(
    capsys: pytest.CaptureFixture[str],
) -> None:
    rng = np.random.default_rng(0)
    scenes = [lessons.scene(rng, "clean") for _ in range(200)]
    magvit = model.new(vocabulary(), seed=0).magvit
    pictures = partial(seeing.train, done=0, save=lambda step: None)
    for train, steps, batch, left in ((seeing.train_codes, 300, 256, 0.9), (pictures, 40, 4, 0.6)):
        train(magvit, scenes, 0, steps, batch)
        lines = capsys.readouterr().out.splitlines()
        errors = [float(line.split()[6]) for line in (lines[0], lines[-1])]
        assert errors[1] < left * errors[0]


def test_the_first_layers_learn_to_see(capsys: pytest.CaptureFixture[str]) -> None:
    rng = np.random.default_rng(0)
    policy = ShowoPolicy(model.new(vocabulary(), seed=0))
    scenes = [lessons.scene(rng, "clean") for _ in range(300)]
    scenes = seeing.coded(policy.vision, scenes)
    learning.share_digits(policy.module, 0)
    before = {name: weight.clone() for name, weight in policy.module.named_parameters()}
    layers = policy.fsdp_units()[: learning.SEEING]
    phrases.train(policy.module, partial(learning.seen, policy), layers, 128, scenes, 0, 2, 4)
    moved = {n for n, weight in policy.module.named_parameters() if not weight.equal(before[n])}
    allowed = ("showo.model.embed_tokens.", *(f"showo.model.layers.{i}." for i in range(3)))
    assert moved and all(name.startswith(allowed) for name in moved)
