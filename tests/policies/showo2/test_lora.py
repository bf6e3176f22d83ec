"""Show-o2's adapters learn alone, and what is published is the base with them added in."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from policies.config import Showo2PolicyConfig
from policies.interface import Example, PictureSampling, learned
from policies.registry import footprint
from policies.showo2.policy import Showo2Policy
from tests.policies.showo2.small import picture, write_folder

RANK, ALPHA = 4, 16
BATCH = [
    Example(("a red circle", picture(0)), learned(picture(1)), "reflection"),
    Example((picture(2), "what is it"), learned("a cat"), "caption"),
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("showo2")
    write_folder(made, 0)
    return made


def mean(policy: Showo2Policy, example: Example) -> torch.Tensor:
    (part,) = policy.loss([example]).values()
    return part.total / part.count


def test_only_adapters_learn_and_what_is_published_is_what_was_learned(folder: Path) -> None:
    policy, plain = (Showo2Policy.from_pretrained(folder) for _ in range(2))
    policy.adapt(RANK, ALPHA)
    learning = {n: w for n, w in policy.module.named_parameters() if w.requires_grad}
    assert set(policy.weights()) == set(learning)
    assert (
        len({name.split(".lora_")[0] for name in learning}) == 7 * 3
    )  # of two layers and the head's one
    size = footprint(Showo2PolicyConfig(path=str(folder)))
    assert size.adapter * RANK == sum(w.numel() for w in learning.values())
    for example in BATCH:
        assert torch.equal(mean(policy, example), mean(plain, example))
    optimizer = torch.optim.AdamW(learning.values(), lr=1e-2)
    for example in BATCH:
        before = mean(policy, example)
        before.backward()
        assert all(w.grad is not None for w in learning.values())
        optimizer.step()
        optimizer.zero_grad()
        assert mean(policy, example) < before
    whole = policy.published(policy.weights())
    plain.load_weights(whole)
    for example in BATCH:
        assert mean(plain, example).item() == pytest.approx(mean(policy, example).item(), abs=1e-5)
    untouched = [n for n in whole if not n.startswith(("showo.model.layers", "diffusion_head_a"))]
    base = Showo2Policy.from_pretrained(folder).weights()
    assert all(np.array_equal(whole[name], base[name]) for name in untouched)
    with pytest.raises(RuntimeError, match="adapters learn neither samples nor is saved"):
        policy.draw([("a cat",)], [PictureSampling()], [0])
