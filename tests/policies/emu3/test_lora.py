"""Adapters learn alone, and what is published is the base with them added in."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from policies.config import Emu3PolicyConfig
from policies.emu3.policy import Emu3Policy
from policies.interface import Example, PictureSampling, learned
from policies.registry import footprint
from tests.policies.emu3.small import picture, write_folder

EXAMPLE = Example(("red", picture(0), "better"), learned(picture(1)), "reflection")


def total(policy: Emu3Policy) -> torch.Tensor:
    return policy.loss([EXAMPLE])["codes"].total


def test_adapters_learn_alone_and_are_published_with_the_base(tmp_path: Path) -> None:
    write_folder(tmp_path, 0)
    plain, policy = Emu3Policy.from_pretrained(tmp_path), Emu3Policy.from_pretrained(tmp_path)
    policy.adapt(3, 12)
    learning = {n: w for n, w in policy.module.named_parameters() if w.requires_grad}
    assert set(policy.weights()) == set(learning) and policy.understanding() == {}
    size = footprint(Emu3PolicyConfig(path=str(tmp_path)))
    assert 3 * size.adapter == sum(w.numel() for w in learning.values())
    assert torch.equal(total(policy), total(plain))
    for name, array in plain.weights().items():
        assert np.array_equal(policy.published(policy.weights())[name], array)
    optimizer = torch.optim.AdamW(learning.values(), lr=1e-2)
    before = total(plain).item()
    for _ in range(10):
        optimizer.zero_grad()
        total(policy).backward()
        optimizer.step()
    after = total(policy).item()
    plain.load_weights(policy.published(policy.weights()))
    assert after < before - 0.1 and total(plain).item() == pytest.approx(after, abs=1e-4)
    for act in (
        lambda: policy.draw([("red",)], [PictureSampling()], [0]),
        lambda: policy.save_pretrained(tmp_path / "again"),
        lambda: policy.load_weights({}),
    ):
        with pytest.raises(RuntimeError, match="a emu3 whose adapters learn neither samples"):
            act()
