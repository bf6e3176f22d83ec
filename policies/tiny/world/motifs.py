"""Paints motifs: flags, plants, houses, letters, moons, thermometers, flowers.

Invariant: a motif is drawn from its place, scale and traits alone. Every stroke that carries a fact
is at least three pixels wide, so that an 8-pixel image token can hold it.
"""

from __future__ import annotations

import math

import numpy as np

from policies.tiny.world.scene import Object
from policies.tiny.world.shapes import INK, PALETTE, WHITE, Canvas, coordinates, mixed

GROUND = 41
"""The row at which the ground begins under plants and houses."""

_R, _G, _B, _Y, _O = (PALETTE[name] for name in ("red", "green", "blue", "yellow", "orange"))
_BLACK = (30, 28, 32)
FLAGS: dict[str, tuple[str, tuple]] = {
    "france": ("columns", (_B, WHITE, _R)),
    "italy": ("columns", (_G, WHITE, _R)),
    "ireland": ("columns", (_G, WHITE, _O)),
    "germany": ("rows", (_BLACK, _R, _Y)),
    "russia": ("rows", (WHITE, _B, _R)),
    "austria": ("rows", (_R, WHITE, _R)),
    "poland": ("rows", (WHITE, _R)),
    "ukraine": ("rows", (_B, _Y)),
    "japan": ("disc", (WHITE, _R)),
    "sweden": ("nordic", (_B, _Y)),
}
GLYPHS: dict[str, tuple[str, ...]] = {
    "a": (".##.", "#..#", "####", "#..#", "#..#"),
    "b": ("###.", "#..#", "###.", "#..#", "###."),
    "c": (".###", "#...", "#...", "#...", ".###"),
    "e": ("####", "#...", "###.", "#...", "####"),
    "h": ("#..#", "#..#", "####", "#..#", "#..#"),
    "l": ("#...", "#...", "#...", "#...", "####"),
    "n": ("##.#", "##.#", "#.##", "#.##", "#..#"),
    "o": (".##.", "#..#", "#..#", "#..#", ".##."),
    "p": ("###.", "#..#", "###.", "#...", "#..."),
    "s": (".###", "#...", ".##.", "...#", "###."),
    "t": ("####", "####", ".##.", ".##.", ".##."),
    "u": ("#..#", "#..#", "#..#", "#..#", "####"),
}
BITS = {
    name: np.array([[c == "#" for c in row] for row in rows], np.float32)
    for name, rows in GLYPHS.items()
}
SOIL, LEAF, BLOOM = (104, 66, 40), (62, 150, 60), (238, 96, 150)
SKIN = (244, 204, 170)
POLE = (114, 99, 88)
MOON, SHADE = (244, 236, 200), (74, 80, 116)


def flag(canvas: Canvas, it: Object) -> None:
    """Paints a flag; (x, y) is the middle of the cloth, `r` half its width."""
    wide, high = it.r, it.r * 0.66
    left, top = it.x - wide, it.y - high
    if "pole" in it.traits:
        canvas.line(left - 2.5, top - 2.5, left - 2.5, 46, 1.9, POLE)
    canvas.box(left - 1.4, top - 1.4, it.x + wide + 1.4, it.y + high + 1.4, INK)
    pattern, colors = FLAGS[it.traits["flag"]]
    canvas.box(left, top, it.x + wide, it.y + high, colors[0])
    if pattern == "disc":
        canvas.disc(it.x, it.y, high * 0.62, colors[1])
    elif pattern == "nordic":
        canvas.box(left, it.y - high * 0.24, it.x + wide, it.y + high * 0.24, colors[1])
        canvas.box(left + wide * 0.56, top, left + wide * 0.92, it.y + high, colors[1])
    for place, color in enumerate(colors[1:], 1):
        if pattern == "columns":
            canvas.box(left + 2 * wide * place / 3, top, it.x + wide, it.y + high, color)
        elif pattern == "rows":
            canvas.box(left, top + 2 * high * place / len(colors), it.x + wide, it.y + high, color)


def plant(canvas: Canvas, it: Object) -> None:
    """Paints a potted plant; (x, y) is the middle of the pot's foot."""
    x, foot, s = it.x, it.y, it.r
    top, pot = foot - 13 * s, PALETTE[it.traits["color"]]
    stage = it.traits["stage"]
    if stage == "sprout":
        canvas.line(x, top, x, top - 7 * s, 1.5, LEAF)
        canvas.ellipse(x - 4 * s, top - 8 * s, 4.2 * s, 2.6 * s, LEAF)
        canvas.ellipse(x + 4 * s, top - 8 * s, 4.2 * s, 2.6 * s, LEAF)
    elif stage == "bush":
        for dx, dy, r in ((-6, -5, 6), (6, -5, 6), (0, -9.5, 7)):
            canvas.disc(x + dx * s, top + dy * s, r * s, LEAF)
    elif stage == "flower":
        canvas.line(x, top, x, top - 9 * s, 1.5, LEAF)
        canvas.ellipse(x - 4 * s, top - 3 * s, 3.6 * s, 2.2 * s, LEAF)
        for turn in range(5):
            angle = 2 * math.pi * turn / 5
            canvas.disc(
                x + 4.6 * s * math.sin(angle),
                top - 12 * s - 4.6 * s * math.cos(angle),
                3.6 * s,
                BLOOM,
            )
        canvas.disc(x, top - 12 * s, 2.8 * s, _Y)
    canvas.polygon(
        [(x - 9 * s, top), (x + 9 * s, top), (x + 6.5 * s, foot), (x - 6.5 * s, foot)], pot
    )
    canvas.box(x - 10 * s, top, x + 10 * s, top + 4 * s, mixed(pot, WHITE, 0.18))
    canvas.box(x - 8.5 * s, top - 1.2, x + 8.5 * s, top + 0.8, SOIL)
    if stage == "seed":
        canvas.ellipse(x, top - 2.6 * s, 4.6 * s, 3.4 * s, (176, 112, 58))


