"""Putting objects into the square without touching each other.

Invariant: every object lies wholly in the drawing, and two of them are at least a gap apart.
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
_EDGE, _GAP = 1.0, 3.0
_TRIES = 60


def uniform(rng: np.random.Generator, low: float, high: float) -> float:
    return low + (high - low) * float(rng.random())


def pick(rng: np.random.Generator, options: Sequence[T]) -> T:
    return options[int(rng.random() * len(options))]


def reach_of(it: Object) -> float:
    return it.r + 1.4 if it.kind == "flag" else REACH[it.kind] * it.r


def round_of(it: Object) -> float:
    return 1.2 * it.r + 2 if it.kind == "flag" else ROUND[it.kind] * it.r


def scatter(
    objects: Sequence[Object], rng: np.random.Generator, gap: float = 2.5, edge: float = _EDGE
) -> list[Object]:
    """One or two objects anywhere."""
    reaches = [reach_of(it) for it in objects]
    free = [max(SIDE - 2 * (reach + edge), 0.0) for reach in reaches]
    around = sum(round_of(it) for it in objects)
    for _ in range(_TRIES):
        spots = rng.random((len(objects), 2))
        placed = [
            replace(it, x=reach + edge + room * float(u), y=reach + edge + room * float(v))
            for it, reach, room, (u, v) in zip(objects, reaches, free, spots, strict=True)
        ]
        if len(placed) == 1:
            return placed
        one, other = placed
        if math.hypot(one.x - other.x, one.y - other.y) >= around + gap:
            return placed
    # Large pairs fit only in opposite corners.
    up = rng.random() < 0.5
    near, far = (reach + edge for reach in reaches)
    ys = (near, SIDE - far) if up else (SIDE - near, far)
    return [replace(objects[0], x=near, y=ys[0]), replace(objects[1], x=SIDE - far, y=ys[1])]


def along(
    objects: Sequence[Object],
    reaches: Sequence[float],
    relation: str,
    rng: np.random.Generator,
    across: Sequence[float] | None = None,
) -> list[Object]:
    """Two objects such that the first is `relation` ("left of", "above", ...) the second.

    `reaches` are their half extents along the relation's axis, `across` those across it.
    """
    swapped = relation in ("right of", "below")
    order = (1, 0) if swapped else (0, 1)
    near, far = (reaches[place] for place in order)
    spare = SIDE - 2 * (near + far + _EDGE) - _GAP
    start, extra = spare * float(rng.random()), float(rng.random())
    first = _EDGE + start + near
    second = first + near + far + _GAP + (spare - start) * extra
    level = SIDE / 2 + uniform(rng, -7, 7)
    placed = list(objects)
    for place, spot in zip(order, (first, second), strict=True):
        reach = (across or reaches)[place] + _EDGE
        cross = min(max(level + uniform(rng, -3.5, 3.5), reach), SIDE - reach)
        x, y = (spot, cross) if relation in ("left of", "right of") else (cross, spot)
        placed[place] = replace(placed[place], x=x, y=y)
    return placed
