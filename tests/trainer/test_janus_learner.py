"""Adapters shard: two workers have the losses and gradients of one process, pattern by pattern."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest
import torch

from policies.janus.policy import JanusPolicy
from tests.policies.conformance.sharded import require_same_gradients
from tests.policies.janus import tiny_folder
from tests.policies.janus_examples import examples

RANK = 4


def adapted(folder: Path) -> JanusPolicy:
    """Larger weights, so that no gradient is near the rounding, and adapters."""
    policy = JanusPolicy.from_pretrained(folder)
    with torch.no_grad():
        for weight in policy.module.parameters():
            if weight.ndim == 2:
                weight.mul_(3)
    policy.adapt(RANK, 2 * RANK)
    return policy


@pytest.mark.slow
def test_two_sharded_workers_learn_adapters_as_one_process(tmp_path: Path) -> None:
    made = partial(adapted, tiny_folder(tmp_path / "janus"))
    require_same_gradients(made, examples(), tmp_path / "sharded.pt")
