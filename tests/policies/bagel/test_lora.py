"""BAGEL's adapters learn alone, and what is published is the base with them added in."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch

from policies.bagel.policy import BagelPolicy
from policies.config import BagelPolicyConfig
from policies.interface import Example, PictureSampling, TextSampling, learned
from policies.registry import footprint
from tests.policies.bagel.small import picture, write_folder

RANK, ALPHA = 4, 16
EXPERTS = ("all", "generation")
BATCH = [
    Example(("a red circle", picture(0)), learned(picture(1)), "reflection"),
    Example((picture(2), "what is it"), learned("a cat"), "caption"),
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("bagel")
    write_folder(made, 0)
    return made


def adapted(folder: Path, experts: str = "all") -> BagelPolicy:
    policy = BagelPolicy.from_pretrained(folder, adapters=experts)
    policy.adapt(RANK, ALPHA)
    return policy


def mean(policy: BagelPolicy, example: Example) -> torch.Tensor:
    (part,) = policy.loss([example]).values()
    return part.total / part.count


@pytest.mark.parametrize("experts", EXPERTS)
def test_only_adapters_learn_and_they_begin_as_nothing(folder: Path, experts: str) -> None:
    policy, plain = adapted(folder, experts), BagelPolicy.from_pretrained(folder)
    learning = {n: w for n, w in policy.module.named_parameters() if w.requires_grad}
    assert set(policy.weights()) == set(learning)
    layers = {name.split(".lora_")[0] for name in learning}
    assert len(layers) == 2 * 7 * (2 if experts == "all" else 1)  # of two layers
    assert experts == "all" or all("_moe_gen" in name for name in layers)
    own = BagelPolicyConfig(path=str(folder), adapters=experts)
    assert footprint(own).adapter * RANK == sum(w.numel() for w in learning.values())
    for example in BATCH:
        assert torch.equal(mean(policy, example), mean(plain, example))
    whole = policy.published(policy.weights())
    for name, array in plain.weights().items():
        np.testing.assert_array_equal(whole[name], array)


@pytest.mark.parametrize("experts", EXPERTS)
def test_every_adapter_has_a_gradient_of_every_kind_of_loss(folder: Path, experts: str) -> None:
    policy = adapted(folder, experts)
    for example in BATCH:
        policy.module.zero_grad(set_to_none=True)
        mean(policy, example).backward()
        assert all(w.grad is not None for w in policy.module.parameters() if w.requires_grad)


@pytest.mark.parametrize("experts", EXPERTS)
def test_what_is_published_is_what_was_learned(folder: Path, experts: str) -> None:
    policy, plain = adapted(folder, experts), BagelPolicy.from_pretrained(folder)
    learning = [w for w in policy.module.parameters() if w.requires_grad]
    optimizer = torch.optim.AdamW(learning, lr=1e-2)
    before = mean(policy, BATCH[0]).item()
    for _ in range(20):
        optimizer.zero_grad()
        mean(policy, BATCH[0]).backward()
        optimizer.step()
    after = mean(policy, BATCH[0]).item()
    assert after < before - 0.02
    plain.load_weights(policy.published(policy.weights()))
    for example in BATCH:
        assert mean(plain, example).item() == pytest.approx(mean(policy, example).item(), abs=1e-5)


def test_an_adapted_policy_neither_samples_nor_is_saved(folder: Path) -> None:
    policy = adapted(folder)
    acts: tuple[Callable[[], object], ...] = (
        partial(policy.draw, [("a cat",)], [PictureSampling()], [0]),
        partial(policy.write, [("a cat",)], [TextSampling()], [0]),
        partial(policy.save_pretrained, folder / "again"),
        partial(policy.load_weights, {}),
    )
    for act in acts:
        with pytest.raises(RuntimeError, match="adapters learn neither samples nor is saved"):
            act()
