"""BAGEL's adapters shard, and layers that are computed again have the same gradients."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch

from policies.bagel.policy import BagelPolicy
from policies.config import changed
from policies.flowing.times import Times
from tests.policies.bagel.small import picture, write_folder
from tests.policies.bagel.test_policy import family
from tests.policies.conformance.family import examples, mixed
from tests.policies.conformance.sharded import require_same_gradients
from tests.trainer.small import TRAINER, group_of_one
from trainer.batches import shares_for_rank
from trainer.learner import Learner

__all__ = ["family"]
RANK = 4


def adapted(folder: Path, experts: str) -> BagelPolicy:
    """Larger weights, so that no gradient is near the rounding, and adapters."""
    policy = BagelPolicy.from_pretrained(folder, adapters=experts)
    with torch.no_grad():
        for weight in policy.module.parameters():
            if weight.ndim == 2:
                weight.mul_(3)
    policy.adapt(RANK, 2 * RANK)
    return policy


@pytest.mark.slow
@pytest.mark.parametrize("experts", ["all", "generation"])
def test_two_sharded_workers_learn_adapters_as_one_process(
    family, tmp_path: Path, experts: str
) -> None:
    write_folder(tmp_path / "bagel", 0)
    made = partial(adapted, tmp_path / "bagel", experts)
    batches = {**examples(family), "mixed": mixed(family)}
    require_same_gradients(made, batches, tmp_path / "sharded.pt")


@pytest.mark.parametrize("rank", [0, RANK])
def test_layers_that_are_computed_again_have_the_same_gradients(
    family, tmp_path: Path, rank: int
) -> None:
    write_folder(tmp_path, 0)
    found = []
    for again in (False, True):
        policy = BagelPolicy.from_pretrained(tmp_path)
        if rank:
            policy.adapt(rank, rank)
        learner = Learner(policy, changed(TRAINER, recompute=again, clip=1e9))
        shares = {p: shares_for_rank(e, 0, 1, 0) for p, e in examples(family).items()}
        done = learner.step(shares)
        found.append((done.losses, {n: p.grad for n, p in learner.params.items()}))
    (losses, plain), (same_losses, recomputed) = found
    assert losses == same_losses and picture(0).latents is not None
    for name, gradient in plain.items():
        assert torch.equal(gradient, recomputed[name]), name


@pytest.fixture
def grouped() -> Iterator[None]:
    """FSDP2 needs a process group to cast."""
    with group_of_one():
        yield


def test_frozen_weights_are_held_in_half_of_the_memory_and_compute_the_same(
    family, tmp_path: Path, grouped: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_folder(tmp_path, 0)
    how = changed(TRAINER, precision="bfloat16", lora_rank=RANK, clip=1e9)
    found = []
    for shrinks in (True, False):
        if not shrinks:
            monkeypatch.setattr(Learner, "_shrink_frozen", lambda self: None)
        learner = Learner(adapted(tmp_path, "all"), how)
        frozen = [w for w in learner.policy.module.parameters() if not w.requires_grad]
        assert {w.dtype for w in frozen} == {torch.bfloat16 if shrinks else torch.float32}
        assert {w.dtype for w in learner.params.values()} == {torch.float32}
        shares = {p: shares_for_rank(e, 0, 1, 0) for p, e in examples(family).items()}
        losses = learner.step(shares).losses
        found.append((losses, learner.weights("model")))
    (losses, ours), (same_losses, theirs) = found
    assert losses == same_losses
    for name, array in ours.items():
        np.testing.assert_array_equal(array, theirs[name], err_msg=name)


def test_times_are_not_rounded_where_weights_are(
    family, tmp_path: Path, grouped: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_folder(tmp_path, 0)
    seen: list[torch.Tensor] = []
    forward = Times.forward

    def watched(self: Times, t: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
        seen.append(t)
        return forward(self, t, dtype)

    monkeypatch.setattr(Times, "forward", watched)
    learner = Learner(BagelPolicy.from_pretrained(tmp_path), changed(TRAINER, precision="bfloat16"))
    learner.step({p: shares_for_rank(e, 0, 1, 0) for p, e in examples(family).items()})
    assert {t.dtype for t in seen} == {torch.float32}
