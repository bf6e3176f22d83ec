"""The filters: which drawings are kept from learning, and by what.

Invariant: what is said of a drawing follows from its pixels, its prompt and the settings, and is the
same for whoever asks. Filters leave out; they rank nothing, and no number of theirs is learned.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Protocol

from actors.hygiene.clip import Clip
from actors.hygiene.config import HygieneConfig
from actors.hygiene.looks import looks
from actors.hygiene.safety import Safety
from actors.replay.records import Drawing, Judgement, Proposal, Rollout, Unfit
from policies.interface import Picture

NOT_ASKED = Judgement("", None, 0)
Judging = Callable[[list[tuple[str, str, Picture]]], Sequence[Judgement]]
"""Judges drawings, each with its category and its prompt."""


class Measure(Protocol):
    """Something that measures drawings."""

    def measured(
        self, prompts: Sequence[str], pictures: Sequence[Picture]
    ) -> Mapping[str, list[float]]:
        """Numbers by the name of the filter that they are for, one a drawing."""
        ...


class Filters:
    """Those of the settings, loaded; CLIP computes on `device`."""

    def __init__(self, config: HygieneConfig, device: str) -> None:
        self._hashed = config.duplicate_bits is not None
        self._measures: list[Measure] = []
        self._fit: dict[str, tuple[float, float]] = {}
        if config.unsafe_from is not None:
            self._measures.append(Safety(config.unsafe_parts))
            self._fit["unsafe"] = -math.inf, config.unsafe_from
        if config.clip:
            self._measures.append(Clip(config.clip, config.aesthetic, device))
        if config.clip_from is not None:
            self._fit["clip"] = config.clip_from, math.inf
        if config.aesthetic_from is not None:
            self._fit["aesthetic"] = config.aesthetic_from, math.inf

    def rollouts(
        self, groups: Sequence[tuple[Proposal, Sequence[Drawing]]], judge: Judging
    ) -> list[list[Rollout]]:
        """The drawings of each prompt with their judgements: `judge` is asked once, of those that have a
        picture and are fit."""
        drawn = [(p, d.picture) for p, own in groups for d in own if d.picture is not None]
        unfit = self.unfit([p.prompt for p, _ in drawn], [picture for _, picture in drawn])
        fit = [
            (p.category, p.prompt, picture)
            for (p, picture), why in zip(drawn, unfit, strict=True)
            if why is None
        ]
        judged, whys = iter(judge(fit)), iter(unfit)

        def rollout(drawing: Drawing) -> Rollout:
            own = Rollout(drawing.seed, drawing.sampling, drawing.output, NOT_ASKED)
            if drawing.picture is None:
                return own
            if (why := next(whys)) is not None:
                return replace(own, unfit=why)
            look = looks(drawing.picture.pixels) if self._hashed else ""
            return replace(own, judgement=next(judged), looks=look)

        return [[rollout(each) for each in own] for _, own in groups]

    def unfit(self, prompts: Sequence[str], pictures: Sequence[Picture]) -> list[Unfit | None]:
        """For each drawing of its prompt the first filter that leaves it out, with its number; None
        where none does."""
        found: list[Unfit | None] = [None] * len(pictures)
        for measure in self._measures if pictures else ():
            for name, values in measure.measured(prompts, pictures).items():
                least, below = self._fit.get(name, (-math.inf, math.inf))
                for place, value in enumerate(values):
                    if found[place] is None and not least <= value < below:
                        found[place] = Unfit(name, value)
        return found
