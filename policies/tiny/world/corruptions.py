"""Makes malformed drawings as models do: hybrids, halves, one thing too many or too few.

Invariant: exactly one fact of the prompt is false in the drawing, and it is the one returned.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np

from policies.tiny.world import lexicon as lx
from policies.tiny.world.layout import MEDIUM, SMALL, sample_scene
from policies.tiny.world.motifs import FLAGS, GLYPHS
from policies.tiny.world.painting import render
from policies.tiny.world.placing import anywhere, pick, reach_of, round_of
from policies.tiny.world.scene import SIDE, Fact, Image, Object, Prompt, Scene

Rng = np.random.Generator

_VALUES: dict[str, tuple[str, ...]] = {
    "color": lx.COLORS,
    "shape": lx.SHAPES,
    "texture": lx.TEXTURES,
    "flag": tuple(FLAGS),
    "stage": lx.STAGES,
    "letter": tuple(GLYPHS),
    "phase": lx.PHASES,
    "level": lx.LEVELS,
    "petals": lx.PETALS,
    "expression": lx.EXPRESSIONS,
    "hair": lx.COLORS,
    "hat": lx.COLORS,
    "door": lx.COLORS,
}
"""The facts that can be half true, with the values that they can have."""

# Halves of these look too much alike when drawn small.
_ALIKE = {frozenset(("circle", "square")), frozenset(("star", "triangle"))}
_LEAST_CHANGE = 18


def sample_malformed(prompt: Prompt, rng: Rng) -> tuple[Image, Fact]:
    """Returns a drawing for `prompt`, and the only fact of the prompt that is false in it."""
    while True:
        scene = sample_scene(prompt, rng)
        fact = pick(rng, prompt.facts)
        draw = _CORRUPTIONS.get(fact.kind, _hybrid)
        if fact.kind == "shape" and rng.random() < 0.4:
            draw = _half
        image = draw(scene, fact, prompt, rng)
        if image is not None:
            return image, fact


def _hybrid(scene: Scene, fact: Fact, prompt: Prompt, rng: Rng) -> Image | None:
    """Draws half of what was asked for, and half of something else."""
    if fact.kind not in _VALUES:
        return None
    place = _place(scene, fact, rng)
    other = pick(rng, _VALUES[fact.kind])
    if place is None or other == fact.value or other == prompt.value("color", fact.subject):
        return None
    it = scene.objects[place]
    if fact.kind == "shape":
        if it.r < 8 and frozenset((it.kind, other)) in _ALIKE:
            return None
        changed = replace(it, kind=other)
    else:
        changed = replace(it, traits={**it.traits, fact.kind: other})
    return _spliced(scene, _with(scene, place, changed), rng)


def _half(scene: Scene, fact: Fact, prompt: Prompt, rng: Rng) -> Image | None:
    """Leaves out half of an object."""
    place = _place(scene, fact, rng)
    # Half an object is also smaller, and one that hides another uncovers it.
    sized = prompt.value("size", fact.subject) or prompt.subcategory == "comparison"
    # Half a triangle can be a smaller triangle.
    if (
        place is None
        or sized
        or fact.value == "triangle"
        or prompt.subcategory in ("occlusion", "interaction")
    ):
        return None
    objects = scene.objects[:place] + scene.objects[place + 1 :]
    return _spliced(scene, replace(scene, objects=objects), rng)


def _miscount(scene: Scene, fact: Fact, prompt: Prompt, rng: Rng) -> Image | None:
    """Draws one object more than was asked for, or one fewer of several."""
    if "relation" in (asked.kind for asked in prompt.facts) or prompt.value("corner"):
        return None
    several = prompt.value("count", fact.subject) not in (None, "one") and fact.subject != "scene"
    mine = [
        place
        for place, it in enumerate(scene.objects)
        if it.kind in lx.SHAPES and fact.subject in ("scene", it.item)
    ]
    if not mine:
        return None
    place = pick(rng, mine)
    if several and rng.random() < 0.5:
        objects = scene.objects[:place] + scene.objects[place + 1 :]
        return render(replace(scene, objects=objects))
    extra = _room_for(scene.objects[place], scene, rng)
    return None if extra is None else render(replace(scene, objects=(*scene.objects, extra)))


def _forbidden(scene: Scene, fact: Fact, prompt: Prompt, rng: Rng) -> Image | None:
    """Draws the thing that the prompt rules out."""
    it = Object(fact.value, 0, 0, pick(rng, (SMALL, MEDIUM)), {"color": pick(rng, lx.COLORS)})
    extra = _room_for(it, scene, rng)
    return None if extra is None else render(replace(scene, objects=(*scene.objects, extra)))


def _ink(scene: Scene, fact: Fact, prompt: Prompt, rng: Rng) -> Image | None:
    """Draws one letter in another color."""
    place = pick(rng, [place for place, it in enumerate(scene.objects) if it.kind == "letter"])
    it = scene.objects[place]
    other = pick(rng, [color for color in lx.COLORS if color != fact.value])
    return render(_with(scene, place, replace(it, traits={**it.traits, "color": other})))


_CORRUPTIONS: dict[str, Callable[[Scene, Fact, Prompt, Rng], Image | None]] = {
    "count": _miscount,
    "absent": _forbidden,
    "ink": _ink,
}


def _with(scene: Scene, place: int, it: Object) -> Scene:
    return replace(scene, objects=(*scene.objects[:place], it, *scene.objects[place + 1 :]))


def _place(scene: Scene, fact: Fact, rng: Rng) -> int | None:
    """Returns the index in `scene.objects` of an object that `fact` is about."""
    mine = [place for place, it in enumerate(scene.objects) if it.item == fact.subject]
    return pick(rng, mine) if mine else None


def _room_for(it: Object, scene: Scene, rng: Rng) -> Object | None:
    """Returns `it` at a free place, smaller if that helps; None if there is no room."""
    for _ in range(60):
        it = replace(it, r=max(it.r * 0.99, 5.2))
        x, y = (anywhere(rng, reach_of(it) + 1) for _ in range(2))
        if all(
            math.hypot(x - other.x, y - other.y) > round_of(it) + _extent(other) + 2.5
            for other in scene.objects
        ):
            return replace(it, x=x, y=y)
    return None


def _extent(it: Object) -> float:
    return round_of(it) if it.kind in lx.SHAPES or it.kind == "flag" else it.r


def _spliced(scene: Scene, other: Scene, rng: Rng) -> Image | None:
    """Returns one half of `scene` and the other of `other`, or None if that hardly differs."""
    one, two = render(scene), render(other)
    differ = np.abs(one.astype(np.int16) - two).max(axis=2) > 40
    if differ.sum() < _LEAST_CHANGE:
        return None
    axis = int(rng.integers(2))
    cut = int(np.median(np.nonzero(differ)[axis])) + 1
    keep = np.arange(SIDE) < cut
    if rng.random() < 0.5:
        keep = ~keep
    mask = keep[:, None, None] if axis == 0 else keep[None, :, None]
    image = np.where(mask, one, two)
    return image if (differ & (image != one).any(axis=2)).sum() >= _LEAST_CHANGE / 2 else None
