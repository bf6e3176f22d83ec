"""AdamW on gradients averaged across the workers.

Invariant: workers meet only in the sum of their gradients, so all of them keep the same weights.
"""

from __future__ import annotations

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor

CLIP = 1.0


class Optimizer:
    """AdamW with warm-up and cosine decay, on gradients averaged across the workers."""

    def __init__(self, parameters: list[Tensor], peak: float, steps: int) -> None:
        self.parameters = parameters
        self.adam = torch.optim.AdamW(
            parameters, lr=peak, betas=(0.9, 0.95), weight_decay=0.01, foreach=True
        )
        self.peak, self.steps, self.done = peak, steps, 0

    def step(self) -> None:
        gradients = [p.grad for p in self.parameters if p.grad is not None]
        flat = torch.cat([g.flatten() for g in gradients])
        dist.all_reduce(flat)
        flat /= dist.get_world_size()
        flat *= min(1.0, CLIP / (float(flat.norm()) + 1e-6))
        parts = flat.split([g.numel() for g in gradients])
        for gradient, part in zip(gradients, parts, strict=True):
            gradient.copy_(part.view_as(gradient))
        self.update()
        for parameter in self.parameters:
            parameter.grad = None
        self.done += 1

    def update(self) -> None:
        for group in self.adam.param_groups:
            group["lr"] = self.rate()
        self.adam.step()

    def rate(self) -> float:
        warm = min(1.0, (self.done + 1) / 100)
        return self.peak * warm * (0.01 + 0.495 * (1 + np.cos(np.pi * self.done / self.steps)))
