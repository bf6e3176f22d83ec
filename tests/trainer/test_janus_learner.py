"""Adapters shard: two ranks have the losses and gradients of one process, pattern by pattern."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch.distributed.tensor import DTensor

from policies.config import changed
from policies.interface import PATTERNS
from policies.janus.policy import JanusPolicy
from tests.policies.janus import tiny_folder
from tests.policies.janus_examples import examples
from tests.trainer.small import TRAINER, free_port
from trainer.batches import shares_for_rank
from trainer.learner import Learner

RANK = 4
UNCLIPPED = changed(TRAINER, clip=1e9)


def sharp(folder: str, rank: int) -> JanusPolicy:
    """Larger weights, so that no gradient is near the rounding; with adapters, of `rank`."""
    policy = JanusPolicy.from_pretrained(folder)
    with torch.no_grad():
        for weight in policy.module.parameters():
            if weight.ndim == 2:
                weight.mul_(3)
    if rank:
        policy.adapt(rank, 2 * rank)
    return policy


def learn(folder: str, rank: int) -> dict[str, dict[str, Any]]:
    """By pattern, what one step from the same weights gives."""
    found = {}
    for pattern in PATTERNS:
        learner = Learner(sharp(folder, rank), UNCLIPPED)
        shares = shares_for_rank(examples()[pattern], learner.rank, learner.world, 0)
        learned = learner.step({pattern: shares})
        grads = {n: p.grad for n, p in learner.params.items() if p.grad is not None}
        whole = {n: g.full_tensor() if isinstance(g, DTensor) else g for n, g in grads.items()}
        found[pattern] = {"loss": learned.losses[pattern], "grads": whole}
    return found


def rank_main(rank: int, port: int, folder: str, lora: int, out: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"tcp://127.0.0.1:{port}", rank=rank, world_size=2)
    found = learn(folder, lora)
    if rank == 0:
        torch.save(found, out)
    dist.destroy_process_group()


def test_two_sharded_ranks_have_the_gradients_of_one_process(tmp_path: Path) -> None:
    folder, out = str(tiny_folder(tmp_path / "janus")), tmp_path / "sharded.pt"
    mp.spawn(rank_main, args=(free_port(), folder, RANK, str(out)), nprocs=2)
    sharded, plain = torch.load(out), learn(folder, RANK)
    for pattern in PATTERNS:
        assert sharded[pattern]["loss"] == pytest.approx(plain[pattern]["loss"], abs=1e-6)
        grads = plain[pattern]["grads"]
        assert grads.keys() == sharded[pattern]["grads"].keys()
        for name, gradient in grads.items():
            # 1e-6 of the gradient, or of 1 where that is larger
            scale = max(1.0, gradient.abs().max().item())
            worst = (gradient - sharded[pattern]["grads"][name]).abs().max().item()
            assert worst < 1e-6 * scale, (pattern, name, worst)
