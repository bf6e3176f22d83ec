"""Rectified flow: from noise, at time 1, to what was learned, at time 0.

Invariant: rows are independent and every number of guidance is a row's own, so a batch of several
drawings is each of them alone. Rows of fewer tokens are padded with zeros, which stay zeros where
the velocities there are zeros.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

RENORMS = ("none", "global", "channel", "text_channel")
_TINY = 1e-8

Velocities = Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]
"""(x float32 [rows, tokens, channels], t float32 [rows], row int64 [n], branch int64 [n]) -> the
velocity of x[row[i]] at t[row[i]] under branch[i], [n, tokens, channels], all n in one call."""

PLAIN, WITHOUT_TEXT, WITHOUT_PICTURES = range(3)
"""The branches: of the whole context, of all but its texts, of all but its pictures."""


def shifted(s: Tensor, shift: Tensor | float) -> Tensor:
    """Moves times in 0..1 towards the noise by `shift` (1: as they are)."""
    return shift * s / (1 + (shift - 1) * s)


def times(steps: int, shift: Tensor) -> Tensor:
    """The times at which a drawing of `steps` steps begins and ends each of them: float32
    [steps + 1, rows], from 1 to 0, for shift float32 [rows]."""
    even = torch.linspace(1, 0, steps + 1, device=shift.device)
    return shifted(even[:, None], shift)


def learning_times(raw: Tensor, shift: float) -> Tensor:
    """The times of training from standard normal numbers of any shape."""
    return shifted(raw.sigmoid(), shift)


def noisy(clean: Tensor, noise: Tensor, t: Tensor | float) -> Tensor:
    """What the flow passes through at time t, which broadcasts to `clean`."""
    return (1 - t) * clean + t * noise


def target(clean: Tensor, noise: Tensor) -> Tensor:
    """The velocity that is learned, at every time."""
    return noise - clean


@dataclass(frozen=True, eq=False)
class Guidance:
    """Guidance of rows: `text`, `pictures`, `low` and `high` are float32 [rows], `renorm` is a name
    of RENORMS for each. A scale of 1 is none, and without guidance by text there is none by
    pictures. It is applied at times above `low` and up to `high`. A renormed velocity is scaled by
    `floor` at least."""

    text: Tensor
    pictures: Tensor
    low: Tensor
    high: Tensor
    renorm: Sequence[str]
    floor: float = 0.0

    def to(self, device: torch.device) -> Guidance:
        text, pictures = self.text.to(device), self.pictures.to(device)
        low, high = self.low.to(device), self.high.to(device)
        return Guidance(text, pictures, low, high, self.renorm, self.floor)

    def asks(self, t: Tensor) -> tuple[Tensor, Tensor]:
        """Which rows need the branch without text at their t, and which also that without
        pictures: bool [rows] each."""
        text = (self.text != 1) & (self.low < t) & (t <= self.high)
        return text, text & (self.pictures != 1)

    def guided(self, v: Tensor, text: Tensor, pictures: Tensor, t: Tensor) -> Tensor:
        """Combines the velocities of the three branches [rows, tokens, channels] at t [rows]. Those
        of a branch that a row does not ask for count for nothing, but must be finite."""
        by_text, by_pictures = (each[:, None, None] for each in self.asks(t))
        scale, picture_scale = self.text[:, None, None], self.pictures[:, None, None]
        found = text + scale * (v - text)
        found = self._renormed(found, v, "text_channel", (-1,))
        found = torch.where(by_pictures, pictures + picture_scale * (found - pictures), found)
        found = self._renormed(found, v, "channel", (-1,))
        found = self._renormed(found, v, "global", (-2, -1))
        return torch.where(by_text, found, v)

    def _renormed(self, found: Tensor, v: Tensor, kind: str, over: tuple[int, ...]) -> Tensor:
        """Scales the rows of this kind down to the norm of v, never up."""
        if kind not in self.renorm:
            return found
        norm, wanted = (x.norm(dim=over, keepdim=True) for x in (found, v))
        scaled = found * (wanted / (norm + _TINY)).clamp(self.floor, 1.0)
        rows = torch.tensor([each == kind for each in self.renorm], device=v.device)
        return torch.where(rows[:, None, None], scaled, found)


def solve(velocities: Velocities, noise: Tensor, at: Tensor, guidance: Guidance) -> Tensor:
    """Euler's steps through the times `at` (float32 [steps + 1, rows], on the CPU) from noise
    float32 [rows, tokens, channels] to the drawings, of the same shape.

    A branch is computed for those rows alone that ask for it, together with the others in one call.
    Which rows ask is decided on the CPU, so that no step waits for what a GPU computes."""
    x, rows = noise, torch.arange(len(noise))
    for t, following in pairwise(at):
        asking = [rows, *(rows[each] for each in guidance.asks(t))]
        branch = torch.cat([torch.full_like(each, i) for i, each in enumerate(asking)])
        found = velocities(x, t, torch.cat(asking), branch).float()
        v = _combined(found, asking, guidance, t)
        x = x - v * (t - following).to(x.device)[:, None, None]
    return x


def _combined(found: Tensor, asking: list[Tensor], guidance: Guidance, t: Tensor) -> Tensor:
    plain, *others = found.split([len(each) for each in asking])
    if not len(asking[WITHOUT_TEXT]):
        return plain
    device = found.device
    text, pictures = (plain.index_copy(0, of.to(device), v) for of, v in zip(asking[1:], others))
    return guidance.to(device).guided(plain, text, pictures, t.to(device))
