"""The empty suite, for runs whose drawings nothing here can measure.

Invariant: it has no category, so that a measurement with it leaves out what only an oracle knows,
instead of reporting zeros.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from evaluation.suites import Twins, Verdict
from evaluation.unicycle.rules import QuestionLike
from policies.interface import Picture


class Nothing:
    name = "none"
    categories: tuple[str, ...] = ()

    def prompts(self, n: int, seed: int) -> list[tuple[str, str]]:
        return []

    def grammatical(self, prompt: str) -> bool:
        return False

    def held_out(self, prompt: str) -> bool:
        return True

    def verdict(self, pixels: np.ndarray, prompt: str) -> Verdict:
        raise ValueError("there is no oracle: evaluation.suite is none")

    def questions(self, prompt: str) -> Sequence[QuestionLike]:
        return ()

    def scenes(self, n: int, seed: int) -> list[tuple[Picture, str]]:
        return []

    def shown(self, prompt: str) -> Picture:
        raise ValueError("nothing draws a prompt: evaluation.suite is none")

    def twins(self, n: int, seed: int) -> list[Twins]:
        return []

    def caption_right(self, picture: Picture, caption: str) -> bool:
        return False


def suite() -> Nothing:
    return Nothing()
