"""Reads drawings of motifs: finds where the motif is, then compares drawings of it there.

Invariant: only pixels are read; a motif is located by the part of it that no fact changes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from policies.tiny.world import lexicon as lx
from policies.tiny.world.blobs import (
    Sight,
    components,
    filled,
    read_blob,
)
from policies.tiny.world.letter_reading import read_words
from policies.tiny.world.matching import drawn, is_nearest, read_color, read_trait, settled
from policies.tiny.world.motif_layout import FLAG_PAPER, NIGHT
from policies.tiny.world.motifs import FLAGS
from policies.tiny.world.objects_reading import read_items, side_of
from policies.tiny.world.scene import Fact, Object, Prompt, Scene

Array = np.ndarray
Verdicts = dict[Fact, bool]


def parts_of(sight: Sight, contrast: float = 60.0, least: int = 22) -> list[Array]:
    """Returns the separate things on the paper as masks without holes, largest first."""
    apart = np.linalg.norm(sight.smooth - sight.paper, axis=2) > contrast
    parts = [part for part in components(filled(apart)) if part.sum() >= least]
    return sorted(parts, key=lambda part: -int(part.sum()))


def _box(mask: Array) -> tuple[float, float, float, float]:
    ys, xs = np.nonzero(mask)
    return float(xs.min()), float(ys.min()), float(xs.max() + 1), float(ys.max() + 1)


_VALUES = {
    "flag": tuple(FLAGS),
    "stage": lx.STAGES,
    "phase": lx.PHASES,
    "level": lx.LEVELS,
    "petals": lx.PETALS,
    "expression": lx.EXPRESSIONS,
    "pole": ("pole", None),
    "glasses": ("glasses", None),
}


class _Reading:
    """One motif as it has been read so far; a trait that was read is drawn as seen from then on."""

    def __init__(self, sight: Sight, scene: Scene, rounds: int = 1) -> None:
        self.sight = sight
        self.scene = settled(sight, scene, 0, rounds)
        self.clear: dict[str, bool] = {}

    def trait(self, kind: str) -> None:
        self.scene, self.clear[kind] = read_trait(self.sight, self.scene, 0, kind, _VALUES[kind])

    def color(self, kind: str = "color") -> None:
        self.scene, self.clear[kind] = read_color(self.sight, self.scene, 0, kind)

    def holds(self, fact: Fact, kind: str | None = None) -> bool:
        kind = kind or fact.kind
        return self.clear[kind] and self.scene.objects[0].traits.get(kind) == fact.value


def _flag_at(sight: Sight, part: Array, item: dict[str, str]) -> _Reading:
    """Reads the flag where `part` is, with its pole if `item` asks for one."""
    # Rows that are much narrower than the cloth show only the pole.
    widths = part.sum(axis=1)
    _, top, right, bottom = _box(part & (widths > 0.6 * widths.max())[:, None])
    r = (bottom - top - 3.4) / 1.32
    traits = {"flag": item["flag"]} | ({"pole": "pole"} if "exists" in item else {})
    it = Object("flag", right - 1.4 - r, (top + bottom) / 2, max(r, 5.0), traits)
    reading = _Reading(sight, Scene((it,), FLAG_PAPER))
    reading.trait("flag")
    if "pole" in traits:
        reading.trait("pole")
    return reading


def _verdicts(reading: _Reading, prompt: Prompt, item: str) -> Verdicts:
    """Returns the verdicts on the facts of one item, whose motif is `reading`."""
    kinds = {fact: "pole" if fact.kind == "exists" else fact.kind for fact in prompt.facts}
    return {
        fact: reading.holds(fact, kinds[fact])
        for fact in prompt.facts
        if fact.subject == item and kinds[fact] in reading.clear
    }


def read_flags(sight: Sight, prompt: Prompt) -> Verdicts:
    parts = parts_of(sight, 110.0)
    holds = _count(prompt, parts)
    if not parts:
        return holds
    if "flag" in prompt.item("second"):
        return holds | _pair(sight, parts, prompt, _flag_at)
    holds |= _verdicts(_flag_at(sight, parts[0], prompt.item("first")), prompt, "first")
    if prompt.item("second"):
        nobody = np.zeros_like(parts[0])
        blobs = [read_blob(sight, part, nobody) for part in parts[1:]]
        holds = read_items(prompt, ("second",), blobs) | holds
    return holds


def _count(prompt: Prompt, parts: list[Array]) -> Verdicts:
    return {
        fact: len(parts) == lx.NUMBERS.index(fact.value) + 1
        for fact in prompt.facts
        if fact.kind == "count"
    }


def _pair(
    sight: Sight,
    parts: list[Array],
    prompt: Prompt,
    read: Callable[[Sight, Array, dict[str, str]], _Reading],
) -> Verdicts:
    """Reads two motifs of a kind, and assigns the parts to the items so that most facts hold."""
    relation = next(fact for fact in prompt.facts if fact.kind == "relation")
    one = read(sight, parts[0], prompt.item("first"))
    if len(parts) < 2:
        return _verdicts(one, prompt, "first") | {relation: False}
    other = read(sight, parts[1], prompt.item("second"))
    best: Verdicts = {}
    for first, second in ((one, other), (other, one)):
        a, b = first.scene.objects[0], second.scene.objects[0]
        holds = _verdicts(first, prompt, "first") | _verdicts(second, prompt, "second")
        holds[relation] = side_of(a.x - b.x, a.y - b.y) == relation.value
        if not best or sum(holds.values()) > sum(best.values()):
            best = holds
    return best


def _beside(sight: Sight) -> Array:
    """Returns how far each pixel is from the colors at the left and right border of its row."""
    sides = np.concatenate([sight.smooth[:, :3], sight.smooth[:, -3:]], axis=1)
    middle = np.sort(sides, axis=1)[:, 2:4].mean(axis=1)
    return np.linalg.norm(sight.smooth - middle[:, None], axis=2)


def read_times(sight: Sight, prompt: Prompt) -> Verdicts:
    """Reads a potted plant or a house under the sky."""
    stage = prompt.value("stage")
    mask = _beside(sight) > 60
    mask[:30] = False
    parts = [part for part in components(mask) if part.sum() > 40]
    if not parts:
        return {}
    part = max(parts, key=lambda part: int(part.sum()))
    foot = _box(part)[3]
    rows = [np.nonzero(part[row])[0] for row in range(int(foot) - 7, int(foot) - 1)]
    rows = [row for row in rows if len(row)]
    x = float(np.mean([(row[0] + row[-1] + 1) / 2 for row in rows]))
    width = float(np.mean([row[-1] + 1 - row[0] for row in rows]))
    r = (width / 2 - 0.8) / 6.5 if stage else width / 24
    asked = prompt.value("time", "scene") or ""
    it = Object(
        "plant" if stage else "house", x, foot, min(max(r, 0.8), 1.25), prompt.item("first")
    )
    time, clear = _time(sight, Scene((it,), tuple(sight.paper), ground=True))
    it = replace(it, traits={**it.traits, "time": time})
    reading = _Reading(sight, Scene((it,), tuple(sight.paper), time=time, ground=True))
    for kind in ("color", "door"):
        if kind in it.traits:
            reading.color(kind)
    if stage:
        reading.trait("stage")
    holds = {}
    for fact in prompt.facts:
        if fact.kind == "time":
            holds[fact] = clear and time == asked
        elif fact.kind == "exists":
            empty = drawn(replace(reading.scene, objects=()))
            holds[fact] = is_nearest(sight, drawn(reading.scene), [empty])
        else:
            holds[fact] = reading.holds(fact)
    return holds


def _time(sight: Sight, scene: Scene) -> tuple[str, bool]:
    """Returns the time of day that the sky shows ("" for no sky), and whether it is clear."""
    times = ("", *lx.TIMES)
    skies = [drawn(replace(scene, time=time)) for time in times]
    errors = [float(np.abs(sight.smooth - sky).sum()) for sky in skies]
    best = errors.index(min(errors))
    return times[best], is_nearest(sight, skies[best], skies[:best] + skies[best + 1 :])


def read_moon(sight: Sight, prompt: Prompt) -> Verdicts:
    parts = parts_of(sight, 46.0)
    if not parts:
        return {}
    moon, stars = parts[0], parts[1:]
    ys, xs = np.nonzero(moon)
    r = float(np.sqrt(moon.sum() / np.pi))
    it = Object("moon", float(xs.mean()) + 0.5, float(ys.mean()) + 0.5, r, prompt.item("first"))
    reading = _Reading(sight, Scene((it,), NIGHT))
    reading.trait("phase")
    phase = prompt.facts[0]
    nobody = np.zeros_like(moon)
    holds = read_items(prompt, ("second",), [read_blob(sight, part, nobody) for part in stars])
    holds[phase] = reading.holds(phase)
    return holds


def _thermometer_at(sight: Sight, part: Array, item: dict[str, str]) -> _Reading:
    left, top, right, bottom = _box(part)
    s = (bottom - top) / 41.2
    it = Object("thermometer", (left + right) / 2, bottom - 8 * s, s, item)
    reading = _Reading(sight, Scene((it,), tuple(sight.paper)))
    # The level decides where the color is, and the color how the level looks.
    reading.color()
    reading.trait("level")
    reading.color()
    return reading


def read_thermometers(sight: Sight, prompt: Prompt) -> Verdicts:
    parts = parts_of(sight, 78.0)
    holds = _count(prompt, parts)
    if not parts:
        return holds
    if prompt.item("second"):
        return holds | _pair(sight, parts, prompt, _thermometer_at)
    return holds | _verdicts(
        _thermometer_at(sight, parts[0], prompt.item("first")), prompt, "first"
    )


def read_flower(sight: Sight, prompt: Prompt) -> Verdicts:
    brown = np.linalg.norm(sight.smooth - np.array([92, 56, 36], np.float32), axis=2) < 70
    parts = [part for part in components(brown) if part.sum() > 12]
    if not parts:
        return {}
    ys, xs = np.nonzero(max(parts, key=lambda part: int(part.sum())))
    x, y = float(xs.mean()) + 0.5, float(ys.mean()) + 0.5
    whole = parts_of(sight, 90.0)
    # One petal always points up.
    top = min((_box(part)[1] for part in whole), default=y - 15)
    r = min(max(y - top, 12.0), 18.0)
    scene = Scene((Object("flower", x, y, r, prompt.item("first")),), tuple(sight.paper))
    reading = _Reading(sight, scene)
    reading.color()
    reading.trait("petals")
    reading.color()
    return {fact: reading.holds(fact) for fact in prompt.facts}


def read_face(sight: Sight, prompt: Prompt) -> Verdicts:
    parts = parts_of(sight)
    if not parts:
        return {}
    # Hair and hat stand out alike on both sides; the shoulders may be cut off at one.
    head = parts[0].copy()
    head[36:] = False
    if not head.any():
        return {}
    left, _, right, _ = _box(head)
    middle = (left + right) / 2
    it = Object("face", middle, 26.2, 12.6, prompt.item("first"))
    reading = _Reading(sight, Scene((it,), tuple(sight.paper)), 2)
    reading.color("hair")
    if "hat" in it.traits:
        reading.color("hat")
        clear = reading.clear["hat"]
        worn = reading.scene.objects[0].traits["hat"]
        reading.scene, there = read_trait(sight, reading.scene, 0, "hat", (worn, None))
        reading.clear["hat"] = clear and there
    if "glasses" in it.traits:
        reading.trait("glasses")
    reading.trait("expression")
    return {fact: reading.holds(fact) for fact in prompt.facts}


READERS: dict[str, Callable[[Sight, Prompt], Verdicts]] = {
    "flag": read_flags,
    "flag and object": read_flags,
    "two flags": read_flags,
    "stage": read_times,
    "time": read_times,
    "word": read_words,
    "sign": read_words,
    "moon": read_moon,
    "thermometer": read_thermometers,
    "flower": read_flower,
    "face": read_face,
    "accessories": read_face,
}
