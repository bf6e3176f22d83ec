"""Evaluation suites: held-out prompts, questions about them, and an oracle for the drawings.

Invariant: a suite gives the same prompts and scenes for the same seed, in every round and in every
run. It measures from outside: nothing that it says enters training data.

A suite is a module of this package with a function `suite()`.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Sequence
from typing import NamedTuple, Protocol

import numpy as np

from evaluation.unicycle.rules import QuestionLike
from policies.config import ConfigError
from policies.interface import Picture


class Verdict(NamedTuple):
    """A suite's oracle on one drawing: `score` from 0 to 10, `soft` the share (0 to 1) of what the
    prompt says that is true of the drawing, `right` whether all of it is."""

    score: float
    right: bool
    soft: float


NEVER_RIGHT = Verdict(0.0, False, 0.0)
"""The verdict for a prompt that cannot be parsed, and for a drawing of a size that the oracle cannot
read."""


class Twins(NamedTuple):
    """A scene and its twin, in which one thing is another, and the same question with what is right for
    each; the two answers differ."""

    pictures: tuple[Picture, Picture]
    questions: tuple[QuestionLike, QuestionLike]


class Suite(Protocol):
    name: str
    categories: tuple[str, ...]

    def prompts(self, n: int, seed: int) -> list[tuple[str, str]]:
        """Returns `n` held-out (prompt, category) pairs, number i of category i %
        len(categories)."""
        ...

    def grammatical(self, prompt: str) -> bool:
        """Returns whether the suite can parse `prompt`; if not, no drawing satisfies it."""
        ...

    def held_out(self, prompt: str) -> bool:
        """Returns whether `prompt` was left out of pretraining."""
        ...

    def verdict(self, pixels: np.ndarray, prompt: str) -> Verdict:
        """Returns the oracle's verdict on `pixels` (uint8 [height, width, 3]); NEVER_RIGHT for a
        drawing that it cannot read. Raises ValueError for a prompt that is not grammatical."""
        ...

    def questions(self, prompt: str) -> Sequence[QuestionLike]:
        """Returns UniCycle's questions about the prompt, none redundant."""
        ...

    def scenes(self, n: int, seed: int) -> list[tuple[Picture, str]]:
        """Returns `n` held-out scenes that are right by construction, with their prompts; scene i
        is of category i % len(categories)."""
        ...

    def shown(self, prompt: str) -> Picture:
        """Returns a picture of which all that `prompt` says is true, by construction; the same for the
        same prompt. Raises ValueError for a prompt that is not grammatical."""
        ...

    def twins(self, n: int, seed: int) -> list[Twins]:
        """Returns pairs for those of the first `n` held-out scenes that have any, at most one of an
        open question or a choice and one of a question for yes or no each."""
        ...

    def caption_right(self, picture: Picture, caption: str) -> bool:
        """Returns whether everything that `caption` says is true of the picture."""
        ...


def load_suite(name: str) -> Suite:
    """Returns the suite of that name. Raises ConfigError if there is none."""
    known = sorted(module.name for module in pkgutil.iter_modules(__path__))
    if name not in known:
        raise ConfigError(f"evaluation.suite is {name!r}: it must be one of {', '.join(known)}")
    loaded: Suite = importlib.import_module(f"{__name__}.{name}").suite()
    return loaded
