"""Finds plain objects in pixels: their places, shapes, colors and textures.

Invariant: only pixels are read. A blob gets the shape whose drawing at the blob's own centre and
area differs least from it; `misfit` is that difference as a share of the area.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from policies.tiny.world.lexicon import COLORS, SHAPES
from policies.tiny.world.scene import Color
from policies.tiny.world.shapes import AREAS, PALETTE, WHITE, coordinates, distance

Array = np.ndarray

PALETTE_ROWS = np.array([PALETTE[name] for name in COLORS], np.float32)
_MASKED = {"line drawing": 2, "neon": 2, "mosaic": 0}
"""Styles whose objects are read by their mask alone, and how many pixels it exceeds the shape."""

_LEAST_AREA = 22
_CONTRAST = 78.0
"""The least distance in color from the paper to an object: half way to the palest color."""


@dataclass(frozen=True)
class Blob:
    """An object as it was read; `x`, `y` and `r` in pixels, `mask` bool [48, 48]."""

    shape: str
    color: str
    texture: str
    x: float
    y: float
    r: float
    misfit: float
    purity: float
    """The share of the blob's pixels that have its color."""
    mask: Array


class Sight:
    """A drawing prepared for reading: its pixels, the same without noise, and its paper."""

    def __init__(self, pixels: Array) -> None:
        self.raw = pixels.astype(np.float32)
        self.smooth = blurred(self.raw)
        self.paper = paper_of(self.smooth)


def blurred(pixels: Array) -> Array:
    """Blurs rows and columns lightly (binomially) to remove noise."""
    rows = 2 * pixels
    rows[1:] += pixels[:-1]
    rows[:-1] += pixels[1:]
    rows[0] += pixels[0]
    rows[-1] += pixels[-1]
    both = 2 * rows
    both[:, 1:] += rows[:, :-1]
    both[:, :-1] += rows[:, 1:]
    both[:, 0] += rows[:, 0]
    both[:, -1] += rows[:, -1]
    return both / 16


