"""Reads two objects that overlap: one inside the other, or one in front of the other.

Invariant: the upper object is seen whole and read like any other; of the lower one only what is not
hidden counts.
"""

from __future__ import annotations

import copy
import math
from dataclasses import replace

import numpy as np

from policies.tiny.world.blobs import (
    Blob,
    Sight,
    blurred,
    colors_on,
    components,
    dilated,
    eroded,
    filled,
    find_blobs,
    fit_shape,
    nearest_color,
    read_blob,
)
from policies.tiny.world.lexicon import COLORS, SHAPES
from policies.tiny.world.scene import SIDE
from policies.tiny.world.shapes import coordinates, distance

Array = np.ndarray
_LEAST_AREA = 22
_ROUGHNESS = {"circle": 0.5, "square": 0.7, "triangle": 0.95, "star": 1.5, "cross": 0.9}
"""The usual misfit of a whole shape with r = 1."""


def read_nested(sight: Sight) -> tuple[list[Blob], Blob | None]:
    """Returns the objects of a drawing, and the one that lies inside another, or None."""
    blobs = find_blobs(sight)
    if len(blobs) != 1:
        return blobs, None
    whole = blobs[0].mask
    inner_part = whole
    for _ in range(4):
        inner_part = eroded(inner_part)
    rim = eroded(eroded(whole)) & ~inner_part
    if not (rim.any() and inner_part.any()):
        return blobs, None
    around = copy.copy(sight)
    around.paper = np.sort(sight.smooth[rim], axis=0)[int(rim.sum()) // 2]
    counts = np.bincount(nearest_color(sight.smooth[rim]), minlength=len(COLORS))
    apart = (nearest_color(sight.smooth) != int(counts.argmax())) & inner_part
    found = [part for part in components(apart) if part.sum() >= _LEAST_AREA]
    nobody = np.zeros_like(whole)
    inner = [read_blob(around, part, nobody) for part in found]
    shape, x, y, r, misfit = fit_shape(blurred(whole.astype(np.float32)))
    outer = replace(
        blobs[0],
        shape=shape,
        x=x,
        y=y,
        r=r,
        misfit=misfit,
        color=COLORS[int(counts.argmax())],
        purity=float(counts.max() / counts.sum()),
    )
    return [outer, *inner], inner[0] if len(inner) == 1 else None


def read_layers(sight: Sight) -> tuple[list[Blob], Blob | None]:
    """Returns the objects of a drawing, and the one that hides part of another, or None."""
    blobs = find_blobs(sight)
    if len(blobs) != 1:
        return blobs, None
    parts = _by_color(sight, blobs[0].mask)
    if len(parts) < 2:
        return blobs, None
    if len(parts) > 2:
        return [_upper(sight, color, part) for color, part in parts], None
    uppers = [_upper(sight, color, part) for color, part in parts]
    # The front object is whole, so it fits its shape better than the one that is partly hidden.
    front = min(
        (0, 1),
        key=lambda place: uppers[place].misfit * uppers[place].r / _ROUGHNESS[uppers[place].shape],
    )
    upper, lower = uppers[front], _lower(*parts[1 - front], parts[front][1])
    gx, gy = coordinates((slice(0, SIDE), slice(0, SIDE)))
    behind = distance(lower.shape, gx - lower.x, gy - lower.y, lower.r) < 0
    hidden = (behind & upper.mask).sum() / max(behind.sum(), 1)
    return [upper, lower], upper if hidden > 0.06 else None


def _by_color(sight: Sight, whole: Array) -> list[tuple[int, Array]]:
    """Returns the single-colored parts of `whole`, without the thin seams between them."""
    parts = _solid(colors_on(sight.smooth, sight.paper)[0], whole)
    among = sorted({color for color, _ in parts})
    if len(among) == 2:
        # Shaded edges and seams look like a third color; they belong to one of the two.
        parts = _solid(colors_on(sight.smooth, sight.paper, among)[0], whole)
    return [(color, filled(part)) for color, part in parts]


def _solid(labels: Array, whole: Array) -> list[tuple[int, Array]]:
    return [
        (color, part)
        for color in range(len(COLORS))
        for part in components((labels == color) & whole)
        if eroded(eroded(part)).sum() >= 10
    ]


def _upper(sight: Sight, color: int, part: Array) -> Blob:
    shape, x, y, r, misfit = fit_shape(blurred(part.astype(np.float32)))
    return Blob(shape, COLORS[color], "plain", x, y, r, misfit, 1.0, part)


def _lower(color: int, part: Array, front: Array) -> Blob:
    """Returns the shape that, partly hidden by `front`, explains `part` best."""
    seen = ~dilated(dilated(front))
    rows, columns = np.nonzero(part)
    # Pixels farther off cannot belong to it.
    seen[: max(rows.min() - 8, 0)] = seen[rows.max() + 9 :] = False
    seen[:, : max(columns.min() - 8, 0)] = seen[:, columns.max() + 9 :] = False
    x0, y0 = columns.mean() + 0.5, rows.mean() + 0.5
    best = ("circle", x0, y0, 10.0, math.inf)
    for shape in SHAPES:
        fit = _search(shape, part, seen, (x0, y0, 10.8), (2.0, 1.1), (3, 2), 3)
        fit = _search(shape, part, seen, fit[:3], (1.2, 0.8), (1, 1), 2)
        fit = _search(shape, part, seen, fit[:3], (0.8, 0.45), (1, 1), 1)
        fit = _search(shape, part, seen, fit[:3], (0.4, 0.2), (1, 1), 1)
        if fit[3] < best[4]:
            best = (shape, *fit)
    shape, x, y, r, misfit = best
    return Blob(shape, COLORS[color], "plain", x, y, r, misfit, 1.0, part)


def _search(
    shape: str,
    part: Array,
    seen: Array,
    start: tuple[float, ...],
    steps: tuple[float, float],
    reach: tuple[int, int],
    stride: int,
) -> tuple[float, float, float, float]:
    """Returns the best (x, y, r) on a grid around `start`, and its misfit."""
    x0, y0, r0 = start
    shifts = np.arange(-reach[0], reach[0] + 1) * steps[0]
    radii = r0 + np.arange(-reach[1], reach[1] + 1) * steps[1]
    xs, ys, rs = (
        axis.reshape(-1, 1).astype(np.float32)
        for axis in np.meshgrid(x0 + shifts, y0 + shifts, radii)
    )
    gx, gy = coordinates((slice(0, SIDE, stride), slice(0, SIDE, stride)))
    use = seen[::stride, ::stride]
    gx, gy, shown = gx[use], gy[use], part[::stride, ::stride][use].astype(np.float32)
    cover = np.clip(0.5 - distance(shape, gx - xs, gy - ys, rs) / 1.6, 0, 1)
    misfits = np.abs(cover - shown).sum(axis=1) / max(float(shown.sum()), 1.0)
    at = int(misfits.argmin())
    return float(xs[at, 0]), float(ys[at, 0]), float(rs[at, 0]), float(misfits[at])
