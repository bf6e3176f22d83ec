"""Drawings: what the bridge makes of each distinct context, then the pipeline's steps.

Invariant: a drawing depends on its own context, sampling and seed alone; that others are drawn with it
changes a result only by floating-point rounding.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from itertools import groupby

import numpy as np
import torch
from torch import Tensor

from policies import passed
from policies.config import ConfigError
from policies.external.decoder import Decoder
from policies.external.layout import Layout, Looked
from policies.external.module import ExternalModule, arranged
from policies.external.reading import prefill
from policies.external.vision import resized
from policies.interface import Context, Output, Picture, PictureSampling, learned
from policies.sampling import Ids

READ_AT_ONCE = 2**14
"""Places of contexts that pass forward together."""


@torch.no_grad()
def drawn(
    module: ExternalModule, layout: Layout, contexts: Sequence[Context],
    sampling: Sequence[PictureSampling], seeds: Sequence[int],
) -> list[Output]:  # fmt: skip
    """A picture with its latents for each row. Raises PromptError, ConfigError."""
    for how in dict.fromkeys(sampling):
        _require_values(how)
    looked = layout.looked(contexts)
    whole = [layout.question(context, looked) for context in contexts]
    free = [layout.question(context, looked, {"text"}) for context in contexts]
    for ids, context in zip(whole, contexts, strict=True):
        layout.require_room(len(ids) + layout.drawing, context)
    asked = [
        {q for q, needed in ((w, how.guidance != 0), (f, how.guidance != 1)) if needed}
        for w, f, how in zip(whole, free, sampling, strict=True)
    ]
    distinct = list(dict.fromkeys(ids for row in asked for ids in sorted(row)))
    made = dict(zip(distinct, conditions(module, layout, distinct, looked), strict=True))
    outputs: dict[int, Output] = {}
    order = sorted(range(len(contexts)), key=lambda i: _alike(module.decoder, sampling[i]))
    for (guidance, steps), group in groupby(order, lambda i: _alike(module.decoder, sampling[i])):
        rows = list(group)
        told = torch.stack([made[free[i] if sampling[i].guidance == 0 else whole[i]] for i in rows])
        untold = torch.stack([made[free[i]] for i in rows]) if guidance else None
        latents = module.decoder.draw(told, untold, guidance, steps, [seeds[i] for i in rows])
        outputs |= zip(rows, _shown(module, layout, latents), strict=True)
    return [outputs[i] for i in range(len(contexts))]


def _require_values(how: PictureSampling) -> None:
    if 0 < how.guidance < 1 or how.guidance < 0:
        raise ConfigError(
            f"guidance is {how.guidance}: diffusers guides above 1 alone; set it to 1 for none, 0 for "
            "drawings without their prompt, or more than 1"
        )
    if how.steps < 0:
        raise ConfigError(f"steps is {how.steps}: it must be above 0, or 0 for the bridge's own")


def _alike(decoder: Decoder, how: PictureSampling) -> tuple[float, int]:
    """What drawings of one call have in common: their guidance, or 0 for none, and their steps."""
    return how.guidance if how.guidance > 1 else 0.0, how.steps or decoder.config.steps


def conditions(
    module: ExternalModule, layout: Layout, questions: Sequence[Ids], looked: Looked
) -> list[Tensor]:
    """What conditions the pipeline after each question, [tokens, width]."""
    features = layout.features(looked)
    made: list[Tensor] = []
    longest = max(map(len, questions)) + layout.drawing
    for start in range(0, len(questions), at_once := max(1, READ_AT_ONCE // longest)):
        part = questions[start : start + at_once]
        made += _conditions(module, layout, part, looked, features)
    return made


def _conditions(
    module: ExternalModule,
    layout: Layout,
    questions: Sequence[Ids],
    looked: Looked,
    features: Tensor | None,
) -> list[Tensor]:
    rows = [(*question, *layout.slots()) for question in questions]
    passed.add(sum(map(len, rows)))
    if module.decoder.project is not None:
        return list(module.decoder.project(_embeddings(module, layout, rows, looked, features)))
    places = [
        np.arange(len(question), len(row)) for question, row in zip(questions, rows, strict=True)
    ]
    positions = [layout.positions(row, looked) for row in rows]
    (made,) = module(arranged(rows, positions, places, features).to(module.device), drawing=True)
    return list(made)


def _embeddings(
    module: ExternalModule,
    layout: Layout,
    rows: Sequence[Ids],
    looked: Looked,
    features: Tensor | None,
) -> Tensor:
    """The embeddings of each row's drawing [rows, slots, hidden], one after the other."""
    count, positions = layout.drawing, partial(layout.positions, looked=looked)
    slots = max(map(len, rows)) + count - 1
    every = torch.arange(len(rows), device=module.device)
    state, read = prefill(module, positions, features, rows, every, slots)
    written = [module.bridge(state[:, None])[:, 0]]
    while len(written) < count:
        state = read.go_on(written[-1])
        written.append(module.bridge(state[:, None])[:, 0])
    passed.add(len(rows) * (count - 1))
    return torch.stack(written, 1)


def embeddings_of(layout: Layout, pictures: Sequence[Picture]) -> list[Tensor]:
    """Drawings as a bridge of embeddings writes them: [slots, hidden] each."""
    side = layout.config.side
    return layout.vision.see([resized(picture, side) for picture in pictures])


def _shown(module: ExternalModule, layout: Layout, latents: Tensor) -> list[Output]:
    pixels = module.decoder.decode(latents)
    kept = list(latents.cpu())
    if not layout.config.denoises:
        kept = [seen.cpu() for seen in embeddings_of(layout, [Picture(each) for each in pixels])]
    return [
        learned(Picture(seen, None, own.clone())) for seen, own in zip(pixels, kept, strict=True)
    ]
