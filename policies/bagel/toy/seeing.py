"""Trains the toy's decoder, and encodes and decodes many pictures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from policies.bagel.autoencoder import Autoencoder
from policies.pictures import bytes_of
from policies.pretraining import decoders
from policies.pretraining.scenes import pixels_of
from policies.tiny.lessons import Scene

TRAINED = (
    "decoder.mid.block_1",
    "decoder.up.3.block.0",
    "decoder.up.2.block.0",
)
NOISE = 0.1
"""Added to latents before they are decoded: so neighbours of a latent show nearly the same, and a
flow need not end exactly."""


def train(whole: Autoencoder, scenes: Sequence[Scene], seed: int, steps: int, batch: int) -> None:
    """Trains the decoder by `batch` pictures of this worker a step."""

    def rebuilt(seen: Tensor, chance: torch.Generator) -> Tensor:
        with torch.no_grad():
            latents = whole.encode(seen)
        noise = torch.randn(latents.shape, generator=chance).to(latents.device)
        return whole.decode(latents + NOISE * noise)

    decoders.train(whole, TRAINED, rebuilt, scenes, seed, steps, batch)


@torch.no_grad()
def encoded(whole: Autoencoder, scenes: Sequence[Scene], at_once: int = 128) -> Tensor:
    """The latents of scenes, float32 [scenes, channels, 6, 6]."""
    parts = [scenes[at : at + at_once] for at in range(0, len(scenes), at_once)]
    device = whole.decoder.conv_in.weight.device
    pixels = (pixels_of([each.picture.pixels for each in part]).to(device) for part in parts)
    return torch.cat([whole.encode(part).cpu() for part in pixels])


def with_latents(whole: Autoencoder, scenes: Sequence[Scene]) -> list[Scene]:
    """The scenes, those that are drawn with their latents."""
    latents = iter(encoded(whole, [scene for scene in scenes if not scene.spoilt]))
    return [
        scene if scene.spoilt
        else replace(scene, picture=replace(scene.picture, latents=next(latents).clone()))
        for scene in scenes
    ]  # fmt: skip


@torch.no_grad()
def decoded(whole: Autoencoder, latents: Tensor, at_once: int = 32) -> np.ndarray:
    """Their pictures, uint8 [latents, height, width, 3]."""
    return np.concatenate([bytes_of(whole.decode(part)) for part in latents.split(at_once)])
