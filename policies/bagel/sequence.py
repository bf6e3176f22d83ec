"""Samples of texts and pictures as the one batch that the model reads.

Invariant: one packed row and padded rows hold the same tokens with the same positions and the same
sight of one another. A noisy picture does not move the position on, for its clean copy takes its
place.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import torch
from torch import Tensor

from policies.bagel.embeddings import spots_of
from policies.bagel.samples import Absent, Features, Format, Latents, Noise, Sample, Text
from policies.flowing.masks import Mask, Sight, build
from policies.flowing.samples import length


@dataclass(frozen=True, eq=False)
class Batch:
    """Places are flat, of rows * places; everything is int64 but patches, latents and times.

    `counts` are the patches of each picture for the encoder. `owners` are the numbers of the
    latents' pictures, whose times are `times`. `scored` are words whose next one is of `labels`;
    `drawn` are latents whose velocity is wanted. `mask` is there after `on`. `ends` are the
    positions after each sample.
    """

    positions: Tensor
    words: Tensor
    word_places: Tensor
    patches: Tensor
    patch_places: Tensor
    patch_spots: Tensor
    counts: tuple[int, ...]
    latents: Tensor
    latent_places: Tensor
    latent_spots: Tensor
    owners: Tensor
    times: Tensor
    scored: Tensor
    labels: Tensor
    drawn: Tensor
    sight: Sight
    ends: tuple[int, ...]
    mask: Mask = None

    def on(self, device: torch.device | str, cached: Tensor | None = None) -> Batch:
        """The batch on this device with its mask, which also lets it see the slots of a cache that
        are `cached` (bool [rows, slots])."""
        sight = self.sight.to(device)
        moved: dict[str, Any] = {
            field.name: value.to(device)
            for field in fields(self)
            if isinstance(value := getattr(self, field.name), Tensor)
        }
        mask = build(sight, None if cached is None else cached.to(device))
        return replace(self, **moved | {"sight": sight, "mask": mask})


def packed(samples: Sequence[Sample], form: Format) -> Batch:
    """All samples in one row, one after another: to train without padding."""
    made = _Builder(form, 1, sum(map(length, samples)))
    at = 0
    for number, sample in enumerate(samples):
        made.add(sample, 0, at, number, 0)
        at += length(sample)
    return made.batch()


def padded(samples: Sequence[Sample], form: Format, starts: Sequence[int] = ()) -> Batch:
    """A row for each sample, padded on the right; `starts` are the first positions (else 0), which
    follow what is in a cache."""
    made = _Builder(form, len(samples), max(map(length, samples), default=0))
    for row, sample in enumerate(samples):
        made.add(sample, row, 0, 0, starts[row] if starts else 0)
    return made.batch()


class _Builder:
    def __init__(self, form: Format, rows: int, places: int) -> None:
        self.form, self.places = form, places
        empty = torch.zeros(rows, places, dtype=torch.int64)
        self.positions, self.noisy = empty, empty.clone()
        self.sample, self.picture = empty - 1, empty - 1
        self.words: list[int] = []
        self.scored: list[int] = []
        self.labels: list[int] = []
        self.times: list[float] = []
        self.ends: list[int] = []
        self.pictures = 0
        self.counts: list[int] = []
        names = ("word_places", "patches", "patch_places", "patch_spots", "owners", "drawn")
        self.parts: dict[str, list[Tensor]] = {
            name: [] for name in (*names, "latents", "latent_places", "latent_spots")
        }

    def add(self, sample: Sample, row: int, at: int, number: int, position: int) -> None:
        """Puts a sample into a row from place `at` on, as the row's `number`th."""
        for split in sample:
            end = at + split.places
            self.sample[row, at:end] = number
            self.positions[row, at:end] = position
            if isinstance(split, Text):
                self.positions[row, at:end] += torch.arange(end - at)
                self._text(split, row * self.places + at)
                position += end - at
            else:
                if not isinstance(split, Absent):
                    self.picture[row, at:end] = self.pictures
                    self.pictures += 1
                    self.noisy[row, at:end] = int(isinstance(split, Noise))
                    self._picture(split, row * self.places + at, end - at)
                position += not isinstance(split, Noise)
            at = end
        self.ends.append(position)

    def _text(self, text: Text, place: int) -> None:
        ids, first = list(text.ids), len(self.words)
        self.words += [self.form.bos, *ids, self.form.eos]
        self.parts["word_places"].append(torch.arange(place, place + len(ids) + 2))
        if text.learned:
            self.scored += range(first, first + len(ids) + 1)
            self.labels += [*ids, self.form.eos]

    def _picture(self, split: Features | Latents | Noise, place: int, count: int) -> None:
        self.words += [self.form.start, self.form.end]
        self.parts["word_places"].append(torch.tensor([place, place + count - 1]))
        places = torch.arange(place + 1, place + count - 1)
        if isinstance(split, Features):
            self.counts.append(len(places))
            self._put("patch", places, split.patches, spots_of(split.grid, self.form.feature_side))
            return
        first = sum(map(len, self.parts["owners"]))
        self.parts["owners"].append(torch.full_like(places, len(self.times)))
        self.times.append(split.time if isinstance(split, Noise) else 0.0)
        self._put("latent", places, split.tokens, spots_of(split.grid, self.form.latent_side))
        if isinstance(split, Noise):
            self.parts["drawn"].append(torch.arange(first, first + len(places)))

    def _put(self, kind: str, places: Tensor, values: Tensor, spots: Tensor) -> None:
        self.parts["patches" if kind == "patch" else "latents"].append(values)
        self.parts[f"{kind}_places"].append(places)
        self.parts[f"{kind}_spots"].append(spots)

    def batch(self) -> Batch:
        widths = {"patches": self.form.patch_values, "latents": self.form.latent_values}
        joined = {
            name: torch.cat([torch.zeros(0, widths[name]), *parts])
            if name in widths
            else torch.cat([torch.zeros(0, dtype=torch.int64), *parts])
            for name, parts in self.parts.items()
        }
        return Batch(
            positions=self.positions,
            words=torch.tensor(self.words, dtype=torch.int64),
            counts=tuple(self.counts),
            times=torch.tensor(self.times, dtype=torch.float32),
            scored=torch.tensor(self.scored, dtype=torch.int64),
            labels=torch.tensor(self.labels, dtype=torch.int64),
            sight=Sight(self.sample, self.picture, self.noisy),
            ends=tuple(self.ends),
            **joined,
        )