def house(canvas: Canvas, it: Object) -> None:
    """Paints a house; (x, y) is the middle of its foot."""
    x, foot, s = it.x, it.y, it.r
    wall, eaves = PALETTE[it.traits["color"]], foot - 16 * s
    canvas.box(x + 4 * s, eaves - 10 * s, x + 8 * s, eaves - 2 * s, (120, 84, 76))
    canvas.box(x - 12 * s, eaves, x + 12 * s, foot, wall)
    canvas.polygon(
        [(x - 14.5 * s, eaves), (x, eaves - 12 * s), (x + 14.5 * s, eaves)], (98, 70, 72)
    )
    door = PALETTE[it.traits["door"]] if "door" in it.traits else (246, 240, 230)
    canvas.box(x - 8.5 * s, foot - 11 * s, x - 1.5 * s, foot, door)
    lit = _Y if it.traits.get("time") == "night" else (206, 232, 246)
    canvas.box(x + 2.5 * s, foot - 12 * s, x + 9 * s, foot - 5.5 * s, WHITE)
    canvas.box(x + 3.5 * s, foot - 11 * s, x + 8 * s, foot - 6.5 * s, lit)


def letter(canvas: Canvas, it: Object) -> None:
    """Paints a letter; (x, y) is its top left corner, `r` the side of one of its 4 x 5 cells."""
    size = it.r
    where = canvas.window(it.x, it.y, it.x + 4 * size, it.y + 5 * size)
    gx, gy = coordinates(where)
    across = overlap(gx[0] - it.x, size, 4)
    down = overlap(gy[:, 0] - it.y, size, 5)
    bits = BITS[it.traits["letter"]]
    canvas.blend(where, down.T @ bits @ across, PALETTE[it.traits["color"]])


def overlap(at: np.ndarray, size: float, cells: int) -> np.ndarray:
    """Returns how much of each pixel lies in each cell, [cells, pixels]."""
    start = (np.arange(cells, dtype=np.float32) * size)[:, None]
    return np.clip(np.minimum(at + 0.5, start + size) - np.maximum(at - 0.5, start), 0, 1)


def sign(canvas: Canvas, it: Object) -> None:
    """Paints a sign as wide as the drawing; (x, y) is its middle, `r` half its height."""
    canvas.box(it.x - 2.5, it.y, it.x + 2.5, 48, POLE)
    canvas.box(-1, it.y - it.r - 2.5, 49, it.y + it.r + 2.5, POLE)
    canvas.box(-1, it.y - it.r, 49, it.y + it.r, WHITE)


def moon(canvas: Canvas, it: Object) -> None:
    where = canvas.around(it.x, it.y, it.r)
    gx, gy = coordinates(where)
    dx, dy = gx - it.x, gy - it.y
    disc = np.hypot(dx, dy) - it.r
    canvas.paint(where, disc, SHADE)
    phase = it.traits["phase"]
    if phase == "full":
        canvas.paint(where, disc, MOON)
    elif phase == "half":
        canvas.paint(where, np.maximum(disc, -dx), MOON)
    elif phase == "crescent":
        bite = np.hypot(dx + 0.55 * it.r, dy) - 1.05 * it.r
        canvas.paint(where, np.maximum(disc, -bite), MOON)


def thermometer(canvas: Canvas, it: Object) -> None:
    """Paints a thermometer; (x, y) is the middle of the bulb, the tube rises 28 * `r` pixels."""
    x, y, s = it.x, it.y, it.r
    glass, ink = (250, 252, 255), (96, 104, 122)
    top = y - 28 * s
    canvas.line(x, y, x, top, 5.2 * s, ink)
    canvas.disc(x, y, 8 * s, ink)
    canvas.line(x, y, x, top, 3.5 * s, glass)
    canvas.disc(x, y, 6.3 * s, glass)
    color = PALETTE[it.traits["color"]]
    level = {"cold": 0.36, "warm": 0.66, "hot": 1.0}[it.traits["level"]]
    canvas.disc(x, y, 5.6 * s, color)
    canvas.box(x - 2.6 * s, y - 28 * s * level, x + 2.6 * s, y, color)


def flower(canvas: Canvas, it: Object) -> None:
    """Paints a flower; (x, y) is the middle of the bloom, `r` its radius."""
    x, y, r = it.x, it.y, it.r
    canvas.line(x, y, x, 48, 1.6, LEAF)
    canvas.ellipse(x + 5, 44, 4.5, 2.5, LEAF)
    count = {"three": 3, "four": 4, "five": 5, "six": 6}[it.traits["petals"]]
    color = PALETTE[it.traits["color"]]
    size = r * (0.44, 0.42, 0.37, 0.335)[count - 3]
    for turn in range(count):
        angle = 2 * math.pi * turn / count
        canvas.disc(x + (r - size) * math.sin(angle), y - (r - size) * math.cos(angle), size, color)
    canvas.disc(x, y, r * 0.32, (92, 56, 36))
