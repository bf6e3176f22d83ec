"""Rows of an image code that are its own part plus one part for each digit of the code.

Codes that share a digit look alike. Learning that part once for all of them lets a model read rare
codes. Only pretraining uses this.

Invariant: the sums alone are what is saved.
"""

from __future__ import annotations

import math
from operator import attrgetter
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize


class Digits(nn.Module):
    """A parametrization of a table [rows, width] whose rows from `offset` on are those of all codes of
    so many `levels`; `deviation` is that of the parts at first."""

    onehot: Tensor

    def __init__(
        self, levels: tuple[int, ...], offset: int, rows: int, width: int, seed: int,
        deviation: float = 0.01,
    ) -> None:  # fmt: skip
        super().__init__()
        count = math.prod(levels)
        codes = torch.arange(count)
        parts, base = [], 1
        for level in levels:
            parts.append(nn.functional.one_hot(codes // base % level, level))
            base *= level
        onehot = torch.zeros(rows, sum(levels))
        onehot[offset : offset + count] = torch.cat(parts, 1).float()
        self.register_buffer("onehot", onehot)
        start = torch.Generator().manual_seed(seed)
        drawn = torch.randn(sum(levels), width, generator=start)
        self.parts = nn.Parameter(drawn * deviation)

    def forward(self, own: Tensor) -> Tensor:
        return own + self.onehot @ self.parts


def share(table: Any, digits: Digits) -> None:
    """The weight of `table` is a sum with `digits` from now on."""
    parametrize.register_parametrization(table, "weight", digits.to(table.weight.device))


@torch.no_grad()
def copy_plain(module: nn.Module, to: nn.Module) -> None:
    """Gives `to`, of the same shapes, the weights of `module` with plain ones in place of sums."""
    to.load_state_dict({name: attrgetter(name)(module).detach() for name in to.state_dict()})
