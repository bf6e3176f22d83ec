"""Adapters learn alone, and what is published is the base with them added in."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from policies.config import ShowoPolicyConfig
from policies.interface import Example, PictureSampling, learned
from policies.registry import footprint
from policies.showo.policy import ShowoPolicy
from tests.policies.showo import picture, write_folder

RANK, ALPHA = 4, 16


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_folder(tmp_path / "showo")


def loss(policy: ShowoPolicy) -> torch.Tensor:
    """Of a text and a picture, which may be learned in one step."""
    terms = policy.loss(
        [
            Example(("a red circle",), learned(picture(0)), "generation"),
            Example((picture(0), "what"), learned("a red circle"), "generation"),
        ]
    )
    return torch.stack([term.total / term.count for term in terms.values()]).sum()


def test_what_adapters_learn_is_what_is_published(folder: Path) -> None:
    policy, plain = (ShowoPolicy.from_pretrained(folder) for _ in range(2))
    policy.adapt(RANK, ALPHA)
    begun = policy.weights()
    size = footprint(ShowoPolicyConfig(path=str(folder)))
    assert sum(array.size for array in begun.values()) == RANK * size.adapter
    for name, array in policy.published(begun).items():
        np.testing.assert_array_equal(array, plain.weights()[name])
    learning = [w for w in policy.module.parameters() if w.requires_grad]
    optimizer = torch.optim.AdamW(learning, lr=1e-2)
    before = loss(policy).item()
    for _ in range(20):
        optimizer.zero_grad()
        loss(policy).backward()
        optimizer.step()
    after = loss(policy).item()
    assert after < before - 0.05
    plain.load_weights(policy.published(policy.weights()))
    assert loss(plain).item() == pytest.approx(after, abs=1e-5)
    with pytest.raises(RuntimeError, match="a showo whose adapters learn neither samples"):
        policy.draw([("cat",)], [PictureSampling()], [0])
