"""Samples of words and pictures as the one batch that the model reads: a row each, padded on the right.

Invariant: positions count places. A place sees the places of its row up to itself, and all of its own
picture, its time included.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from functools import cache
from typing import Any

import torch
from torch import Tensor

from policies.flowing.latents import patches_of
from policies.flowing.masks import Mask, Sight, build
from policies.flowing.samples import Grid, length
from policies.showo2.config import Showo2Config
from policies.showo2.samples import Sample, Shown, Words


@dataclass(frozen=True, eq=False)
class Batch:
    """Places are flat, of rows * places. The tokens are all words, then the times of all pictures, then
    all latents; `owners` are the pictures of the latents, of these `grids`. `scored` are tokens whose next
    word is of `labels`.

    The flow head reads `head_tokens` of the tokens, at these positions and places of `head_sight`; of
    those `drawn` are the latents whose velocity is wanted, and `order` says where each of its values is
    among what the head gives. Masks are there after `on`. `ends` are the positions after each sample.
    """

    positions: Tensor
    words: Tensor
    word_places: Tensor
    latents: Tensor
    latent_places: Tensor
    owners: Tensor
    times: Tensor
    time_places: Tensor
    grids: tuple[Grid, ...]
    scored: Tensor
    labels: Tensor
    head_tokens: Tensor
    head_positions: Tensor
    head_places: Tensor
    head_sight: Sight
    drawn: Tensor
    order: Tensor
    sight: Sight
    ends: tuple[int, ...]
    mask: Mask = None
    head_mask: Mask = None

    def on(self, device: torch.device | str, cached: Tensor | None = None) -> Batch:
        """The batch on this device with its masks, which also let it see the slots of a cache that are
        `cached` (bool [rows, slots]); the head then reads all rows."""
        moved: dict[str, Any] = {
            field.name: value.to(device)
            for field in fields(self)
            if isinstance(value := getattr(self, field.name), Tensor | Sight)
        }
        held = None if cached is None else cached.to(device)
        mask = build(moved["sight"], held)
        alike = self.head_sight is self.sight
        head_mask = mask if alike else build(moved["head_sight"], held)
        return replace(self, **moved | {"mask": mask, "head_mask": head_mask})


def padded(
    samples: Sequence[Sample], config: Showo2Config, starts: Sequence[int] = (), whole: bool = True
) -> Batch:
    """A row for each sample; `starts` are the first positions (else 0), which follow what is in a cache.
    Unless `whole`, the head reads only samples of which something is drawn."""
    made = _Builder(config, len(samples), max(map(length, samples), default=0))
    for row, sample in enumerate(samples):
        made.add(sample, row, starts[row] if starts else 0)
    return made.batch(whole)


@cache
@torch.inference_mode(False)  # or what is kept could not be learned with
def strips(grid: Grid, patch: int, channels: int) -> Tensor:
    """int64 [latent values]: where in what the head gives for a picture each value of its tokens is. The
    head's tokens are not patches but, in the released code, strips of patch * patch latents of the
    picture row by row, each with all of its channels."""
    shape = (grid[0] * patch, grid[1] * patch, channels)
    given = torch.arange(shape[0] * shape[1] * channels).view(shape)
    return patches_of(given.permute(2, 0, 1), patch).flatten()


class _Builder:
    def __init__(self, config: Showo2Config, rows: int, places: int) -> None:
        self.config, self.rows, self.places = config, rows, places
        empty = torch.zeros(rows, places, dtype=torch.int64)
        self.positions, self.sample, self.picture = empty, empty - 1, empty - 1
        self.words: list[int] = []
        self.scored: list[int] = []
        self.labels: list[int] = []
        self.times: list[float] = []
        self.time_places: list[int] = []
        self.grids: list[Grid] = []
        self.drawing: list[int] = []
        self.ends: list[int] = []
        self.word_places: list[Tensor] = []
        self.latent_places: list[Tensor] = []
        self.latents: list[Tensor] = []

    def add(self, sample: Sample, row: int, start: int) -> None:
        at, used = row * self.places, length(sample)
        self.positions[row, :used] = torch.arange(start, start + used)
        self.sample[row, :used] = row
        for split in sample:
            if isinstance(split, Words):
                self._words(split, at)
            else:
                self._picture(split, row, at)
            at += split.places
        self.ends.append(start + used)

    def _words(self, split: Words, at: int) -> None:
        first = len(self.words)
        self.words += split.ids
        self.word_places.append(torch.arange(at, at + split.places))
        if split.learned:
            self.scored += range(first - 1, first - 1 + split.places)
            self.labels += split.ids

    def _picture(self, split: Shown, row: int, at: int) -> None:
        number, end = len(self.times), at + split.places
        self.picture.view(-1)[at:end] = number
        self.times.append(split.time)
        self.time_places.append(at)
        self.latent_places.append(torch.arange(at + 1, end))
        self.latents.append(split.tokens)
        self.grids.append(split.grid)
        if split.drawn:
            self.drawing.append(number)

    def batch(self, whole: bool) -> Batch:
        none = torch.zeros(0, dtype=torch.int64)
        sight = Sight(self.sample, self.picture, torch.zeros_like(self.sample))
        parts = [torch.cat([none, *self.word_places]), torch.tensor(self.time_places, dtype=torch.int64),
                 torch.cat([none, *self.latent_places])]  # fmt: skip
        counts = torch.tensor([rows * columns for rows, columns in self.grids], dtype=torch.int64)
        owners = torch.arange(len(counts)).repeat_interleave(counts)
        places = torch.cat(parts)
        head = self._head(sight, places, whole)
        wanted = torch.isin(owners, torch.tensor(self.drawing, dtype=torch.int64)).nonzero()[:, 0]
        drawn = torch.searchsorted(head[0], len(parts[0]) + len(parts[1]) + wanted)
        return Batch(
            positions=self.positions,
            words=torch.tensor(self.words, dtype=torch.int64),
            word_places=parts[0],
            latents=torch.cat([torch.zeros(0, self.config.latent_values), *self.latents]),
            latent_places=parts[2],
            owners=owners,
            times=torch.tensor(self.times, dtype=torch.float32),
            time_places=parts[1],
            grids=tuple(self.grids),
            scored=torch.tensor(self.scored, dtype=torch.int64),
            labels=torch.tensor(self.labels, dtype=torch.int64),
            head_tokens=head[0],
            head_positions=self.positions.view(-1)[places[head[0]]],
            head_places=head[1],
            head_sight=head[2],
            drawn=drawn,
            order=self._order(),
            sight=sight,
            ends=tuple(self.ends),
        )

    def _head(self, sight: Sight, places: Tensor, whole: bool) -> tuple[Tensor, Tensor, Sight]:
        """The tokens that the head reads, in order, their places, and the sight of those."""
        rows = {self.time_places[number] // self.places for number in self.drawing}
        if whole or len(rows) == self.rows:
            return torch.arange(len(places)), places, sight
        kept = torch.tensor(sorted(rows), dtype=torch.int64)
        row = places // max(self.places, 1)
        tokens = torch.isin(row, kept).nonzero()[:, 0]
        moved = torch.searchsorted(kept, row[tokens]) * self.places + places[tokens] % self.places
        noisy = sight.noisy[kept]
        return tokens, moved, Sight(sight.sample[kept], sight.picture[kept], noisy)

    def _order(self) -> Tensor:
        patch, channels = self.config.latent_patch, self.config.autoencoder.latents
        first, made = 0, [torch.zeros(0, dtype=torch.int64)]
        for number in self.drawing:
            own = strips(self.grids[number], patch, channels)
            made.append(first + own)
            first += len(own)
        return torch.cat(made)
