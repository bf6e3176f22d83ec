"""Colors and signed distances, with which every drawing is painted.

Invariant: a shape's distance is negative inside it, and shapes of one `r` look equally large.
"""

from __future__ import annotations

import math

import numpy as np

from policies.tiny.world.scene import SIDE, Color

Array = np.ndarray

PALETTE: dict[str, Color] = {
    "red": (214, 36, 52),
    "green": (38, 158, 74),
    "blue": (38, 92, 224),
    "yellow": (250, 212, 40),
    "purple": (150, 66, 190),
    "orange": (242, 124, 26),
}
PAPERS: tuple[Color, ...] = (
    (251, 249, 245),
    (236, 242, 250),
)
INK: Color = (44, 42, 56)
WHITE: Color = (252, 252, 250)

_GRID_Y, _GRID_X = (axis.astype(np.float32) + 0.5 for axis in np.mgrid[0:SIDE, 0:SIDE])
_SQUARE, _TRIANGLE, _STAR, _CROSS, _ARM = 0.9, 1.26, 1.28, 1.08, 0.4
_INNER = 0.44 * _STAR
_COS36, _SIN36 = math.cos(math.pi / 5), math.sin(math.pi / 5)

AREAS: dict[str, float] = {
    "circle": math.pi,
    "square": 4 * _SQUARE**2,
    "triangle": 3 * math.sqrt(3) / 4 * _TRIANGLE**2,
    "star": 5 * _STAR * _INNER * _SIN36,
    "cross": 8 * _CROSS * _ARM - 4 * _ARM**2,
}
"""The area of each shape with r = 1."""

REACH: dict[str, float] = {
    "circle": 1.0,
    "square": _SQUARE,
    "triangle": _TRIANGLE,
    "star": _STAR,
    "cross": _CROSS,
}
"""How far each shape with r = 1 reaches from its centre along x or y."""
ROUND: dict[str, float] = {
    "circle": 1.0,
    "square": _SQUARE * 1.4142,
    "triangle": _TRIANGLE,
    "star": _STAR,
    "cross": 1.16,
}
"""The radius of the circle around each shape with r = 1."""


def distance(shape: str, dx: Array, dy: Array, r: float) -> Array:
    """Returns the signed distance in pixels to the outline of `shape`, centred at the origin."""
    if shape == "circle":
        return np.hypot(dx, dy) - r
    ax, ay = np.abs(dx), np.abs(dy)
    if shape == "square":
        return np.maximum(ax, ay) - _SQUARE * r
    if shape == "triangle":
        return np.maximum(dy, 0.8660254 * ax - 0.5 * dy) - 0.5 * _TRIANGLE * r
    if shape == "cross":
        near, far = np.minimum(ax, ay), np.maximum(ax, ay)
        return np.maximum(near - _ARM * r, far - _CROSS * r)
    return _star_distance(dx, dy, r)


def _star_distance(dx: Array, dy: Array, r: float) -> Array:
    step = 2 * math.pi / 5
    turn = np.arctan2(dx, -dy)
    turn -= step * np.rint(turn / step)
    length = np.hypot(dx, dy)
    along, across = length * np.cos(turn), length * np.abs(np.sin(turn))
    tip, notch_x, notch_y = _STAR * r, _INNER * r * _COS36, _INNER * r * _SIN36
    edge = ((tip - notch_x) ** 2 + notch_y**2) ** 0.5
    # Without the cap, an outline around the tips would grow into long spikes.
    return np.maximum(((along - tip) * notch_y + across * (tip - notch_x)) / edge, length - tip)


class Canvas:
    """Float pixels [48, 48, 3] that coverage masks are painted on."""

    def __init__(self, paper: Color) -> None:
        self.pixels = np.empty((SIDE, SIDE, 3), np.float32)
        self.pixels[:] = paper

    def window(self, x0: float, y0: float, x1: float, y1: float) -> tuple[slice, slice]:
        """Returns the rows and columns that a box touches, with a pixel to spare."""
        return (
            slice(max(int(y0) - 2, 0), max(min(int(y1) + 3, SIDE), 0)),
            slice(max(int(x0) - 2, 0), max(min(int(x1) + 3, SIDE), 0)),
        )

    def around(self, x: float, y: float, reach: float) -> tuple[slice, slice]:
        return self.window(x - reach, y - reach, x + reach, y + reach)

    def paint(self, where: tuple[slice, slice], d: Array, color: Color | Array) -> None:
        """Fills the area where the signed distance `d` is negative; edges are antialiased."""
        self.blend(where, np.minimum(np.maximum(0.5 - d, 0.0), 1.0), color)

    def blend(self, where: tuple[slice, slice], cover: Array, color: Color | Array) -> None:
        part = self.pixels[where]
        part += cover[..., None] * (np.asarray(color, np.float32) - part)

    def disc(self, x: float, y: float, r: float, color: Color) -> None:
        where = self.around(x, y, r)
        gx, gy = coordinates(where)
        self.paint(where, np.hypot(gx - x, gy - y) - r, color)

    def ellipse(self, x: float, y: float, rx: float, ry: float, color: Color) -> None:
        where = self.window(x - rx, y - ry, x + rx, y + ry)
        gx, gy = coordinates(where)
        scaled = np.hypot((gx - x) / rx, (gy - y) / ry)
        self.paint(where, (scaled - 1) * min(rx, ry), color)

    def box(self, x0: float, y0: float, x1: float, y1: float, color: Color) -> None:
        where = self.window(x0, y0, x1, y1)
        gx, gy = coordinates(where)
        d = np.maximum(
            np.abs(gx - (x0 + x1) / 2) - (x1 - x0) / 2, np.abs(gy - (y0 + y1) / 2) - (y1 - y0) / 2
        )
        self.paint(where, d, color)

    def polygon(self, points: list[tuple[float, float]], color: Color) -> None:
        """Paints a convex polygon, its corners clockwise as seen."""
        xs, ys = zip(*points, strict=True)
        where = self.window(min(xs), min(ys), max(xs), max(ys))
        gx, gy = coordinates(where)
        d = np.full(gx.shape, -np.inf, np.float32)
        for (x0, y0), (x1, y1) in zip(points, points[1:] + points[:1], strict=True):
            length = math.hypot(x1 - x0, y1 - y0)
            d = np.maximum(d, ((gx - x0) * (y1 - y0) - (gy - y0) * (x1 - x0)) / length)
        self.paint(where, d, color)

    def line(self, x0: float, y0: float, x1: float, y1: float, r: float, color: Color) -> None:
        """Paints a stroke of half-width `r` with round ends."""
        where = self.window(min(x0, x1) - r, min(y0, y1) - r, max(x0, x1) + r, max(y0, y1) + r)
        gx, gy = coordinates(where)
        vx, vy = x1 - x0, y1 - y0
        t = np.clip(((gx - x0) * vx + (gy - y0) * vy) / max(vx * vx + vy * vy, 1e-6), 0, 1)
        self.paint(where, np.hypot(gx - x0 - t * vx, gy - y0 - t * vy) - r, color)

    def finished(self) -> Array:
        return np.clip(self.pixels + 0.5, 0, 255).astype(np.uint8)


def coordinates(where: tuple[slice, slice]) -> tuple[Array, Array]:
    """Returns the x and y of the pixel centres in a window."""
    return _GRID_X[where], _GRID_Y[where]


def mixed(color: Color, other: Color, share: float) -> Color:
    """Returns `color` mixed with `share` (0 to 1) of `other`."""
    red, green, blue = ((1 - share) * a + share * b for a, b in zip(color, other, strict=True))
    return red, green, blue
