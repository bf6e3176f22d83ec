"""Drawings step by step, for many rows at once.

Invariant: a context is read once for all rows that go on from it, and weights are never written.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from typing import Any

import numpy as np
import torch
from torch import Tensor

from policies import flow
from policies.config import ConfigError
from policies.flowing.drawing import Contexts, Drawings, Reads
from policies.flowing.latents import picture_of
from policies.flowing.layout import FlowingLayout
from policies.interface import Condition, Context, Output, Picture, PictureSampling, learned
from policies.pictures import bytes_of
from policies.seeds import generator

# The released defaults: 50 times, which are 49 steps.
STEPS, SHIFT = 49, 3.0
DECODED_AT_ONCE, DECODED_PIXELS = 8, 2**21
"""Pictures that pass through the decoder together, and how many pixels these may have."""
WITHOUT: tuple[frozenset[Condition], ...] = (
    frozenset(),
    frozenset({"text"}),
    frozenset({"latents", "features"}),
)
"""What each branch of `policies.flow` leaves out."""


@torch.inference_mode()
def drawn(
    module: Reads,
    layout: FlowingLayout,
    contexts: Sequence[Context],
    sampling: Sequence[PictureSampling],
    seeds: Sequence[int],
) -> list[Output]:
    """A picture with its latents for each row. Raises PromptError, ConfigError."""
    for how in dict.fromkeys(sampling):
        _require_values(layout, how)
    outputs: dict[int, Output] = {}
    steps = [how.steps or STEPS for how in sampling]
    order = sorted(range(len(contexts)), key=steps.__getitem__)
    for count, group in groupby(order, steps.__getitem__):
        rows = list(group)
        latents = _flowed(
            module, layout, [contexts[i] for i in rows], [sampling[i] for i in rows],
            [seeds[i] for i in rows], count,
        )  # fmt: skip
        outputs |= zip(rows, _decoded(layout, latents), strict=True)
    return [outputs[i] for i in range(len(contexts))]


def _require_values(layout: FlowingLayout, how: PictureSampling) -> None:
    config = layout.config
    pixels, most = config.token_pixels, config.token_pixels * config.latent_side
    if how.size != (0, 0) and any(s % pixels or not 0 < s <= most for s in how.size):
        raise ConfigError(
            f"size is {how.size}: family {layout.family} draws sides that are multiples of {pixels}, up to "
            f"{most} pixels"
        )
    if how.renorm not in flow.RENORMS:
        raise ConfigError(f"renorm is {how.renorm!r}: it must be one of {', '.join(flow.RENORMS)}")
    if how.steps < 0 or how.shift < 0:
        raise ConfigError(
            f"steps and shift are {how.steps} and {how.shift}: they must be above 0, or 0 for "
            f"the family's own {STEPS} and {SHIFT}"
        )


def _flowed(
    module: Reads, layout: FlowingLayout, contexts: Sequence[Context],
    sampling: Sequence[PictureSampling], seeds: Sequence[int], steps: int,
) -> list[Tensor]:  # fmt: skip
    """The latents float32 [channels, height, width] of each row, all of as many steps."""
    config, form = layout.config, layout.form
    side = config.own_side * config.token_pixels
    sizes = [(side, side) if how.size == (0, 0) else how.size for how in sampling]
    grids = [(h // config.token_pixels, w // config.token_pixels) for h, w in sizes]
    shift = torch.tensor([how.shift or SHIFT for how in sampling])
    guidance = _guidance(sampling)
    samples, of = _branches(layout, contexts, sampling, grids)
    read = Contexts(module, form, samples)
    drawings = Drawings(module, form, read, of, grids)
    noise = torch.zeros(len(contexts), drawings.most, form.latent_values)
    for i, seed in enumerate(seeds):
        shape = (drawings.tokens[i], form.latent_values)
        drawn = generator(int(seed)).standard_normal(shape, dtype=np.float32)
        noise[i, : drawings.tokens[i]] = torch.from_numpy(drawn)
    device = read.cache.seen.device
    tokens = flow.solve(drawings, noise.to(device), flow.times(steps, shift), guidance)
    return [
        picture_of(row[:count], grid, config.latent_patch)
        for row, count, grid in zip(tokens, drawings.tokens, grids, strict=True)
    ]


def _guidance(sampling: Sequence[PictureSampling]) -> flow.Guidance:
    text, image, start, end = (
        torch.tensor([float(value) for value in values])
        for values in (
            [how.guidance for how in sampling],
            [how.image_guidance for how in sampling],
            [how.interval[0] for how in sampling],
            [how.interval[1] for how in sampling],
        )
    )
    return flow.Guidance(text, image, start, end, [how.renorm for how in sampling])


def _branches(
    layout: FlowingLayout, contexts: Sequence[Context], sampling: Sequence[PictureSampling],
    grids: Sequence[tuple[int, int]],
) -> tuple[list[Any], Tensor]:  # fmt: skip
    """The distinct contexts of all branches that are asked for, and which of them each branch of
    each row has: int64 [branches, rows]."""
    samples: list[Any] = []
    known: dict[tuple[Context, int], int] = {}
    of = torch.zeros(len(WITHOUT), len(contexts), dtype=torch.int64)
    for row, (context, how, grid) in enumerate(zip(contexts, sampling, grids, strict=True)):
        asked = (True, how.guidance != 1, how.guidance != 1 and how.image_guidance != 1)
        for branch, without in enumerate(WITHOUT):
            if not asked[branch]:
                continue
            if (context, branch) not in known:
                known[context, branch] = len(samples)
                samples.append(layout.context(context, True, without))
            of[branch, row] = known[context, branch]
            layout.require_room(samples[known[context, branch]], context, grid[0] * grid[1] + 2)
    return samples, of


def _decoded(layout: FlowingLayout, latents: Sequence[Tensor]) -> list[Output]:
    """In batches of one shape, which change a picture by rounding alone."""
    weight = next(layout.autoencoder.parameters())
    outputs: dict[int, Output] = {}
    order = sorted(range(len(latents)), key=lambda i: latents[i].shape)
    for _, group in groupby(order, lambda i: latents[i].shape):
        rows = list(group)
        pixels = latents[rows[0]][0].numel() * layout.config.autoencoder.downsample**2
        count = max(1, min(DECODED_AT_ONCE, DECODED_PIXELS // pixels))
        for at in range(0, len(rows), count):
            part = rows[at : at + count]
            stacked = torch.stack([latents[i] for i in part]).to(weight)
            decoded = bytes_of(layout.autoencoder.decode(stacked))
            for i, seen in zip(part, decoded, strict=True):
                with torch.inference_mode(False):  # or it could not be learned from
                    kept = latents[i].clone().cpu()
                outputs[i] = learned(Picture(seen, None, kept))
    return [outputs[i] for i in range(len(latents))]
