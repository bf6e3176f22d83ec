"""Pictures as Show-o2 sees them: a square of its own size.

Invariant: a picture of that size is not touched.
"""

from __future__ import annotations

import numpy as np
from PIL import Image
from torch import Tensor

from policies.checks import require_pixels
from policies.interface import Picture
from policies.pictures import centred


def pixels_of(picture: Picture, side: int) -> Tensor:
    """float32 [3, side, side] from -1 to 1: the shorter side becomes `side`, and of the longer one the
    middle is kept, as in the released scripts. Raises ValueError for what is no picture."""
    require_pixels(picture.pixels)
    pixels = picture.pixels
    if pixels.shape[:2] != (side, side):
        pixels = _middle(pixels, side)
    return centred(pixels)


def _middle(pixels: np.ndarray, side: int) -> np.ndarray:
    height, width = pixels.shape[:2]
    # What would be cut off is left out before it is scaled: a thin strip would take all memory.
    if max(height, width) > 64 * min(height, width):
        return _middle(_cut(pixels, 64 * min(height, width)), side)
    short = min(height, width)
    size = (int(side * width / short), int(side * height / short))
    image = Image.fromarray(pixels).resize(size, Image.Resampling.BICUBIC)
    left, top = (round((length - side) / 2.0) for length in size)
    return np.asarray(image.crop((left, top, left + side, top + side)))


def _cut(pixels: np.ndarray, most: int) -> np.ndarray:
    height, width = pixels.shape[:2]
    top, left = (max(0, length - most) // 2 for length in (height, width))
    return pixels[top : top + most, left : left + most]
