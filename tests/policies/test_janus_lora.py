"""Adapters learn alone, and what is published is the base with them added in."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from policies.interface import PictureSampling, TextSampling
from policies.janus.policy import JanusPolicy
from tests.policies.janus import tiny_folder
from tests.policies.janus_examples import examples

RANK, ALPHA = 4, 16


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tiny_folder(tmp_path / "janus")


def adapted(folder: Path) -> JanusPolicy:
    policy = JanusPolicy.from_pretrained(folder)
    policy.adapt(RANK, ALPHA)
    return policy


def loss(policy: JanusPolicy, pattern: str) -> torch.Tensor:
    (part,) = policy.loss(examples()[pattern]).values()
    return part.total / part.count


def test_only_adapters_learn_and_they_begin_as_nothing(folder: Path) -> None:
    policy, plain = adapted(folder), JanusPolicy.from_pretrained(folder)
    learning = {n: w for n, w in policy.module.named_parameters() if w.requires_grad}
    assert set(policy.weights()) == set(learning)
    assert sum(w.numel() for w in learning.values()) < 0.1 * sum(
        array.size for array in plain.weights().values()
    )
    for pattern in ("generation", "judgement"):
        assert torch.equal(loss(policy, pattern), loss(plain, pattern))
    whole = policy.published(policy.weights())
    for name, array in plain.weights().items():
        np.testing.assert_array_equal(whole[name], array)


def test_adapters_begin_the_same_in_every_process(folder: Path) -> None:
    torch.manual_seed(5)
    first = adapted(folder).weights()
    torch.manual_seed(6)
    for name, array in adapted(folder).weights().items():
        np.testing.assert_array_equal(array, first[name])


def test_what_is_published_is_what_was_learned(folder: Path) -> None:
    policy, plain = adapted(folder), JanusPolicy.from_pretrained(folder)
    learning = [w for w in policy.module.parameters() if w.requires_grad]
    optimizer = torch.optim.AdamW(learning, lr=1e-2)
    before = loss(policy, "reflection").item()
    for _ in range(20):
        optimizer.zero_grad()
        loss(policy, "reflection").backward()
        optimizer.step()
    after = loss(policy, "reflection").item()
    assert after < before - 0.02
    plain.load_weights(policy.published(policy.weights()))
    for pattern in examples():
        assert loss(plain, pattern).item() == pytest.approx(loss(policy, pattern).item(), abs=1e-5)


def test_an_adapted_policy_neither_samples_nor_is_saved(folder: Path) -> None:
    policy = adapted(folder)
    for act in (
        lambda: policy.draw([("a cat",)], [PictureSampling()], [0]),
        lambda: policy.write([("a cat",)], [TextSampling()], [0]),
        lambda: policy.save_pretrained(folder / "again"),
        lambda: policy.load_weights({}),
    ):
        with pytest.raises(RuntimeError, match="adapters learn neither samples nor is saved"):
            act()
