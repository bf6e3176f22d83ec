"""Paints a scene onto 48 x 48 pixels.

Invariant: the picture depends on the scene alone.
"""

from __future__ import annotations

import numpy as np

from policies.tiny.world import motifs, portrait
from policies.tiny.world.scene import SIDE, Image, Object, Scene
from policies.tiny.world.shapes import (
    INK,
    PALETTE,
    REACH,
    WHITE,
    Canvas,
    Color,
    coordinates,
    distance,
    mixed,
)

NEON_DARK: Color = (18, 14, 34)
PERIOD = 8
"""The period of stripes, dots and tiles: an image token's width, so one token repeats."""

_MOTIFS = {
    "flag": motifs.flag,
    "plant": motifs.plant,
    "house": motifs.house,
    "letter": motifs.letter,
    "sign": motifs.sign,
    "moon": motifs.moon,
    "thermometer": motifs.thermometer,
    "flower": motifs.flower,
    "face": portrait.face,
}
SKIES: dict[str, tuple[Color, Color]] = {
    "morning": ((255, 234, 192), (176, 206, 140)),
    "noon": ((160, 212, 246), (140, 196, 118)),
    "evening": ((232, 184, 206), (134, 150, 122)),
    "night": ((26, 30, 66), (42, 62, 62)),
}
"""The colors of the sky and of the ground at each time of day."""

_TABLE: Color = (214, 196, 172)


def render(scene: Scene) -> Image:
    """Returns the scene's pixels, uint8 [48, 48, 3]."""
    canvas = Canvas(scene.paper)
    if scene.style == "mosaic":
        _tile(canvas)
    if scene.time:
        _sky(canvas, scene.time)
    if scene.ground:
        ground = SKIES[scene.time][1] if scene.time else _TABLE
        canvas.pixels[motifs.GROUND :] = ground
    for it in scene.objects:
        if it.kind in _MOTIFS:
            _MOTIFS[it.kind](canvas, it)
        else:
            _shape(canvas, it, scene.style)
    return canvas.finished()


def _sky(canvas: Canvas, time: str) -> None:
    canvas.pixels[:] = SKIES[time][0]
    if time == "morning":
        canvas.disc(7.5, 14, 5.2, (255, 176, 40))
    elif time == "noon":
        canvas.disc(24, 4.5, 5.2, (255, 226, 60))
    elif time == "evening":
        canvas.disc(40.5, 15, 5.2, (236, 84, 48))
    else:
        canvas.disc(40, 8, 5, motifs.MOON)
        canvas.disc(37.5, 6.8, 4.4, SKIES["night"][0])


def _shape(canvas: Canvas, it: Object, style: str) -> None:
    where = canvas.around(it.x, it.y, REACH[it.kind] * it.r + 4)
    gx, gy = coordinates(where)
    d = distance(it.kind, gx - it.x, gy - it.y, it.r)
    color = PALETTE[it.traits["color"]]
    if style == "line drawing":
        canvas.paint(where, d + 1.4, WHITE)
        canvas.paint(where, np.abs(d) - 1.6, color)
    elif style == "neon":
        glow = 0.5 * np.exp(-np.square(np.maximum(np.abs(d) - 1, 0)) / 6)
        canvas.blend(where, glow, mixed(color, NEON_DARK, 0.2))
        canvas.paint(where, np.abs(d) - 1.7, mixed(color, WHITE, 0.12))
    elif style == "mosaic":
        # Darker tiles would turn yellow into orange.
        pale = (1 - _TILES[where])[..., None] * 1.2
        canvas.paint(where, d, (1 - pale) * np.asarray(color) + pale * np.asarray(WHITE))
    else:
        canvas.paint(where, d, mixed(color, INK, 0.22))
        canvas.paint(where, d + 1.3, _textured(it, where, color))


def _textured(it: Object, where: tuple[slice, slice], color: Color) -> Color | np.ndarray:
    texture = it.traits.get("texture")
    if texture is None:
        return color
    pale = np.asarray(mixed(color, WHITE, 0.8), np.float32)
    cover = (_STRIPES if texture == "striped" else _DOTS)[where][..., None]
    return cover * pale + (1 - cover) * np.asarray(color, np.float32)


def _tile(canvas: Canvas) -> None:
    canvas.pixels *= _TILES[..., None]


def _patterns() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns stripes, dots and the brightness of mosaic tiles, all [48, 48]."""
    x, y = coordinates((slice(0, SIDE), slice(0, SIDE)))
    across = np.abs((x + y) % PERIOD - PERIOD / 2) * 0.7071
    stripes = np.clip(across - 1.41 + 0.5, 0, 1)
    half = PERIOD / 2
    near = np.hypot(x % PERIOD - half, y % PERIOD - half)
    corner = np.hypot((x + half) % PERIOD - half, (y + half) % PERIOD - half)
    dots = np.clip(2.0 - np.minimum(near, corner) + 0.5, 0, 1)
    checks = (np.floor(x / half) + np.floor(y / half)) % 2
    return stripes, dots, 1.0 - 0.24 * checks


_STRIPES, _DOTS, _TILES = (pattern.astype(np.float32) for pattern in _patterns())
