"""FSDP2 changes no number: two workers have the losses and gradients of one process."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch.distributed.tensor import DTensor

from policies.config import changed
from policies.interface import Example, Policy
from tests.policies.conformance.family import Family, examples, mixed, sharpened, supported
from tests.trainer.small import TRAINER, group_of_one, meeting_place
from trainer.batches import shares_for_rank
from trainer.learner import Learner

Gradients = dict[str, tuple[float, dict[str, torch.Tensor]]]


@pytest.mark.slow
def test_two_sharded_workers_have_the_gradients_of_one_process(
    family: Family, folder: Path, tmp_path: Path
) -> None:
    batches: dict[str, list[Example]] = dict(examples(family))
    if supported(family.policy.from_pretrained(folder), mixed(family)):
        batches["mixed"] = mixed(family)
    make = partial(sharpened, family, folder)
    require_same_gradients(make, batches, tmp_path / "sharded.pt", family.rounding)


def test_it_learns_in_bfloat16_what_it_learns_in_float32(family: Family, folder: Path) -> None:
    """Up to the rounding: FSDP2 casts weights, and a family what it computes with them."""
    make, batches = partial(sharpened, family, folder), dict(examples(family))
    exact = gradients(make, batches)
    with group_of_one():
        rounded = gradients(make, batches, precision="bfloat16")
    for name, (loss, grads) in exact.items():
        assert rounded[name][0] == pytest.approx(loss, rel=0.05), name
        ours, theirs = (
            torch.cat([g[w].flatten() for w in grads]) for g in (grads, rounded[name][1])
        )
        assert float(torch.cosine_similarity(ours, theirs, 0)) > 0.98, name


def require_same_gradients(
    make: Callable[[], Policy],
    batches: Mapping[str, list[Example]],
    out: Path,
    rounding: float = 1e-6,
) -> None:
    """Fails unless two workers learn each batch, from the weights that `make` gives, as one process
    does, to within `rounding`. Other processes call `make`: it must be importable."""
    mp.spawn(rank_main, args=(meeting_place(), make, batches, out), nprocs=2)
    sharded, plain = torch.load(out), gradients(make, batches)
    assert sharded.keys() == plain.keys()
    for name, (loss, grads) in plain.items():
        assert sharded[name][0] == pytest.approx(loss, abs=2e-6), name
        assert grads.keys() == sharded[name][1].keys()
        for weight, gradient in grads.items():
            # Of the gradient, or of 1 where that is larger
            scale = max(1.0, gradient.abs().max().item())
            worst = (gradient - sharded[name][1][weight]).abs().max().item()
            assert worst < rounding * scale, (name, weight, worst)


def gradients(
    make: Callable[[], Policy], batches: Mapping[str, list[Example]], **how: object
) -> Gradients:
    """Of each batch the loss of one step from the same weights, and its whole gradients."""
    found: Gradients = {}
    for name, batch in batches.items():
        pattern = batch[0].pattern
        learner = Learner(make(), changed(TRAINER, clip=1e9, **how))
        shares = shares_for_rank(batch, learner.rank, learner.world, 0)
        loss = learner.step({pattern: shares}).losses[pattern]
        grads = {n: p.grad for n, p in learner.params.items() if p.grad is not None}
        whole = {n: g.full_tensor() if isinstance(g, DTensor) else g for n, g in grads.items()}
        found[name] = loss, whole
    return found


def rank_main(
    rank: int, place: str, make: Callable[[], Policy], batches: dict[str, list[Example]], out: Path
) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=place, rank=rank, world_size=2)
    found = gradients(make, batches)
    if rank == 0:
        torch.save(found, out)
    dist.destroy_process_group()
