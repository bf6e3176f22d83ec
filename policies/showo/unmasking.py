"""Masked discrete diffusion of a picture's tokens: what is hidden to be learned, and how a drawing is
filled in (MaskGIT, arXiv 2202.04200, section 3; the public code of arXiv 2408.12528).

Invariant: all chance is given as uniform numbers in 0..1, so a row follows from its own alone.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from policies.sampling import choose

UNKNOWN = -1
"""In the place of a code."""
LEAST = 1e-20
"""Below it nothing is taken the logarithm of."""


def hidden(tokens: int, time: float, chance: np.ndarray) -> np.ndarray:
    """Which of so many tokens are masked at `time` in 0..1, bool [tokens]: `hidden_count` of them,
    by the order of `chance`, float [tokens]."""
    return np.argsort(chance, kind="stable") < hidden_count(tokens, time)


def hidden_count(tokens: int, time: float) -> int:
    """A part cos(pi/2 time) of them, and at least one."""
    return max(1, round(tokens * math.cos(0.5 * math.pi * time)))


class Step(NamedTuple):
    """One of those in which a drawing is filled in: at most so many tokens are `left` masked after
    it, and the noise of what is kept is as large as `noise` times the temperature."""

    left: int
    noise: float


def schedule(tokens: int, steps: int) -> list[Step]:
    """The noise falls by the part of the steps that are done, again after every step: so the public
    code has it. In float32 as there, for rounding decides where the part of a cosine is whole."""
    made, noise = [], 1.0
    for step in range(1, steps + 1):
        done = step / steps
        noise *= 1.0 - done
        left = tokens * torch.cos(torch.tensor(done) * math.pi * 0.5)
        made.append(Step(int(left.floor()), noise))
    return made


def filled(
    logits: Tensor, known: Tensor, step: Step, temperature: Tensor, uniforms: Tensor
) -> tuple[Tensor, Tensor]:
    """One step: every masked token is sampled, and the least sure of them are masked again.

    logits float32 [rows, tokens, codes] after guidance, which are spent; known int64 [rows, tokens],
    UNKNOWN where masked; temperature [rows, 1] of the choice and of the noise (the public code has
    one of the noise alone, and chooses at 1), 0 being greedy; uniforms [2, rows, tokens], to choose
    by and to keep by. Returns all codes [rows, tokens], and those that are known now.
    """
    warm = torch.where(temperature == 0, 1.0, temperature)
    scores = logits.div_(warm[..., None]).log_softmax(-1)
    flat, each = scores.flatten(0, 1), temperature.expand_as(known).reshape(-1, 1)
    picked = choose(flat.clone(), (each > 0).float(), uniforms[0].reshape(-1, 1))
    sure = flat.gather(1, picked[:, None]).view_as(known)
    masked = known == UNKNOWN
    codes = torch.where(masked, picked.view_as(known), known)
    sure = sure + step.noise * temperature * gumbel(uniforms[1])
    sure = torch.where(masked, sure, torch.inf)
    # At least one is kept and one is masked again, even where the schedule would have none.
    left = (masked.sum(1, keepdim=True) - 1).clamp(max=step.left).clamp(min=1)
    bar = sure.sort(1).values.gather(1, left.clamp(max=sure.shape[1] - 1))
    return codes, torch.where(sure < bar, UNKNOWN, codes)


def gumbel(uniforms: Tensor) -> Tensor:
    return -(-uniforms.clamp(min=LEAST).log()).clamp(min=LEAST).log()