def paper_of(pixels: Array) -> Array:
    """Returns the color along the border, which objects seldom touch."""
    edge = np.concatenate(
        [
            pixels[:2].reshape(-1, 3),
            pixels[-2:].reshape(-1, 3),
            pixels[:, :2].reshape(-1, 3),
            pixels[:, -2:].reshape(-1, 3),
        ]
    )
    return np.sort(edge, axis=0)[len(edge) // 2]


def components(mask: Array) -> list[Array]:
    """Returns the 4-connected parts of a boolean mask, each as a mask."""
    wide = np.zeros((mask.shape[0], mask.shape[1] + 2), bool)
    wide[:, 1:-1] = mask
    rows, starts = np.nonzero(wide[:, 1:] & ~wide[:, :-1])
    ends = np.nonzero(wide[:, :-1] & ~wide[:, 1:])[1]
    runs = list(zip(rows.tolist(), starts.tolist(), ends.tolist(), strict=True))
    parent = list(range(len(runs)))

    def root(at: int) -> int:
        while parent[at] != at:
            parent[at] = parent[parent[at]]
            at = parent[at]
        return at

    above = 0
    for at, (row, start, end) in enumerate(runs):
        while runs[above][0] < row - 1 or (runs[above][0] == row - 1 and runs[above][2] <= start):
            above += 1
        other = above
        while other < at and runs[other][0] == row - 1 and runs[other][1] < end:
            parent[root(at)] = root(other)
            other += 1
    found: dict[int, Array] = {}
    for at, (row, start, end) in enumerate(runs):
        part = found.setdefault(root(at), np.zeros(mask.shape, bool))
        part[row, start:end] = True
    return list(found.values())


def filled(mask: Array) -> Array:
    """Returns `mask` with its holes, which cannot be reached from the border, filled."""
    holes = [
        part
        for part in components(~mask)
        if not (part[0].any() or part[-1].any() or part[:, 0].any() or part[:, -1].any())
    ]
    return mask | np.any(holes, axis=0) if holes else mask


def eroded(mask: Array) -> Array:
    inner = np.zeros_like(mask)
    inner[1:-1, 1:-1] = (
        mask[1:-1, 1:-1] & mask[:-2, 1:-1] & mask[2:, 1:-1] & mask[1:-1, :-2] & mask[1:-1, 2:]
    )
    return inner


def dilated(mask: Array) -> Array:
    outer = mask.copy()
    outer[1:] |= mask[:-1]
    outer[:-1] |= mask[1:]
    outer[:, 1:] |= mask[:, :-1]
    outer[:, :-1] |= mask[:, 1:]
    return outer


def find_blobs(sight: Sight, style: str = "plain") -> list[Blob]:
    """Returns the separate objects of a drawing."""
    apart = np.linalg.norm(sight.smooth - sight.paper, axis=2)
    # The glow of neon is a weak copy of its outline.
    foreground = apart > (1.6 if style == "neon" else 1.0) * _CONTRAST
    return [
        read_blob(sight, part, foreground & ~part, style)
        for part in components(foreground)
        if part.sum() >= _LEAST_AREA
    ]


def nearest_color(pixels: Array) -> Array:
    """Returns the index in COLORS of the color nearest to each pixel [..., 3]."""
    return np.argmin(np.square(pixels[..., None, :] - PALETTE_ROWS).sum(axis=-1), axis=-1)


def read_blob(sight: Sight, part: Array, others: Array, style: str = "plain") -> Blob:
    """Returns what `part`, one connected mask, shows; pixels in `others` are not read."""
    whole = filled(part)
    color, purity = _color(sight, part)
    if style in _MASKED:
        inner = whole
        for _ in range(_MASKED[style]):
            inner = eroded(inner)
        cover = blurred(inner.astype(np.float32))
    else:
        cover = _cover(sight, whole, others, PALETTE[color])
    shape, x, y, r, misfit = fit_shape(cover)
    texture = "plain" if style in _MASKED else _texture(sight, whole, PALETTE[color])
    return Blob(shape, color, texture, x, y, r, misfit, purity, whole)


def _color(sight: Sight, part: Array) -> tuple[str, float]:
    core = eroded(part)
    if core.sum() < 6:
        core = part
    return color_of(sight.smooth[core], sight.paper)


def color_of(pixels: Array, paper: Array) -> tuple[str, float]:
    """Returns the color of most of `pixels` [n, 3], pure or mixed with paper, and their share."""
    nearest, strength = colors_on(pixels, paper)
    counts = np.bincount(nearest[strength > 0.6], minlength=len(COLORS))
    best = int(counts.argmax())
    return COLORS[best], float(counts[best] / max(counts.sum(), 1))


def colors_on(
    pixels: Array, paper: Array, among: Sequence[int] = range(len(COLORS))
) -> tuple[Array, Array]:
    """Returns the index in COLORS of each pixel's color, and its share of color rather than paper.

    A soft edge or a pale stripe lies between a color and the paper, where other colors may be
    nearer; so each pixel is compared with the whole line from the paper to each color.
    """
    flat = pixels.reshape(-1, 3)
    ways = PALETTE_ROWS[list(among)] - paper
    share = np.clip((flat - paper) @ ways.T / np.square(ways).sum(axis=1), 0.5, 1.1)
    off = np.square(flat[:, None] - paper - share[..., None] * ways).sum(axis=2)
    nearest = off.argmin(axis=1)
    strength = share[np.arange(len(flat)), nearest]
    nearest = np.asarray(among)[nearest]
    return nearest.reshape(pixels.shape[:-1]), strength.reshape(pixels.shape[:-1])


def _cover(sight: Sight, whole: Array, others: Array, color: Color) -> Array:
    """Returns how much of each pixel the object covers, [48, 48] from 0 to 1."""
    axis = np.asarray(color, np.float32) - sight.paper
    share = np.clip((sight.smooth - sight.paper) @ axis / (axis @ axis), 0, 1)
    near = dilated(whole) & ~dilated(others) | whole
    # Inside, pale stripes belong to the object; a small object's mask is rounder than the object.
    inside = eroded(whole) if whole.sum() > 150 else eroded(eroded(whole))
    return np.where(inside, 1, np.where(near, share, 0))


def fit_shape(cover: Array) -> tuple[str, float, float, float, float]:
    """Returns the shape, centre, radius and misfit that explain `cover` best."""
    ys, xs = np.nonzero(cover > 0.02)
    if not len(ys):
        return "circle", 0.0, 0.0, 0.0, math.inf
    where = (slice(max(ys.min() - 4, 0), ys.max() + 5), slice(max(xs.min() - 4, 0), xs.max() + 5))
    part = cover[where]
    gx, gy = coordinates(where)
    area = float(part.sum())
    x, y = float((part * gx).sum()) / area, float((part * gy).sum()) / area
    dx, dy = gx - x, gy - y
    best = ("", x, y, 0.0, math.inf)
    for shape in SHAPES:
        r = math.sqrt(area / AREAS[shape])
        soft = 0.5 - distance(shape, dx, dy, r) / 1.6
        drawn = blurred(np.minimum(np.maximum(soft, 0.0), 1.0))
        misfit = float(np.abs(drawn - part).sum()) / area
        if misfit < best[-1]:
            best = (shape, x, y, r, misfit)
    return best


def _texture(sight: Sight, whole: Array, color: Color) -> str:
    inside = eroded(eroded(whole))
    if inside.sum() < 40:
        return "plain"
    base = np.asarray(color, np.float32)
    axis = np.asarray(WHITE, np.float32) - base
    pale = (sight.raw[inside] - base) @ axis / (axis @ axis)
    pale -= pale.mean()
    ys, xs = np.nonzero(inside)
    # Stripes have one diagonal wave, dots have both, a plain object has none.
    waves = [abs((pale * np.exp(2j * np.pi * (xs + sign * ys) / 8)).mean()) for sign in (1, -1)]
    if max(waves) < 0.05:
        return "plain"
    ratio = waves[0] / max(waves[1], 1e-6)
    if ratio > 4.2:
        return "striped"
    return "dotted" if ratio < 1.4 else "mixed"
