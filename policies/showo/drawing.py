"""Draws: fills in the masked tokens of many pictures at once.

Invariant: a row's tokens are those that its own context, temperature, guidance, steps and random
numbers give; the other rows decide only how floating-point sums are rounded.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from policies import passed
from policies.sampling import Ids
from policies.seeds import generator
from policies.showo.module import ShowoModule
from policies.showo.reading import read
from policies.showo.unmasking import UNKNOWN, filled, schedule

SCORED_AT_ONCE = 2**14
"""Tokens whose logits are worked out together: they are large."""


@dataclass(frozen=True)
class Sketch:
    """One drawing to be: `free` is the context without its condition, for a guidance that is not 1."""

    context: Ids
    free: Ids
    temperature: float
    guidance: float
    seed: int


@torch.inference_mode()
def drawn(
    module: ShowoModule, sketches: Sequence[Sketch], steps: int, device: torch.device
) -> Tensor:
    """The codes int64 [drawings, tokens] after so many steps."""
    tokens, rows = module.config.tokens, len(sketches)
    guidance = Guidance(module, sketches, device)
    contexts = [*(each.context for each in sketches), *guidance.contexts]
    distinct = {context: i for i, context in enumerate(dict.fromkeys(contexts))}
    places = torch.tensor([distinct[context] for context in contexts], device=device)
    longest = max(map(len, distinct))
    _, canvas = read(module, list(distinct), places, longest + tokens + 2)
    passed.add(sum(map(len, distinct)))
    chance = _uniforms(sketches, steps, tokens).to(device)
    temperature = torch.tensor([[each.temperature] for each in sketches], device=device)
    codes = known = torch.full((rows, tokens), UNKNOWN, device=device)
    for number, step in enumerate(schedule(tokens, steps)):
        shown = _shown(module, torch.cat([known, known[guidance.rows]]))
        states = canvas.places(shown, longest)[:, 1:-1]
        passed.add(shown.numel())
        parts = [
            filled(
                guidance.logits(states, part), known[part], step, temperature[part],
                chance[number][:, part],
            )
            for part in torch.arange(rows, device=device).split(max(1, SCORED_AT_ONCE // tokens))
        ]  # fmt: skip
        codes, known = (torch.cat(each) for each in zip(*parts, strict=True))
    return codes


class Guidance:
    """Which of the `rows` (int64) are guided, and how: the public (1 + w) conditional - w free is a
    guidance of 1 + w here, where 1 is none."""

    def __init__(
        self, module: ShowoModule, sketches: Sequence[Sketch], device: torch.device
    ) -> None:
        guided = [i for i, each in enumerate(sketches) if each.guidance != 1]
        self.module, self.count = module, len(sketches)
        self.contexts = [sketches[i].free for i in guided]
        self.rows = torch.tensor(guided, dtype=torch.int64, device=device)
        scales = [sketches[i].guidance for i in guided]
        self.scales = torch.tensor(scales, device=device)[:, None, None]

    def logits(self, states: Tensor, part: Tensor) -> Tensor:
        """states [rows + guided rows, tokens, hidden], the free ones last -> float32 [part, tokens,
        codes] of some consecutive rows (int64)."""
        logits = self.module.code_head(states[part])
        mine = ((self.rows >= part[0]) & (self.rows <= part[-1])).nonzero()[:, 0]
        if len(mine):
            at, free = self.rows[mine] - part[0], self.module.code_head(states[self.count + mine])
            logits[at] = free + self.scales[mine] * (logits[at] - free)
        return logits


def _shown(module: ShowoModule, known: Tensor) -> Tensor:
    """The ids of pictures of which so much is known, with their marks."""
    config = module.config
    tokens = torch.where(known == UNKNOWN, config.mask, known + config.first_code)
    begin, end = (
        known.new_full((len(known), 1), config.mark(name)) for name in ("<|soi|>", "<|eoi|>")
    )
    return torch.cat([begin, tokens, end], 1)


def _uniforms(sketches: Sequence[Sketch], steps: int, tokens: int) -> Tensor:
    """float32 [steps, 2, drawings, tokens], of each drawing by its own seed."""
    drawn = [
        generator(int(each.seed)).random((steps, 2, tokens), dtype=np.float32) for each in sketches
    ]
    return torch.from_numpy(np.stack(drawn)).permute(1, 2, 0, 3)
