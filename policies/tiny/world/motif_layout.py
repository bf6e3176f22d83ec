"""Where motifs are put: flags, plants, houses, words, moons, thermometers, flowers, faces.

Invariant: a motif's scene has one shape for each subcategory; only place, scale and paper vary.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from policies.tiny.world import lexicon as lx
from policies.tiny.world.placing import along, pick, scatter, uniform
from policies.tiny.world.scene import SIDE, Color, Object, Prompt, Scene
from policies.tiny.world.shapes import PAPERS

Rng = np.random.Generator

NIGHT: Color = (24, 27, 60)
FLAG_PAPER: Color = (206, 226, 240)
"""Under flags and signs, whose white parts need a paper that is not white."""


def _flag(prompt: Prompt, rng: Rng) -> Scene:
    traits = {"flag": prompt.value("flag") or ""}
    if prompt.value("exists"):
        traits["pole"] = "pole"
        r = uniform(rng, 12.5, 15.5)
        it = Object(
            "flag", uniform(rng, r + 7, 47 - r), 0.66 * r + uniform(rng, 4, 8), r, traits, "first"
        )
    else:
        r = uniform(rng, 13, 18)
        it = Object(
            "flag",
            uniform(rng, r + 3, 45 - r),
            uniform(rng, 0.66 * r + 3, 45 - 0.66 * r),
            r,
            traits,
            "first",
        )
    return Scene((it,), FLAG_PAPER)


def _flag_and_object(prompt: Prompt, rng: Rng) -> Scene:
    flag = Object(
        "flag", 0, 0, uniform(rng, 10.5, 11.5), {"flag": prompt.value("flag") or ""}, "first"
    )
    item = prompt.item("second")
    it = Object(item["shape"], 0, 0, uniform(rng, 6.0, 7.2), {"color": item["color"]}, "second")
    return Scene(tuple(scatter([flag, it], rng, 1.5)), FLAG_PAPER)


def _two_flags(prompt: Prompt, rng: Rng) -> Scene:
    flags = [
        Object(
            "flag", 0, 0, uniform(rng, 8.9, 9.3), {"flag": prompt.value("flag", name) or ""}, name
        )
        for name in ("first", "second")
    ]
    relation = prompt.value("relation") or ""
    wide, high = [it.r + 1.4 for it in flags], [0.66 * it.r + 1.4 for it in flags]
    if relation in ("above", "below"):
        wide, high = high, wide
    return Scene(tuple(along(flags, wide, relation, rng, high)), FLAG_PAPER)


def _plant(prompt: Prompt, rng: Rng) -> Scene:
    it = Object(
        "plant",
        SIDE / 2 + uniform(rng, -5, 5),
        uniform(rng, 44, 46),
        uniform(rng, 0.95, 1.1),
        prompt.item("first"),
        "first",
    )
    return Scene((it,), pick(rng, PAPERS), time=prompt.value("time", "scene") or "", ground=True)


def _house(prompt: Prompt, rng: Rng) -> Scene:
    time = prompt.value("time", "scene") or ""
    it = Object(
        "house",
        SIDE / 2 + uniform(rng, -5, 5),
        uniform(rng, 43, 45.5),
        uniform(rng, 0.95, 1.1),
        {**prompt.item("first"), "time": time},
        "first",
    )
    return Scene((it,), PAPERS[0], time=time, ground=True)


def _word(prompt: Prompt, rng: Rng) -> Scene:
    asked = (prompt.value("letter", place) for place in ("first", "second", "third"))
    letters = [letter for letter in asked if letter]
    signed = prompt.value("exists", "scene") == "sign"
    if len(letters) == 3:
        size = uniform(rng, 2.82, 2.95) if signed else uniform(rng, 2.85, 3.1)
    else:
        size = uniform(rng, 3.0, 3.5)
    length = (5 * len(letters) - 1) * size
    slack = SIDE / 2 - length / 2 - (2.8 if signed else 1.5)
    left = SIDE / 2 - length / 2 + uniform(rng, -1, 1) * min(slack, 5)
    middle = uniform(rng, 16, 22) if signed else SIDE / 2 + uniform(rng, -8, 8)
    ink = {"color": prompt.value("ink", "scene") or ""}
    objects = [Object("sign", SIDE / 2, middle, 2.5 * size + 3)] if signed else []
    for place, letter in enumerate(letters):
        objects.append(
            Object(
                "letter",
                left + 5 * size * place,
                middle - 2.5 * size,
                size,
                {**ink, "letter": letter},
                ("first", "second", "third")[place],
            )
        )
    return Scene(tuple(objects), FLAG_PAPER if signed else pick(rng, PAPERS))


def _moon(prompt: Prompt, rng: Rng) -> Scene:
    r = uniform(rng, 9.0, 10.5)
    moon = Object(
        "moon",
        uniform(rng, r + 2, SIDE - r - 2),
        uniform(rng, r + 2, r + 4.5),
        r,
        {"phase": prompt.value("phase") or ""},
        "first",
    )
    number = lx.NUMBERS.index(prompt.value("count", "second") or "") + 1
    objects = [moon]
    for slot in sorted(rng.permutation(3)[:number]):
        objects.append(
            Object(
                "star",
                9 + 15 * int(slot) + uniform(rng, -1, 1),
                uniform(rng, 34.5, 39.5),
                uniform(rng, 4.8, 5.1),
                {"color": prompt.value("color", "second") or ""},
                "second",
            )
        )
    return Scene(tuple(objects), NIGHT)


def _thermometer(prompt: Prompt, rng: Rng) -> Scene:
    names = ["first", "second"] if prompt.value("level", "second") else ["first"]
    spots = [SIDE / 2 + uniform(rng, -8, 8)]
    if len(names) == 2:
        spots = [13 + uniform(rng, -2, 2), 35 + uniform(rng, -2, 2)]
        if prompt.value("relation") == "right of":
            spots.reverse()
    objects = [
        Object(
            "thermometer",
            x,
            uniform(rng, 36.5, 38),
            uniform(rng, 0.93, 1.05),
            prompt.item(name),
            name,
        )
        for x, name in zip(spots, names, strict=True)
    ]
    return Scene(tuple(objects), pick(rng, PAPERS))


def _flower(prompt: Prompt, rng: Rng) -> Scene:
    it = Object(
        "flower",
        SIDE / 2 + uniform(rng, -4, 4),
        uniform(rng, 18, 21),
        uniform(rng, 14.5, 16.5),
        prompt.item("first"),
        "first",
    )
    return Scene((it,), pick(rng, PAPERS))


def _face(prompt: Prompt, rng: Rng) -> Scene:
    it = Object(
        "face",
        SIDE / 2 + uniform(rng, -3, 3),
        uniform(rng, 25, 27.5),
        uniform(rng, 12, 13.2),
        prompt.item("first"),
        "first",
    )
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
