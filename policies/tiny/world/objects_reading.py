"""Reads drawings of plain objects: which facts of a prompt are true of them.

Invariant: blobs are assigned to the items of the prompt so that most facts hold; a fact then holds
only if it holds for every blob of its item. A blob that no item asks for makes the count wrong.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import permutations

import numpy as np

from policies.tiny.world.blobs import Blob, Sight, find_blobs
from policies.tiny.world.lexicon import NUMBERS, SIDES
from policies.tiny.world.nested import read_layers, read_nested
from policies.tiny.world.scene import SIDE, Fact, Prompt

# Misfit grows with the length of the edge over the area, so the limits are for r = 1 pixel.
_LIMITS: dict[str, dict[str, float]] = {
    "plain": {"circle": 0.74, "square": 0.95, "triangle": 1.4, "star": 1.9, "cross": 1.17},
    "mosaic": {"circle": 0.9, "square": 1.1, "triangle": 1.4, "star": 2.0, "cross": 1.6},
    "line drawing": {"circle": 0.95, "square": 1.0, "triangle": 0.95, "star": 1.9, "cross": 1.9},
    "neon": {"circle": 0.8, "square": 0.74, "triangle": 0.95, "star": 2.0, "cross": 1.9},
    "layers": {"circle": 1.1, "square": 1.4, "triangle": 2.0, "star": 2.7, "cross": 2.0},
}
_PURE = 0.72
_MIDDLE_SIZE = 8.0
_LARGER = 1.25


def read_objects(sight: Sight, prompt: Prompt) -> dict[Fact, bool]:
    if prompt.subcategory == "interaction":
        return _read_pair(prompt, *read_nested(sight))
    if prompt.subcategory == "occlusion":
        return _read_pair(prompt, *read_layers(sight))
    style = prompt.value("style", "scene") or "plain"
    blobs = find_blobs(sight, style)
    items = [name for name in ("first", "second") if prompt.item(name)]
    holds = read_items(prompt, items, blobs, style)
    for fact in prompt.facts:
        if fact.kind == "absent":
            holds[fact] = bool(blobs) and all(blob.shape != fact.value for blob in blobs)
        elif fact.kind == "style":
            holds[fact] = seen_style(sight) == fact.value
    return holds


def read_items(
    prompt: Prompt, items: Sequence[str], blobs: Sequence[Blob], style: str = "plain"
) -> dict[Fact, bool]:
    """Returns the verdicts on the facts of `items`, and on how many objects there are."""
    groups = assigned(prompt, items, blobs, style)
    holds: dict[Fact, bool] = {}
    for fact in prompt.facts:
        if fact.kind == "count" and fact.subject == "scene":
            holds[fact] = len(blobs) == NUMBERS.index(fact.value) + 1
        elif fact.subject in items:
            if fact.kind == "relation":
                holds[fact] = _related(groups, fact.value)
            elif fact.kind == "count":
                holds[fact] = len(groups[fact.subject]) == NUMBERS.index(fact.value) + 1
            else:
                mine = groups[fact.subject]
                holds[fact] = bool(mine) and all(fits(fact, blob, style) for blob in mine)
    return holds


def assigned(
    prompt: Prompt, items: Sequence[str], blobs: Sequence[Blob], style: str = "plain"
) -> dict[str, list[Blob]]:
    """Returns the blobs of each item."""
    facts = {
        name: [
            fact
            for fact in prompt.facts
            if fact.subject == name and fact.kind in ("shape", "color", "texture", "size")
        ]
        for name in items
    }

    def worth(name: str, blob: Blob) -> int:
        return sum(fits(fact, blob, style) for fact in facts[name])

    if prompt.category == "counting" or prompt.subcategory == "moon":
        groups: dict[str, list[Blob]] = {name: [] for name in items}
        for blob in blobs:
            groups[max(items, key=lambda name: worth(name, blob))].append(blob)
        return groups
    best: tuple[int, dict[str, list[Blob]]] = (-1, {name: [] for name in items})
    padded: list[Blob | None] = [*blobs, *[None] * max(len(items) - len(blobs), 0)]
    for chosen in permutations(padded[:8], len(items)):
        total = sum(worth(name, blob) for name, blob in zip(items, chosen, strict=True) if blob)
        if total > best[0]:
            groups = {
                name: [blob] if blob else [] for name, blob in zip(items, chosen, strict=True)
            }
            best = (total, groups)
    return best[1]


def fits(fact: Fact, blob: Blob, style: str = "plain") -> bool:
    """Returns whether one fact about one object is true of one blob."""
    if fact.kind == "shape":
        limit = _LIMITS[style].get(blob.shape, 0.0)
        return blob.shape == fact.value and blob.misfit * blob.r < limit
    if fact.kind == "color":
        return blob.color == fact.value and blob.purity >= _PURE
    if fact.kind == "texture":
        return blob.texture == fact.value
    if fact.kind == "size":
        return (blob.r < _MIDDLE_SIZE) == (fact.value == "small")
    if fact.kind == "corner":
        down, across = fact.value.split()
        return (blob.y < SIDE / 2 - 2.5 if down == "top" else blob.y > SIDE / 2 + 2.5) and (
            blob.x < SIDE / 2 - 2.5 if across == "left" else blob.x > SIDE / 2 + 2.5
        )
    raise ValueError(f"'{fact.kind}' cannot be read from one object")


def side_of(dx: float, dy: float) -> str | None:
    """Returns on which side of another a thing is that lies (dx, dy) from it; None if not clear."""
    if max(abs(dx), abs(dy)) < 6 or abs(abs(dx) - abs(dy)) < 1:
        return None
    if abs(dx) > abs(dy):
        return SIDES[0] if dx < 0 else SIDES[1]
    return SIDES[2] if dy < 0 else SIDES[3]


def _related(groups: dict[str, list[Blob]], relation: str) -> bool:
    if not (groups["first"] and groups["second"]):
        return False
    first, second = groups["first"][0], groups["second"][0]
    if relation == "larger than":
        return first.r > _LARGER * second.r
    if relation == "smaller than":
        return second.r > _LARGER * first.r
    return side_of(first.x - second.x, first.y - second.y) == relation


def _read_pair(prompt: Prompt, blobs: Sequence[Blob], upper: Blob | None) -> dict[Fact, bool]:
    """Returns the verdicts on two objects; `upper` is the one on top, or None if neither is."""
    style = "layers" if prompt.subcategory == "occlusion" else "plain"
    holds = read_items(prompt, ("first", "second"), blobs, style)
    groups = assigned(prompt, ("first", "second"), blobs, style)
    for fact in prompt.facts:
        if fact.kind == "relation":
            on_top = "first" if fact.value in ("inside", "in front of") else "second"
            holds[fact] = upper is not None and any(blob is upper for blob in groups[on_top])
    return holds


def seen_style(sight: Sight) -> str:
    """Returns the style that the paper and the objects' middles show."""
    if float(sight.paper.mean()) < 70:
        return "neon"
    checks = _checks()
    ground = np.linalg.norm(sight.smooth - sight.paper, axis=2) < 110
    light, dark = (sight.raw[ground & (checks == side)] for side in (0, 1))
    if len(light) > 40 and len(dark) > 40 and light.mean() - dark.mean() > 22:
        return "mosaic"
    blobs = find_blobs(sight, "line drawing")
    hollow = [
        float(np.linalg.norm(sight.raw[int(blob.y), int(blob.x)] - sight.paper)) < 60
        for blob in blobs
        if math.isfinite(blob.x)
    ]
    return "line drawing" if hollow and all(hollow) else "plain"


def _checks() -> np.ndarray:
    return (np.arange(SIDE)[:, None] // 4 + np.arange(SIDE)[None, :] // 4) % 2
