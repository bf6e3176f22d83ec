"""Reads written words: letters on a line, in cells of four by five squares.

Invariant: a letter is read only if its cells agree with one glyph and with no other.
"""

from __future__ import annotations

import math
from itertools import product

import numpy as np

from policies.tiny.world.blobs import Sight, color_of, components
from policies.tiny.world.matching import drawn, is_nearest
from policies.tiny.world.motif_layout import FLAG_PAPER
from policies.tiny.world.motifs import BITS, overlap
from policies.tiny.world.scene import SIDE, Fact, Object, Prompt, Scene
from policies.tiny.world.shapes import WHITE

Array = np.ndarray
_HALF_WAY, _FAR = 0.36, 0.3
_AT = np.arange(SIDE, dtype=np.float32) + 0.5


def read_words(sight: Sight, prompt: Prompt) -> dict[Fact, bool]:
    wanted = [fact for fact in prompt.facts if fact.kind == "letter"]
    vivid = sight.smooth.max(axis=2) - sight.smooth.min(axis=2)
    full = float(np.sort(vivid, axis=None)[int(0.97 * vivid.size)])
    if full < 90:
        return {}
    parts = [part for part in components(vivid > 0.5 * full) if part.sum() >= 4]
    if not parts:
        return {}
    ink = np.any(parts, axis=0)
    ys, xs = np.nonzero(ink)
    left, top, right, bottom = xs.min(), ys.min(), xs.max() + 1, ys.max() + 1
    number = round(((right - left) / ((bottom - top) / 5) + 1) / 5)
    if number != len(wanted):
        return {}
    raw = sight.raw.max(axis=2) - sight.raw.min(axis=2)
    cover = np.clip(raw / full, 0, 1)
    # Height and width both give the side of a cell; the width is longer, so more exact.
    size = float(right - left) / (5 * number - 1)
    y = (top + bottom) / 2 - 2.5 * size
    boxes = _settled(cover, [fact.value for fact in wanted], (float(left), float(y), size))
    holds = {
        fact: _is_letter(cover, fact.value, box) for fact, box in zip(wanted, boxes, strict=True)
    }
    colors = [_letter_color(sight, ink, box) for box in boxes]
    for fact in prompt.facts:
        if fact.kind == "ink":
            holds[fact] = all(color == fact.value for color in colors)
        elif fact.kind == "exists":
            letters = [
                Object("letter", *box, {"color": color or "red", "letter": letter.value})
                for box, color, letter in zip(boxes, colors, wanted, strict=True)
            ]
            holds[fact] = _has_sign(sight, (top + bottom) / 2, boxes[0][2], letters)
    return holds


def _settled(
    cover: Array, letters: list[str], start: tuple[float, float, float]
) -> list[tuple[float, float, float]]:
    """Returns the letters' boxes (x, y, size), moved by part of a pixel to fit best."""
    best, least = start, math.inf
    for shift in product((-0.5, 0.0, 0.5), (-0.5, 0.0, 0.5), (0.97, 1.0, 1.03)):
        size = start[2] * shift[2]
        # Growing leaves the middle of the word where it is.
        x = start[0] + shift[0] + (5 * len(letters) - 1) * (start[2] - size) / 2
        y = start[1] + shift[1] + 2.5 * (start[2] - size)
        gap = sum(
            float(np.abs(_cells(cover, (x + 5 * size * place, y, size)) - BITS[letter]).sum())
            for place, letter in enumerate(letters)
        )
        if gap < least:
            best, least = (x, y, size), gap
    x, y, size = best
    return [(x + 5 * size * place, y, size) for place in range(len(letters))]


def _cells(cover: Array, box: tuple[float, float, float]) -> Array:
    """Returns the mean cover of each of a glyph's cells, [5, 4]."""
    x, y, size = box
    return overlap(_AT - y, size, 5) @ cover @ overlap(_AT - x, size, 4).T / size**2


def _is_letter(cover: Array, letter: str, box: tuple[float, float, float]) -> bool:
    gap = _cells(cover, box) - BITS[letter]
    for other, bits in BITS.items():
        step = bits - BITS[letter]
        if other != letter and (gap * step).sum() > _HALF_WAY * (step * step).sum():
            return False
    return float(np.abs(gap).mean()) < _FAR


def _letter_color(sight: Sight, ink: Array, box: tuple[float, float, float]) -> str | None:
    x, _, size = box
    own = ink.copy()
    own[:, : max(round(x), 0)] = False
    own[:, round(x + 4 * size) :] = False
    if not own.any():
        return None
    color, purity = color_of(sight.smooth[own], np.asarray(WHITE, np.float32))
    return color if purity >= 0.6 else None


def _has_sign(sight: Sight, middle: float, size: float, letters: list[Object]) -> bool:
    board = Object("sign", SIDE / 2, middle, 2.5 * size + 3)
    with_board = drawn(Scene((board, *letters), FLAG_PAPER))
    return is_nearest(sight, with_board, [drawn(Scene(tuple(letters), FLAG_PAPER))])
