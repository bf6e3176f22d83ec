"""The golden tensors on this device: what its kernels change of the reference's numbers."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from benchmarks.gpu.figures import Card, Figure
from policies.bagel.sequence import packed
from tests.policies.bagel import golden


def figures(card: Card, small: bool) -> Iterator[Figure]:
    """Of BAGEL's training batch, packed: the largest errors in float32 without TF32, and relative
    ones in bfloat16, by which the reference's own rounding changes a velocity by 0.7 %."""
    for dtype in (torch.float32, torch.bfloat16):
        module = golden.module().to(card.device, dtype).requires_grad_(False)
        samples, _ = golden.training_samples("train")
        batch = packed(samples, golden.form()).on(card.device)
        with torch.inference_mode():
            logits, velocities = module(batch)
        losses = torch.nn.functional.cross_entropy(logits, batch.labels, reduction="none")
        wanted = golden.tensors("train")
        for name, found, right in (
            ("cross-entropy", losses, wanted["out_ce"]),
            ("velocities", velocities, wanted["out_velocity"]),
        ):
            yield _figure(f"BAGEL's golden {name} in {str(dtype)[6:]}", found, right, dtype)


def _figure(name: str, found: Tensor, right: Tensor, dtype: torch.dtype) -> Figure:
    error = found.cpu().float() - right
    if dtype == torch.float32:
        return Figure(f"{name}: largest error", error.abs().max().item(), "")
    return Figure(f"{name}: relative error", (error.norm() / right.norm()).item(), "")
