"""Trains the toy's tokenizer of pictures, end to end through the signs that a code is.

First codes are learned from patches alone, kinds of them that are frequent counting less: most of
what is drawn is paper. Then encoder and decoder are learned from whole pictures.

Invariant: what is trained is what MAGVIT-v2's layers compute.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor, nn

from policies.interface import Picture
from policies.pretraining import decoders
from policies.pretraining.log import Log
from policies.pretraining.muon import Muon, matrices
from policies.pretraining.scenes import pixels_of
from policies.seeds import derive, generator
from policies.showo.magvit import Magvit
from policies.showo.pictures import ImageTokenizer
from policies.showo.toy.patches import PIXELS, PatchEncoder, patches_of, quantised, read, write
from policies.tiny.lessons import Scene

TRAINED = (
    "decoder.mid.block_1",
    "decoder.up.3.block.0",
    "decoder.up.2.block.0",
    "decoder.up.1.block.0",
)
RATE = 2e-3
LOOKED_AT = 12_000
"""Scenes whose patches are learned from alone."""
MOST_OFTEN = 1 / 2000
"""Of all patches, one kind counts as so many at most."""
BETWEEN = 256
"""Width of what gives patches back, which is not kept."""


def train_codes(magvit: Magvit, scenes: Sequence[Scene], seed: int, steps: int, batch: int) -> None:
    """Sets the encoder, learned from `batch` patches of this worker a step."""
    kinds, shares = frequent(scenes[:LOOKED_AT])
    device = magvit.decoder.conv_in.weight.device
    with torch.random.fork_rng():
        torch.manual_seed(derive(seed, "codes"))
        learned, back = PatchEncoder(magvit.bits).to(device), _back(magvit.bits).to(device)
    both = nn.ModuleList([learned, back])
    optimizer = Muon(*matrices([both], list(both.parameters())), RATE, 10 * RATE, steps)
    log = Log("codes", steps)
    until = shares.cumsum()
    for step in range(1, steps + 1):
        rng = generator(seed, "codes", dist.get_rank(), step)
        patches = kinds[np.searchsorted(until, rng.random(batch) * until[-1])]
        seen = torch.from_numpy(patches).to(device).float() / 127.5 - 1
        wrong = (back(quantised(learned(seen))) - seen) / 2
        loss = wrong.abs().mean() + 2 * wrong.square().mean()
        loss.backward()
        optimizer.step()
        log(step, loss=loss.item(), error=float(wrong.detach().abs().mean()))
    write(learned, magvit.encoder)


def frequent(scenes: Sequence[Scene]) -> tuple[np.ndarray, np.ndarray]:
    """The kinds of patches of the scenes, uint8 [kinds, 192], and how much each counts."""
    pixels = torch.from_numpy(np.stack([scene.picture.pixels for scene in scenes]))
    patches = patches_of(pixels.permute(0, 3, 1, 2)).movedim(1, -1).flatten(0, 2).numpy()
    kinds, counts = np.unique(patches, axis=0, return_counts=True)
    return kinds, np.minimum(counts, len(patches) * MOST_OFTEN)


def _back(bits: int) -> nn.Module:
    return nn.Sequential(
        nn.Linear(bits, BETWEEN),
        nn.SiLU(),
        nn.Linear(BETWEEN, BETWEEN),
        nn.SiLU(),
        nn.Linear(BETWEEN, PIXELS),
    )


def train(
    magvit: Magvit, scenes: Sequence[Scene], seed: int, steps: int, batch: int, done: int,
    save: Callable[[int], None],
) -> None:  # fmt: skip
    """Trains encoder and decoder by `batch` pictures of this worker a step, after the steps that are
    `done`. After every step `save` is called with its number."""
    learned = read(magvit.encoder)

    def rebuilt(seen: Tensor, chance: torch.Generator) -> Tensor:
        signs = quantised(learned(patches_of(seen).movedim(1, -1)))
        return magvit.decoder(signs.movedim(-1, 1).contiguous())

    def written(step: int) -> None:
        write(learned, magvit.encoder)
        save(step)

    own = list(learned.parameters())
    decoders.train(magvit, TRAINED, rebuilt, scenes, seed, steps, batch, own, done, written)
    write(learned, magvit.encoder)


def coded(vision: ImageTokenizer, scenes: Sequence[Scene], at_once: int = 256) -> list[Scene]:
    """The scenes with their codes, and with one pixel in place of pictures that are no longer
    needed."""
    blank, made = np.zeros((1, 1, 3), np.uint8), list[Scene]()
    for at in range(0, len(scenes), at_once):
        part = scenes[at : at + at_once]
        codes = vision.encode(pixels_of([scene.picture.pixels for scene in part]))
        made += [
            replace(scene, picture=Picture(blank, own))
            for scene, own in zip(part, codes.int().cpu().numpy(), strict=True)
        ]
    return made
