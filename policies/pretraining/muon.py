"""Muon: the matrices of a network take steps of orthogonal matrices, all else takes AdamW's.

Every direction of a matrix is moved alike, however small its gradient is: so a small model learns in
about half the steps, which are what takes time here.

Invariant: workers start alike and see the same gradients, so all of them stay alike.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor, nn

from policies.pretraining.optimizer import Optimizer

MOMENTUM, DECAY = 0.95, 0.01
# Of Newton and Schulz's iteration, as Muon's author chose them.
A, B, C = 3.4445, -4.7750, 2.0315
ITERATIONS = 5


class Muon(Optimizer):
    """`peak` is the highest rate of AdamW, `turning` that of the matrices."""

    def __init__(
        self, matrices: Sequence[Tensor], others: Sequence[Tensor], peak: float, turning: float,
        steps: int,
    ) -> None:  # fmt: skip
        super().__init__(list(others), peak, steps)
        self.parameters = [*matrices, *others]
        self.turning = turning
        shapes = sorted({tuple(each.shape) for each in matrices})
        self.groups = [[each for each in matrices if each.shape == shape] for shape in shapes]
        self.means = [torch.zeros_like(torch.stack(own)) for own in self.groups]

    @torch.no_grad()
    def update(self) -> None:
        super().update()
        rate = self.turning * self.rate() / self.peak
        for own, mean in zip(self.groups, self.means, strict=True):
            gradient = torch.stack([_gradient(each) for each in own])
            mean.lerp_(gradient, 1 - MOMENTUM)
            turns = orthogonal(gradient.lerp(mean, MOMENTUM))
            turns *= rate * max(1.0, turns.shape[1] / turns.shape[2]) ** 0.5
            for weight, turn in zip(own, turns, strict=True):
                weight.mul_(1 - rate * DECAY).sub_(turn)


def matrices(
    units: Iterable[nn.Module], parameters: Sequence[Tensor]
) -> tuple[list[Tensor], list[Tensor]]:
    """Of `parameters` the matrices inside `units`, and all others."""
    inner = {id(each) for unit in units for each in unit.parameters() if each.ndim == 2}
    return (
        [each for each in parameters if id(each) in inner],
        [each for each in parameters if id(each) not in inner],
    )


def orthogonal(x: Tensor) -> Tensor:
    """Matrices [n, rows, columns] with singular values near 1 and the same singular vectors."""
    tall = x.shape[1] > x.shape[2]
    x = x.transpose(1, 2) if tall else x
    x = x / (x.norm(dim=(1, 2), keepdim=True) + 1e-7)
    for _ in range(ITERATIONS):
        square = x @ x.transpose(1, 2)
        x = A * x + torch.baddbmm(square, square, square, beta=B, alpha=C) @ x
    return x.transpose(1, 2) if tall else x


def _gradient(weight: Tensor) -> Tensor:
    return torch.zeros_like(weight) if weight.grad is None else weight.grad
