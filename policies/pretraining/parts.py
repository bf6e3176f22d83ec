"""What is learned in a step, in the parts that pass forward one after another.

Invariant: parts change nothing but the order of sums.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

import torch

Lesson = TypeVar("Lesson")

PARTS = 4


def parts_of(
    made: Sequence[Lesson], length: Callable[[Lesson], int], device: torch.device
) -> list[list[Lesson]]:
    """On a CPU four, sorted by length: otherwise padding would be a third of the work. A GPU takes all at
    once, for there every part costs more than padding does."""
    ordered = sorted(made, key=length)
    size = -(-len(ordered) // (PARTS if device.type == "cpu" else 1))
    return [ordered[at : at + size] for at in range(0, len(ordered), size)]
