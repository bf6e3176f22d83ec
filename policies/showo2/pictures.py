"""Pictures as Show-o2 sees them: a square of its own size.

Invariant: a picture of that size is not touched.
"""

from __future__ import annotations

from torch import Tensor

from policies.checks import require_pixels
from policies.interface import Picture
from policies.pictures import centred, middle_square


def pixels_of(picture: Picture, side: int) -> Tensor:
    """float32 [3, side, side] from -1 to 1. Raises ValueError for what is no picture."""
    require_pixels(picture.pixels)
    return centred(middle_square(picture.pixels, side))
