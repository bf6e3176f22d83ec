"""The toy is rebuilt from its seed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
import torch.distributed as dist

from policies.bagel.policy import BagelPolicy
from policies.bagel.toy import pretrain


@pytest.fixture
def alone(tmp_path: Path) -> Iterator[None]:
    """The only worker of a process group."""
    meeting = f"file://{tmp_path / 'meeting'}"
    dist.init_process_group("gloo", init_method=meeting, rank=0, world_size=1)
    yield
    dist.destroy_process_group()


@pytest.mark.usefixtures("alone")
def test_pretraining_follows_from_its_seed(tmp_path: Path) -> None:
    few = "--workers=1 --scenes=24 --picture-steps=2 --picture-batch=4 --steps=2 --batch=24".split()

    def made(seed: int) -> dict[str, torch.Tensor]:
        pretrain.pretrain(pretrain.parsed([*few, f"--seed={seed}", f"--out={tmp_path}"]))
        policy = BagelPolicy.from_pretrained(tmp_path)
        return {**policy.module.state_dict(), **policy.autoencoder.state_dict()}

    first, again, other = made(1), made(1), made(2)
    assert all(weight.equal(again[name]) for name, weight in first.items())
    assert not all(weight.equal(other[name]) for name, weight in first.items())
