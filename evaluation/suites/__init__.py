"""What is measured: held-out prompts, questions about them, and an oracle for the drawings.

Invariant: a suite gives the same prompts and scenes for the same seed, in every round and in
every run; it measures from outside, and nothing that it says enters training data.

A suite is a module of this package with a function `suite()`.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Sequence
from typing import NamedTuple, Protocol

import numpy as np

from evaluation.unicycle import Question
from policies.config import ConfigError
from policies.interface import Picture


class Verdict(NamedTuple):
    """The oracle of a suite on one drawing. `score` is from 0 to 10, `soft` the share (0 to 1) of
    what the prompt says that holds in the drawing, `right` whether all of it does."""

    score: float
    right: bool
    soft: float


NEVER_RIGHT = Verdict(0.0, False, 0.0)
"""The verdict on a prompt that the suite cannot read, and on a drawing of a size that its oracle
cannot read."""


class Suite(Protocol):
    name: str
    categories: tuple[str, ...]

    def prompts(self, n: int, seed: int) -> list[tuple[str, str]]:
        """`n` held-out (prompt, category) pairs, prompt i of category i % len(categories)."""
        ...

    def grammatical(self, prompt: str) -> bool:
        """Whether the suite can read `prompt`; what it cannot read, no drawing satisfies."""
        ...

    def held_out(self, prompt: str) -> bool:
        """Whether pretraining never showed `prompt`."""
        ...

    def verdict(self, pixels: np.ndarray, prompt: str) -> Verdict:
        """What the oracle says: NEVER_RIGHT of a drawing that it cannot read. Raises ValueError for
        a prompt that is not grammatical."""
        ...

    def questions(self, prompt: str) -> Sequence[Question]:
        """UniCycle's questions, none redundant."""
        ...

    def scenes(self, n: int, seed: int) -> list[tuple[Picture, str]]:
        """`n` held-out scenes that are right by construction, with their prompts; scene i is of
        category i % len(categories)."""
        ...

    def caption_right(self, picture: Picture, caption: str) -> bool:
        """Whether everything that `caption` says holds in the picture."""
        ...


def load_suite(name: str) -> Suite:
    """Raises ConfigError for a name that is not a suite."""
    known = sorted(module.name for module in pkgutil.iter_modules(__path__))
    if name not in known:
        raise ConfigError(f"evaluation.suite is {name!r}: it must be one of {', '.join(known)}")
    loaded: Suite = importlib.import_module(f"{__name__}.{name}").suite()
    return loaded
