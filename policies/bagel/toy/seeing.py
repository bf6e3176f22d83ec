"""Trains the toy's decoder, and encodes and decodes many pictures.

Invariant: what is trained is what the autoencoder computes. Blocks that are left at doing nothing are
passed over, for at full resolution they would take most of the time.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from policies.bagel.autoencoder import Autoencoder, pass_over_idle
from policies.convolutions import Block, Glance
from policies.flowing.latents import bytes_of
from policies.pretraining.log import Log
from policies.pretraining.optimizer import Optimizer
from policies.pretraining.scenes import pixels_of
from policies.seeds import derive, generator
from policies.tiny.lessons import Scene

TRAINED = (
    "decoder.mid.block_1",
    "decoder.up.3.block.0",
    "decoder.up.2.block.0",
)
NOISE = 0.1
"""Added to latents before they are decoded: so neighbours of a latent show nearly the same, and a
flow need not end exactly."""
RATE = 2e-3


def train(whole: Autoencoder, scenes: Sequence[Scene], seed: int, steps: int, batch: int) -> None:
    """Trains the decoder by `batch` pictures of this worker a step."""
    log = Log("decoder", steps)
    for name, part in whole.named_modules():
        if isinstance(part, Block | Glance):
            part.idle = name not in TRAINED
    decoder = whole.decoder.requires_grad_(True).train()
    optimizer = Optimizer(list(decoder.parameters()), RATE, steps)
    rank = torch.distributed.get_rank()
    for step in range(1, steps + 1):
        rng = generator(seed, "decoder", rank, step)
        noise = torch.Generator().manual_seed(derive(seed, "noise", rank, step))
        chosen = rng.integers(len(scenes), size=batch)
        seen = pixels_of([scenes[i].picture.pixels for i in chosen])
        with torch.no_grad():
            latents = whole.encode(seen)
        moved = latents + NOISE * torch.randn(latents.shape, generator=noise)
        wrong = (whole.decode(moved) - seen) / 2
        loss = wrong.abs().mean() + 2 * wrong.square().mean()
        loss.backward()
        optimizer.step()
        log(step, loss=loss.item(), error=float(wrong.detach().abs().mean()))
    pass_over_idle(whole)
    empty_idle(whole)
    whole.requires_grad_(False).eval()


def empty_idle(whole: Autoencoder) -> None:
    """Zeros in all parts that are passed over, so that they pack to nothing."""
    for part in whole.modules():
        if isinstance(part, Block | Glance) and part.idle:
            for name, weight in part.named_parameters():
                if "shortcut" not in name:
                    weight.data.zero_()


@torch.no_grad()
def encoded(whole: Autoencoder, scenes: Sequence[Scene], at_once: int = 128) -> Tensor:
    """The latents of scenes, float32 [scenes, channels, 6, 6]."""
    parts = [scenes[at : at + at_once] for at in range(0, len(scenes), at_once)]
    found = [whole.encode(pixels_of([each.picture.pixels for each in part])) for part in parts]
    return torch.cat(found)


@torch.no_grad()
def decoded(whole: Autoencoder, latents: Tensor, at_once: int = 32) -> np.ndarray:
    """Their pictures, uint8 [latents, height, width, 3]."""
    return np.concatenate([bytes_of(whole.decode(part)) for part in latents.split(at_once)])
