"""Decides where the things of a prompt are drawn.

Invariant: a sampled scene satisfies every fact of its prompt with a margin that survives a slight
blur: sizes differ by half, objects lie farther apart along their relation than across it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import product

import numpy as np

from policies.seeds import generator
from policies.tiny.world import lexicon as lx
from policies.tiny.world.motif_layout import MOTIF_LAYOUTS
from policies.tiny.world.painting import NEON_DARK
from policies.tiny.world.placing import (
    LATTICE,
    WIDEST,
    along,
    opposite,
    pick,
    reach_of,
    room_of,
    scatter,
    spots,
)
from policies.tiny.world.scene import SIDE, Color, Object, Prompt, Scene
from policies.tiny.world.shapes import PAPERS, REACH, ROUND, coordinates, distance

Rng = np.random.Generator

SMALL, MEDIUM, LARGE, HUGE = 6.0, 8.0, 10.0, 12.0
"""The radii of plain objects, in pixels."""
_STYLE_PAPERS: dict[str, Color] = {
    "line drawing": (252, 251, 248),
    "neon": NEON_DARK,
    "mosaic": (240, 230, 210),
}


ARRANGEMENTS = 8
"""Arrangements of places, sizes and paper for each kind of prompt: few, so that two CPU cores can
learn the world within the hour."""


def sample_scene(prompt: Prompt, rng: Rng) -> Scene:
    """Returns a scene that shows what `prompt` says, in one of its arrangements."""
    return _arranged(prompt, generator("arrangement", int(rng.integers(ARRANGEMENTS))))


def _arranged(prompt: Prompt, rng: Rng) -> Scene:
    if prompt.subcategory in MOTIF_LAYOUTS:
        return MOTIF_LAYOUTS[prompt.subcategory](prompt, rng)
    style = prompt.value("style", "scene") or "plain"
    paper = _STYLE_PAPERS.get(style) or pick(rng, PAPERS)
    key = prompt.category if prompt.category == "counting" else prompt.subcategory
    objects = _LAYOUTS[key](prompt, rng)
    return Scene(tuple(objects), paper, style)


def wanted(prompt: Prompt) -> list[Object]:
    """Returns the objects of `prompt` in the order of its words, still without place and size."""
    found = []
    for name in ("first", "second"):
        item = prompt.item(name)
        if "shape" in item:
            traits = {kind: said for kind, said in item.items() if kind in ("color", "texture")}
            number = lx.NUMBERS.index(item.get("count", "one")) + 1
            found += [Object(item["shape"], 0, 0, 0, traits, name)] * number
    return found


def _radius(prompt: Prompt, it: Object, rng: Rng) -> float:
    size, free = prompt.value("size", it.item), pick(rng, (SMALL, MEDIUM))
    if size == "large" or (size is None and "texture" in it.traits):
        return LARGE
    return SMALL if size == "small" else free


def _one(prompt: Prompt, rng: Rng) -> list[Object]:
    it = wanted(prompt)[0]
    if prompt.category == "stylization":
        return [replace(it, r=HUGE, x=pick(rng, (20, 28)), y=pick(rng, (20, 28)))]
    return scatter([replace(it, r=_radius(prompt, it, rng))], rng)


def _two(prompt: Prompt, rng: Rng) -> list[Object]:
    if prompt.category == "stylization":
        sized = [replace(it, r=9.0 if ROUND[it.kind] < 1.2 else MEDIUM) for it in wanted(prompt)]
        # Outlines extend beyond their shapes.
        return opposite(sized, [reach_of(it) + 3.5 for it in sized], rng)
    return scatter([replace(it, r=_radius(prompt, it, rng)) for it in wanted(prompt)], rng)


_HOLDER, _HIDDEN, _CROWDED = 15.0, 11.0, 5.2
"""The radii of a container, of a partly hidden object, and of pointed shapes among six."""


def _negation(prompt: Prompt, rng: Rng) -> list[Object]:
    it = wanted(prompt)[0]
    found = [replace(it, r=_radius(prompt, it, rng))]
    if rng.random() < 0.5:
        avoided = (it.kind, prompt.value("absent", "scene"))
        shape = pick(rng, [shape for shape in lx.SHAPES if shape not in avoided])
        color = pick(rng, [color for color in lx.COLORS if color != it.traits["color"]])
        found.append(Object(shape, 0, 0, pick(rng, (SMALL, MEDIUM)), {"color": color}))
    return scatter(found, rng)


def _comparison(prompt: Prompt, rng: Rng) -> list[Object]:
    radii = [LARGE, SMALL]
    if prompt.value("relation") == "smaller than":
        radii.reverse()
    return scatter([replace(it, r=r) for it, r in zip(wanted(prompt), radii, strict=True)], rng)


def _interaction(prompt: Prompt, rng: Rng) -> list[Object]:
    inner, outer = wanted(prompt)
    if prompt.value("relation") == "around":
        inner, outer = outer, inner
    x, y = (pick(rng, spots(16, 32, 2 * LATTICE)) for _ in range(2))
    return [replace(outer, x=x, y=y, r=_HOLDER), replace(inner, x=x, y=y, r=SMALL)]


def _position(prompt: Prompt, rng: Rng) -> list[Object]:
    sized = [replace(it, r=pick(rng, (SMALL, MEDIUM))) for it in wanted(prompt)]
    return along(sized, [room_of(it) for it in sized], prompt.value("relation") or "", rng)


def _occlusion(prompt: Prompt, rng: Rng) -> list[Object]:
    front, back = wanted(prompt)
    if prompt.value("relation") == "behind":
        front, back = back, front
    # The hidden share tells the layers apart; too much of it would hide the shape.
    gx, gy = coordinates((slice(0, SIDE), slice(0, SIDE)))
    front = replace(front, r=9.0 if front.kind == "star" else MEDIUM)
    (back,) = scatter([replace(back, r=_HIDDEN)], rng)
    behind = distance(back.kind, gx - back.x, gy - back.y, back.r) < 0

    def overlaps(x: float, y: float) -> bool:
        hidden = behind & (distance(front.kind, gx - x, gy - y, front.r) < 0)
        apart = math.hypot(x - back.x, y - back.y) / (front.r + back.r)
        return 0.14 <= hidden.sum() / behind.sum() <= 0.36 and 0.5 <= apart <= 0.8

    reach, turn = reach_of(front) + 1, 2 * math.pi * float(rng.random())
    aim = back.x + 13 * math.cos(turn), back.y + 13 * math.sin(turn)
    # Some pairs overlap correctly only between the points of the lattice.
    for step in (LATTICE, LATTICE // 2, 1):
        free = spots(reach, SIDE - reach, step)
        if places := [(x, y) for x, y in product(free, free) if overlaps(x, y)]:
            x, y = min(places, key=lambda place: math.dist(place, aim))
            return [back, replace(front, x=x, y=y)]
    raise AssertionError(f"no place for {front.kind} in front of {back.kind}")


def _corner(prompt: Prompt, rng: Rng) -> list[Object]:
    it = wanted(prompt)[0]
    r = _radius(prompt, it, rng)
    spot = spots(WIDEST * r + 1, SIDE / 2)[0]
    down, across = (prompt.value("corner") or "").split()
    return [
        replace(
            it,
            r=r,
            x=SIDE - spot if across == "right" else spot,
            y=SIDE - spot if down == "bottom" else spot,
        )
    ]


def _counted(prompt: Prompt, rng: Rng) -> list[Object]:
    group = wanted(prompt)
    if len(group) <= 2:
        return scatter([replace(it, r=pick(rng, (SMALL, MEDIUM))) for it in group], rng)
    columns, rows = (2, 2) if len(group) <= 4 else pick(rng, [(3, 2), (2, 3)])
    order = rng.permutation(columns * rows)[: len(group)]
    cell_x, cell_y = SIDE / columns, SIDE / rows
    placed = []
    for it, cell in zip(group, order, strict=True):
        r = MEDIUM if len(group) <= 4 else SMALL if REACH[it.kind] < 1.1 else _CROWDED
        x, y = (cell % columns + 0.5) * cell_x, (cell // columns + 0.5) * cell_y
        placed.append(replace(it, r=r, x=x, y=y))
    return placed


_LAYOUTS: dict[str, Callable[[Prompt, Rng], Sequence[Object]]] = {
    "single": _one,
    "texture": _one,
    "multiple": _two,
    "differentiation": _two,
    "negation": _negation,
    "comparison": _comparison,
    "interaction": _interaction,
    "position": _position,
    "occlusion": _occlusion,
    "corner": _corner,
    "counting": _counted,
}
