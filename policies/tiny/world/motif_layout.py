"""Decides where motifs are drawn: flags, plants, houses, words, moons, thermometers, flowers,
faces.

Invariant: a motif's scene has one shape for each subcategory; only place and paper vary.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from policies.tiny.world import lexicon as lx
from policies.tiny.world.placing import LATTICE, along, pick, scatter, spots
from policies.tiny.world.scene import SIDE, Color, Object, Prompt, Scene
from policies.tiny.world.shapes import PAPERS

Rng = np.random.Generator

NIGHT: Color = (24, 27, 60)
FLAG_PAPER: Color = (206, 226, 240)
"""The paper under flags and signs, whose white parts must differ from it."""


def _about(rng: Rng, middle: float = SIDE / 2) -> float:
    """Returns `middle`, or a step to either side of it."""
    return pick(rng, spots(middle - LATTICE, middle + LATTICE))


def _flag(prompt: Prompt, rng: Rng) -> Scene:
    traits = {"flag": prompt.value("flag") or ""}
    if prompt.value("exists"):
        it = Object("flag", _about(rng, 28), 16, 14, {**traits, "pole": "pole"}, "first")
    else:
        it = Object("flag", _about(rng), pick(rng, spots(16, 32)), 16, traits, "first")
    return Scene((it,), FLAG_PAPER)


def _flag_and_object(prompt: Prompt, rng: Rng) -> Scene:
    flag = Object("flag", 0, 0, 11, {"flag": prompt.value("flag") or ""}, "first")
    item = prompt.item("second")
    it = Object(item["shape"], 0, 0, 6, {"color": item["color"]}, "second")
    return Scene(tuple(scatter([flag, it], rng, 1.5)), FLAG_PAPER)


def _two_flags(prompt: Prompt, rng: Rng) -> Scene:
    flags = [
        Object("flag", 0, 0, 9, {"flag": prompt.value("flag", name) or ""}, name)
        for name in ("first", "second")
    ]
    relation = prompt.value("relation") or ""
    wide, high = [it.r + 1.4 for it in flags], [0.66 * it.r + 1.4 for it in flags]
    if relation in ("above", "below"):
        wide, high = high, wide
    return Scene(tuple(along(flags, wide, relation, rng, high)), FLAG_PAPER)


def _plant(prompt: Prompt, rng: Rng) -> Scene:
    it = Object("plant", _about(rng), 45, 1, prompt.item("first"), "first")
    return Scene((it,), pick(rng, PAPERS), time=prompt.value("time", "scene") or "", ground=True)


def _house(prompt: Prompt, rng: Rng) -> Scene:
    time = prompt.value("time", "scene") or ""
    it = Object("house", _about(rng), 44, 1, {**prompt.item("first"), "time": time}, "first")
    return Scene((it,), PAPERS[0], time=time, ground=True)


CELL = 3.2
"""The side of a glyph's cell in pixels: a letter and its gap are then two image tokens wide."""


def _word(prompt: Prompt, rng: Rng) -> Scene:
    asked = (prompt.value("letter", place) for place in ("first", "second", "third"))
    letters = [letter for letter in asked if letter]
    signed = prompt.value("exists", "scene") == "sign"
    left = CELL / 2 + (0 if len(letters) == 3 else pick(rng, (0, 8, 16)))
    middle = pick(rng, (16, 24) if signed else (16, 24, 32))
    ink = {"color": prompt.value("ink", "scene") or ""}
    objects = [Object("sign", SIDE / 2, middle, 2.5 * CELL + 3)] if signed else []
    for place, letter in enumerate(letters):
        objects.append(
            Object(
                "letter",
                left + 5 * CELL * place,
                middle - 2.5 * CELL,
                CELL,
                {**ink, "letter": letter},
                ("first", "second", "third")[place],
            )
        )
    return Scene(tuple(objects), FLAG_PAPER if signed else pick(rng, PAPERS))


def _moon(prompt: Prompt, rng: Rng) -> Scene:
    moon = Object(
        "moon", pick(rng, spots(12, 36)), 12, 10, {"phase": prompt.value("phase") or ""}, "first"
    )
    number = lx.NUMBERS.index(prompt.value("count", "second") or "") + 1
    color = {"color": prompt.value("color", "second") or ""}
    stars = [
        Object("star", 8 + 16 * int(slot), 36, 5, color, "second")
        for slot in sorted(rng.permutation(3)[:number])
    ]
    return Scene((moon, *stars), NIGHT)


def _thermometer(prompt: Prompt, rng: Rng) -> Scene:
    names, places = ["first"], [pick(rng, spots(16, 32))]
    if prompt.value("level", "second"):
        names, places = ["first", "second"], [12, 36]
        if prompt.value("relation") == "right of":
            places.reverse()
    objects = [
        Object("thermometer", x, 37, 1, prompt.item(name), name)
        for x, name in zip(places, names, strict=True)
    ]
    return Scene(tuple(objects), pick(rng, PAPERS))


def _flower(prompt: Prompt, rng: Rng) -> Scene:
    it = Object("flower", _about(rng), 20, 16, prompt.item("first"), "first")
    return Scene((it,), pick(rng, PAPERS))


def _face(prompt: Prompt, rng: Rng) -> Scene:
    it = Object("face", _about(rng), 26, 12.6, prompt.item("first"), "first")
    return Scene((it,), pick(rng, PAPERS))


MOTIF_LAYOUTS: dict[str, Callable[[Prompt, Rng], Scene]] = {
    "flag": _flag,
    "flag and object": _flag_and_object,
    "two flags": _two_flags,
    "stage": _plant,
    "time": _house,
    "word": _word,
    "sign": _word,
    "moon": _moon,
    "thermometer": _thermometer,
    "flower": _flower,
    "face": _face,
    "accessories": _face,
}
