"""Trains the toy's decoder, and encodes and decodes many pictures.

Invariant: what is trained computes what the whole autoencoder does. Blocks that are left at doing
nothing are passed over, for at full resolution they would take most of the time.
"""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy

import numpy as np
import torch
from torch import Tensor, nn

from policies.bagel.autoencoder import Autoencoder, Block, Glance
from policies.bagel.pictures import bytes_of
from policies.pretraining import Log, Optimizer
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


class Idle(nn.Module):
    """A block that does nothing but change the channels."""

    def __init__(self, block: nn.Module) -> None:
        super().__init__()
        if hasattr(block, "nin_shortcut"):
            self.nin_shortcut = block.nin_shortcut

    def forward(self, x: Tensor) -> Tensor:
        kept: Tensor = self.nin_shortcut(x) if hasattr(self, "nin_shortcut") else x
        return kept


def lightened(whole: Autoencoder) -> Autoencoder:
    """A copy without the blocks that are not trained; its parameters keep their names."""
    light = deepcopy(whole)
    for name, part in whole.named_modules():
        if isinstance(part, Block | Glance) and name not in TRAINED:
            parent, _, own = name.rpartition(".")
            setattr(light.get_submodule(parent), own, Idle(light.get_submodule(name)))
    light.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return light


def train(whole: Autoencoder, scenes: Sequence[Scene], seed: int, steps: int, batch: int) -> None:
    """Trains the decoder by `batch` pictures of this worker a step."""
    light, log = lightened(whole).train(), Log("decoder", steps)
    light.encoder.requires_grad_(False)
    optimizer = Optimizer(list(light.decoder.requires_grad_(True).parameters()), RATE, steps)
    rank = torch.distributed.get_rank()
    for step in range(1, steps + 1):
        rng = generator(seed, "decoder", rank, step)
        noise = torch.Generator().manual_seed(derive(seed, "noise", rank, step))
        chosen = rng.integers(len(scenes), size=batch)
        seen = pixels_of([scenes[i].picture.pixels for i in chosen])
        with torch.no_grad():
            latents = light.encode(seen)
        moved = latents + NOISE * torch.randn(latents.shape, generator=noise)
        wrong = (light.decode(moved) - seen) / 2
        loss = wrong.abs().mean() + 2 * wrong.square().mean()
        loss.backward()
        optimizer.step()
        log(step, loss=loss.item(), error=float(wrong.detach().abs().mean()))
    whole.load_state_dict(light.state_dict(), strict=False)
    whole.requires_grad_(False).eval()


@torch.no_grad()
def encoded(whole: Autoencoder, scenes: Sequence[Scene], at_once: int = 128) -> Tensor:
    """The latents of scenes, float32 [scenes, channels, 6, 6]."""
    light = lightened(whole).eval()
    parts = [scenes[at : at + at_once] for at in range(0, len(scenes), at_once)]
    found = [light.encode(pixels_of([each.picture.pixels for each in part])) for part in parts]
    return torch.cat(found)


@torch.no_grad()
def decoded(whole: Autoencoder, latents: Tensor, at_once: int = 32) -> np.ndarray:
    """Their pictures, uint8 [latents, height, width, 3]."""
    light = lightened(whole).eval()
    return np.concatenate([bytes_of(light.decode(part)) for part in latents.split(at_once)])


def pixels_of(pictures: Sequence[np.ndarray]) -> Tensor:
    """float32 [pictures, 3, height, width] from -1 to 1."""
    return torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2).float() / 127.5 - 1
