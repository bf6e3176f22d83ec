"""Pictures as BAGEL sees and draws them: scaled to sides that tokens fill.

Invariant: what comes out has sides that are multiples of the stride and within the limits, and a
picture that fits as it is is not touched.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from PIL import Image
from torch import Tensor

from policies.checks import require_pixels
from policies.interface import Picture
from policies.pictures import centred


@dataclass(frozen=True)
class Limits:
    """The longer side is at most `long` pixels and the shorter one at least `short`, both multiples
    of `stride`; the picture has at most `pixels` of them. Where these contradict one another, the
    later ones of `long` and then `pixels` win, as in the reference."""

    long: int
    short: int
    stride: int
    pixels: int


def size_within(height: int, width: int, limits: Limits) -> tuple[int, int]:
    """The height and width to which a picture is scaled: by the reference's own steps."""
    scale = max(min(limits.long / max(height, width), 1.0), limits.short / min(height, width))
    size = _scaled(height, width, scale, limits.stride)
    if size[0] * size[1] > limits.pixels:
        size = _scaled(*size, limits.pixels / (size[0] * size[1]), limits.stride)
    if max(size) > limits.long:
        size = _scaled(*size, limits.long / max(size), limits.stride)
    return size


def _scaled(height: int, width: int, scale: float, stride: int) -> tuple[int, int]:
    sides = (round(side * scale) / stride for side in (height, width))
    long, wide = (max(stride, round(side) * stride) for side in sides)
    return long, wide


def pixels_of(picture: Picture, limits: Limits) -> Tensor:
    """float32 [3, height, width] from -1 to 1. Raises ValueError for what is no picture."""
    require_pixels(picture.pixels)
    pixels = picture.pixels
    height, width = size_within(pixels.shape[0], pixels.shape[1], limits)
    if pixels.shape[:2] != (height, width):
        image = Image.fromarray(pixels).resize((width, height), Image.Resampling.BICUBIC)
        pixels = np.asarray(image)
    return centred(pixels)
