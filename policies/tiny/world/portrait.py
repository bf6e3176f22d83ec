"""Paints faces.

Invariant: hair, glasses, hat and mouth each cover pixels of their own, so that each can be read.
"""

from __future__ import annotations

import numpy as np

from policies.tiny.world.scene import Object
from policies.tiny.world.shapes import INK, PALETTE, Canvas, coordinates, mixed

SKIN = (244, 204, 170)
_LENS, _MOUTH, _SHIRT = (196, 228, 244), (150, 40, 48), (96, 112, 138)


def face(canvas: Canvas, it: Object) -> None:
    """Paints a face; (x, y) is its middle, `r` its radius."""
    x, y, r = it.x, it.y, it.r
    hair = PALETTE[it.traits["hair"]]
    canvas.ellipse(x, 52, 1.35 * r, 53 - y - 0.85 * r, _SHIRT)
    where = canvas.around(x, y - 1, r + 5)
    gx, gy = coordinates(where)
    dx, dy = gx - x, gy - y
    mane = np.hypot(dx, dy + 1.5) - (r + 4.2)
    canvas.paint(where, np.maximum(mane, dy - 0.5 * r), hair)
    disc = np.hypot(dx, dy) - r
    canvas.paint(where, disc, SKIN)
    canvas.paint(where, np.maximum(disc - 0.5, dy + 0.42 * r), hair)
    _eyes(canvas, it)
    _mouth(canvas, it)
    if "hat" in it.traits:
        color = PALETTE[it.traits["hat"]]
        canvas.box(x - 0.72 * r, y - 1.5 * r, x + 0.72 * r, y - 0.66 * r, color)
        canvas.box(x - 1.32 * r, y - 0.86 * r, x + 1.32 * r, y - 0.5 * r, mixed(color, INK, 0.12))


def _eyes(canvas: Canvas, it: Object) -> None:
    x, y, r = it.x, it.y, it.r
    if "glasses" in it.traits:
        canvas.box(x - 0.95 * r, y - 1.2, x + 0.95 * r, y + 1.2, INK)
        for side in (-1, 1):
            canvas.disc(x + side * 0.43 * r, y, 0.39 * r, INK)
            canvas.disc(x + side * 0.43 * r, y, 0.24 * r, _LENS)
    for side in (-1, 1):
        canvas.disc(x + side * 0.43 * r, y, 1.6, INK)


def _mouth(canvas: Canvas, it: Object) -> None:
    x, y, r = it.x, it.y, it.r
    expression = it.traits["expression"]
    if expression == "surprised":
        canvas.ellipse(x, y + 0.6 * r, 0.24 * r, 0.28 * r, _MOUTH)
        return
    # A smile is the lower part of a ring around a point above the mouth; a sad one is mirrored.
    sign = 1 if expression == "smiling" else -1
    middle = y + (0.34 if sign > 0 else 1.0) * r
    where = canvas.window(x - 0.7 * r, y + 0.2 * r, x + 0.7 * r, y + r)
    gx, gy = coordinates(where)
    dx, dy = gx - x, sign * (gy - middle)
    ring = np.abs(np.hypot(dx, dy) - 0.44 * r) - 1.35
    canvas.paint(where, np.maximum(ring, 0.12 * r - dy), _MOUTH)
