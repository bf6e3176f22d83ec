"""Reads a motif by drawing it: which of several drawings is nearest to the pixels?

Invariant: a drawing is right if the pixels lie near it and on the way to no other candidate. A
drawing that is half one and half another lies half way and is neither.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

import numpy as np

from policies.tiny.world.blobs import PALETTE_ROWS, Sight, blurred, eroded, nearest_color
from policies.tiny.world.lexicon import COLORS
from policies.tiny.world.painting import render
from policies.tiny.world.scene import Object, Scene

Array = np.ndarray

_HALF_WAY, _SPLICED = 0.32, 0.5
_FAR = 42.0
_DIFFERS = 45.0
_WIDE = 8
"""A half of a strip narrower than this is one or two pixels wide and says nothing."""

_PURE = 80.0
_PULL = 120.0
_STEP = np.array([0.6, 0.6, 0.04])


def drawn(scene: Scene) -> Array:
    return blurred(render(scene).astype(np.float32))


def is_nearest(sight: Sight, wanted: Array, others: Iterable[Array]) -> bool:
    """Returns whether the pixels show `wanted` rather than any of `others`, all drawn alike."""
    compared = np.zeros(wanted.shape[:2], bool)
    gap = sight.smooth - wanted
    for other in others:
        step = other - wanted
        energy = _dots(step, step)
        differs = energy > _DIFFERS**2
        if not differs.any():
            continue
        compared |= differs
        toward = np.where(differs, _dots(gap, step), 0)
        energy = np.where(differs, energy, 0)
        if toward.sum() > _HALF_WAY * energy.sum():
            return False
        if any(_half_other(toward.sum(axis=axis), energy.sum(axis=axis)) for axis in (0, 1)):
            return False
    return bool(compared.any()) and float(np.abs(gap[compared]).mean()) < _FAR


def _dots(one: Array, other: Array) -> Array:
    """Returns the dot product of each pixel's colors; a sum over a short axis is slow."""
    return np.einsum("ijk,ijk->ij", one, other)


def _half_other(toward: Array, energy: Array) -> bool:
    """Returns whether one half of what differs, cut across one axis, shows the other drawing."""
    if np.count_nonzero(energy) < _WIDE:
        return False
    so_far = np.cumsum(energy)
    cut = int(np.searchsorted(so_far, so_far[-1] / 2)) + 1
    return any(
        float(toward[half].sum()) > _SPLICED * float(energy[half].sum())
        for half in (slice(0, cut), slice(cut, None))
    )


def read_trait(
    sight: Sight, scene: Scene, place: int, kind: str, values: Sequence[str | None]
) -> tuple[Scene, bool]:
    """Returns `scene` with the value of one trait that is seen, and whether that is clear to see.

    The value None stands for a thing that is not there.
    """
    seen = [drawn(with_trait(scene, place, kind, value)) for value in values]
    errors = [_distance(sight, drawing) for drawing in seen]
    best = errors.index(min(errors))
    clear = is_nearest(sight, seen[best], seen[:best] + seen[best + 1 :])
    return with_trait(scene, place, kind, values[best]), clear


def with_trait(scene: Scene, place: int, kind: str, value: str | None) -> Scene:
    it = scene.objects[place]
    traits = {key: held for key, held in it.traits.items() if key != kind}
    if value is not None:
        traits[kind] = value
    return with_object(scene, place, replace(it, traits=traits))


def with_object(scene: Scene, place: int, it: Object) -> Scene:
    return replace(scene, objects=(*scene.objects[:place], it, *scene.objects[place + 1 :]))


def read_color(sight: Sight, scene: Scene, place: int, kind: str) -> tuple[Scene, bool]:
    """Returns `scene` with the seen color of a part, and whether all of the part has it."""
    index = COLORS.index(scene.objects[place].traits[kind])
    variants = [
        render(with_trait(scene, place, kind, COLORS[(index + step) % 6])).astype(np.float32)
        for step in (0, 1, 3)
    ]
    part = np.ones(variants[0].shape[:2], bool)
    for other in variants[1:]:
        step = other - variants[0]
        part &= _dots(step, step) > 40**2
    core = eroded(part)
    if core.sum() < 8:
        core = part
    if not core.any():
        return scene, False
    pixels = sight.smooth[core]
    nearest = nearest_color(pixels)
    pure = np.linalg.norm(pixels - PALETTE_ROWS[nearest], axis=1) < _PURE
    counts = np.bincount(nearest[pure], minlength=len(COLORS))
    best = int(counts.argmax())
    return (
        with_trait(scene, place, kind, COLORS[best]),
        bool(counts[best] >= max(0.75 * counts.sum(), 0.5 * len(pixels), 1)),
    )


def settled(sight: Sight, scene: Scene, place: int, rounds: int) -> Scene:
    """Returns `scene` with one object moved and scaled a little to where it explains most."""
    for _ in range(rounds):
        now = drawn(scene)
        gap = sight.smooth - now
        # Parts that are drawn otherwise than asked must not pull the rest out of place.
        near = _dots(gap, gap) < _PULL**2
        moves = [
            (drawn(_moved(scene, place, *step)) - now)[near].ravel() for step in np.diag(_STEP)
        ]
        basis = np.stack(moves)
        normal = basis @ basis.T + 1e3 * np.eye(3, dtype=np.float32)
        shift = np.clip(np.linalg.solve(normal, basis @ gap[near].ravel()), -3, 3) * _STEP
        scene = _moved(scene, place, *shift)
    return scene


def _moved(scene: Scene, place: int, dx: float, dy: float, growth: float) -> Scene:
    it = scene.objects[place]
    it = replace(it, x=it.x + float(dx), y=it.y + float(dy), r=it.r * (1 + float(growth)))
    return with_object(scene, place, it)


def _distance(sight: Sight, drawing: Array) -> float:
    # Errors are capped, so that a wrong part does not pull the rest out of place.
    return float(np.minimum(np.abs(sight.smooth - drawing), 60).sum())
