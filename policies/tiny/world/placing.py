"""Puts objects into the square without touching each other.

Invariant: every object lies wholly in the drawing, and two of them are at least a gap apart.
Centres lie on a lattice, so that the same thing looks the same to an 8-pixel image token at many
places; only pairs that just fit lie in opposite corners instead.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import TypeVar

import numpy as np

from policies.tiny.world.scene import SIDE, Object
from policies.tiny.world.shapes import REACH, ROUND

T = TypeVar("T")
LATTICE, DETAILED = 4, 9.5
"""Pixels between possible centres, and the radius from which they are twice as far apart."""
WIDEST = max(ROUND.values())
_EDGE, _GAP = 1.0, 3.0
_TRIES = 60


def pick(rng: np.random.Generator, options: Sequence[T]) -> T:
    return options[int(rng.random() * len(options))]


def reach_of(it: Object) -> float:
    return it.r + 1.4 if it.kind == "flag" else REACH[it.kind] * it.r


def room_of(it: Object) -> float:
    """Returns how far `it`, whatever its shape, could reach in any direction."""
    return round_of(it) if it.kind == "flag" else WIDEST * it.r


def round_of(it: Object) -> float:
    return 1.2 * it.r + 2 if it.kind == "flag" else ROUND[it.kind] * it.r


def spots(low: float, high: float, step: int = LATTICE) -> list[float]:
    """Returns the multiples of `step` from `low` to `high`, or their middle if there is none."""
    first, last = math.ceil(low / step), math.floor(high / step)
    return [float(step * place) for place in range(first, last + 1)] or [(low + high) / 2]


def anywhere(rng: np.random.Generator, reach: float, step: int = LATTICE) -> float:
    """Returns a place along one axis for something that reaches `reach` to both sides."""
    return pick(rng, spots(reach, SIDE - reach, step))


def scatter(objects: Sequence[Object], rng: np.random.Generator, gap: float = 2.5) -> list[Object]:
    """Puts one or two objects anywhere; the place depends on their radii, not on what they are."""
    reaches = [(reach_of(it) if it.kind == "flag" else room_of(it)) + _EDGE for it in objects]
    around = sum(room_of(it) for it in objects)
    for turn in range(_TRIES):
        # Detailed objects lie on a coarser lattice. Large pairs fit only on a finer one.
        coarse = LATTICE if turn < _TRIES // 2 else LATTICE // 2
        steps = [2 * coarse if it.r >= DETAILED else coarse for it in objects]
        placed = [
            replace(it, x=anywhere(rng, reach, step), y=anywhere(rng, reach, step))
            for it, reach, step in zip(objects, reaches, steps, strict=True)
        ]
        if len(placed) == 1:
            return placed
        one, other = placed
        if math.hypot(one.x - other.x, one.y - other.y) >= around + gap:
            return placed
    return opposite(objects, reaches, rng)


def opposite(
    objects: Sequence[Object], reaches: Sequence[float], rng: np.random.Generator
) -> list[Object]:
    """Puts two objects into opposite corners, the first one at the left."""
    near, far = reaches
    ys = (near, SIDE - far) if rng.random() < 0.5 else (SIDE - near, far)
    return [
        replace(objects[0], x=near, y=ys[0]),
        replace(objects[1], x=SIDE - far, y=ys[1]),
    ]


def along(
    objects: Sequence[Object],
    reaches: Sequence[float],
    relation: str,
    rng: np.random.Generator,
    across: Sequence[float] | None = None,
) -> list[Object]:
    """Places two objects so that the first is `relation` ("left of", "above", ...) the second.

    `reaches` are their half extents along the relation's axis, `across` those across it.
    """
    swapped = relation in ("right of", "below")
    order = (1, 0) if swapped else (0, 1)
    near, far = (reaches[place] for place in order)
    apart = near + far + _GAP
    first = pick(rng, spots(near + _EDGE, SIDE - far - _EDGE - apart))
    second = pick(rng, spots(first + apart, SIDE - far - _EDGE))
    level = pick(rng, spots(SIDE / 2 - 8, SIDE / 2 + 8))
    placed = list(objects)
    for place, spot in zip(order, (first, second), strict=True):
        reach = (across or reaches)[place] + _EDGE
        free = spots(reach, SIDE - reach)
        cross = min(max(level + LATTICE * int(rng.integers(2)), free[0]), free[-1])
        x, y = (spot, cross) if relation in ("left of", "right of") else (cross, spot)
        placed[place] = replace(placed[place], x=x, y=y)
    return placed
