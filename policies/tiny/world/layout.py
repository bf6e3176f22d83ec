"""Where the things of a prompt are put.

Invariant: a sampled scene satisfies every fact of its prompt with a margin that a slight blur
does not use up: sizes differ by half, sides by more than they differ across, gaps are kept.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from policies.seeds import generator
from policies.tiny.world import lexicon as lx
from policies.tiny.world.motif_layout import MOTIF_LAYOUTS
from policies.tiny.world.painting import NEON_DARK
from policies.tiny.world.placing import along, pick, scatter, uniform
from policies.tiny.world.scene import SIDE, Color, Object, Prompt, Scene
from policies.tiny.world.shapes import PAPERS, REACH, ROUND, coordinates, distance

Rng = np.random.Generator

SMALL, LARGE = (5.5, 6.5), (9.5, 10.6)
_STYLE_PAPERS: dict[str, Color] = {
    "line drawing": (252, 251, 248),
    "neon": NEON_DARK,
    "mosaic": (240, 230, 210),
}


ARRANGEMENTS = 4
"""Of places, sizes and paper, for each kind of prompt and its shapes. Few, so that two CPU cores
can learn the world in half an hour."""


def sample_scene(prompt: Prompt, rng: Rng) -> Scene:
    """A scene that shows what `prompt` says, in one of its arrangements."""
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
    """The objects of `prompt`, still without place and size, in the order of its words."""
    found = []
    for name in ("first", "second"):
        item = prompt.item(name)
        if "shape" in item:
            traits = {kind: said for kind, said in item.items() if kind in ("color", "texture")}
            number = lx.NUMBERS.index(item.get("count", "one")) + 1
            found += [Object(item["shape"], 0, 0, 0, traits, name)] * number
    return found


def _radius(prompt: Prompt, it: Object, rng: Rng, free: tuple[float, float]) -> float:
    size = prompt.value("size", it.item)
    if size == "small":
        return uniform(rng, *SMALL)
    if size == "large" or "texture" in it.traits:
        return uniform(rng, *LARGE)
    return uniform(rng, *free)


def _one(prompt: Prompt, rng: Rng) -> list[Object]:
    free = (11.0, 14.0) if prompt.category == "stylization" else (6.2, 11.0)
    it = wanted(prompt)[0]
    # Outlines stick out of their shapes.
    edge = 3.5 if prompt.category == "stylization" else 1.0
    return scatter([replace(it, r=_radius(prompt, it, rng, free))], rng, edge=edge)


def _two(prompt: Prompt, rng: Rng) -> list[Object]:
    sized = []
    for it in wanted(prompt):
        if prompt.category == "stylization":
            sized.append(replace(it, r=min(uniform(rng, 8.4, 10.0), 10.4 / ROUND[it.kind])))
        else:
            most = min(9.5, 11 / REACH[it.kind])
            sized.append(replace(it, r=_radius(prompt, it, rng, (6.0, most))))
    return (
        scatter(sized, rng, 7.0, 3.5) if prompt.category == "stylization" else scatter(sized, rng)
    )


def _negation(prompt: Prompt, rng: Rng) -> list[Object]:
    it = wanted(prompt)[0]
    found = [replace(it, r=_radius(prompt, it, rng, (6.2, 9.5)))]
    if rng.random() < 0.5:
        avoided = (it.kind, prompt.value("absent", "scene"))
        shape = pick(rng, [shape for shape in lx.SHAPES if shape not in avoided])
        color = pick(rng, [color for color in lx.COLORS if color != it.traits["color"]])
        found.append(Object(shape, 0, 0, uniform(rng, 6.0, 8.0), {"color": color}))
    return scatter(found, rng)


def _comparison(prompt: Prompt, rng: Rng) -> list[Object]:
    radii = [uniform(rng, 9.8, 11.5), uniform(rng, 5.5, 6.2)]
    if prompt.value("relation") == "smaller than":
        radii.reverse()
    return scatter([replace(it, r=r) for it, r in zip(wanted(prompt), radii, strict=True)], rng)


def _interaction(prompt: Prompt, rng: Rng) -> list[Object]:
    inner, outer = wanted(prompt)
    if prompt.value("relation") == "around":
        inner, outer = outer, inner
    inner = replace(inner, r=uniform(rng, 5.8, 6.8))
    spare = 6.0 if outer.kind == "square" else 6.5
    low = (REACH[inner.kind] * inner.r + spare) / REACH[outer.kind]
    (outer,) = scatter([replace(outer, r=uniform(rng, low, max(low + 0.5, 17.5)))], rng)
    dx, dy = rng.uniform(-1.5, 1.5, 2)
    return [outer, replace(inner, x=outer.x + dx, y=outer.y + dy)]


def _position(prompt: Prompt, rng: Rng) -> list[Object]:
    sized = [
        replace(it, r=uniform(rng, 6.0, min(9.5, 10.2 / REACH[it.kind]))) for it in wanted(prompt)
    ]
    reaches = [REACH[it.kind] * it.r for it in sized]
    return along(sized, reaches, prompt.value("relation") or "", rng)


def _occlusion(prompt: Prompt, rng: Rng) -> list[Object]:
    front, back = wanted(prompt)
    if prompt.value("relation") == "behind":
        front, back = back, front
    # The hidden share is what tells the layers apart; too much of it would hide the shape.
    gx, gy = coordinates((slice(0, SIDE), slice(0, SIDE)))
    while True:
        front = replace(front, r=uniform(rng, 7.6, 9.0))
        back = replace(back, r=uniform(rng, 10.0, 12.0))
        (back,) = scatter([back], rng)
        angle, apart = uniform(rng, 0, 2 * math.pi), uniform(rng, 0.55, 0.8) * (front.r + back.r)
        x, y = back.x + apart * math.cos(angle), back.y + apart * math.sin(angle)
        reach = REACH[front.kind] * front.r + 1
        if not (reach <= x <= SIDE - reach and reach <= y <= SIDE - reach):
            continue
        behind = distance(back.kind, gx - back.x, gy - back.y, back.r) < 0
        hidden = behind & (distance(front.kind, gx - x, gy - y, front.r) < 0)
        if 0.14 <= hidden.sum() / behind.sum() <= 0.36:
            return [back, replace(front, x=x, y=y)]


def _corner(prompt: Prompt, rng: Rng) -> list[Object]:
    it = wanted(prompt)[0]
    r = _radius(prompt, it, rng, (6.0, 8.5))
    down, across = (prompt.value("corner") or "").split()
    x, y = (REACH[it.kind] * r + uniform(rng, 1.0, 3.5) for _ in range(2))
    return [
        replace(
            it, r=r, x=SIDE - x if across == "right" else x, y=SIDE - y if down == "bottom" else y
        )
    ]


def _counted(prompt: Prompt, rng: Rng) -> list[Object]:
    group = wanted(prompt)
    if len(group) <= 2:
        return scatter([replace(it, r=uniform(rng, 6.2, 8.8)) for it in group], rng)
    columns, rows = (2, 2) if len(group) <= 4 else pick(rng, [(3, 2), (2, 3)])
    order = rng.permutation(columns * rows)[: len(group)]
    cell_x, cell_y = SIDE / columns, SIDE / rows
    placed = []
    for it, cell in zip(group, order, strict=True):
        most = (min(cell_x, cell_y) / 2 - 1.4) / REACH[it.kind]
        r = uniform(rng, 0.93, 1.0) * min(most, 7.8 if len(group) <= 4 else 6.0)
        free_x, free_y = (cell / 2 - REACH[it.kind] * r - 1.3 for cell in (cell_x, cell_y))
        shift_x, shift_y = (min(free, 4.0) * uniform(rng, -1, 1) for free in (free_x, free_y))
        placed.append(
            replace(
                it,
                r=r,
                x=(cell % columns + 0.5) * cell_x + shift_x,
                y=(cell // columns + 0.5) * cell_y + shift_y,
            )
        )
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
