"""Pictures from files, as every policy takes them, and to files.

Invariant: a file is read whole or refused with one sentence that names it; nothing half decoded is
ever looked at.
"""

from __future__ import annotations

import io
from pathlib import Path
from typing import BinaryIO

import numpy as np
import torch
from PIL import Image, UnidentifiedImageError
from torch import Tensor

from policies.errors import UserError, one_line, printable
from policies.interface import Picture

STRIP = 64
"""How many times longer than wide a picture may be that is scaled whole."""
DEEP = ("I", "F")
"""Modes of more than eight bits a channel begin so (I, I;16, F)."""


class PictureError(UserError, ValueError):
    """A file that is no readable picture; the message names it and the fix."""


def read(file: str | Path) -> Picture:
    """The picture in `file`, of any mode of eight bits or fewer a channel, as RGB: transparency is
    dropped and of an animation the first frame is taken, as by the references' processors. Raises
    PictureError."""
    return _picture(file, printable(str(file)))


def decode(data: bytes, name: str) -> Picture:
    """Likewise the picture that a file with this content would have; messages call it `name`. Raises
    PictureError."""
    return _picture(io.BytesIO(data), name)


def png(picture: Picture) -> bytes:
    """A file of its pixels."""
    file = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(picture.pixels)).save(file, "PNG")
    return file.getvalue()


def centred(pixels: np.ndarray) -> Tensor:
    """uint8 [..., height, width, 3] -> float32 [..., 3, height, width] from -1 to 1, by the steps of
    the published processors: divided by 255, then less a half, then divided by a half."""
    scaled = torch.from_numpy(np.array(pixels, order="C")).movedim(-1, -3).float() / 255
    return (scaled - 0.5) / 0.5


def bytes_of(pixels: Tensor) -> np.ndarray:
    """float [pictures, 3, height, width] from -1 to 1, or a little outside -> uint8 [pictures,
    height, width, 3], cut off and not rounded, as the reference does it."""
    levels = ((pixels.float() * 0.5 + 0.5).clamp(0, 1) * 255).to(torch.uint8)
    return levels.permute(0, 2, 3, 1).cpu().numpy()


def middle_square(pixels: np.ndarray, side: int) -> np.ndarray:
    """uint8 [height, width, 3] -> [side, side, 3]: the shorter side becomes `side`, and of the longer one
    the middle is kept, as Show-o's and Show-o2's released scripts prepare pictures. One of that size is
    not touched."""
    height, width = pixels.shape[:2]
    short = min(height, width)
    if (height, width) == (side, side):
        return pixels
    # What would be cut off is left out before it is scaled: a thin strip would take all memory.
    if max(height, width) > STRIP * short:
        return middle_square(_cut(pixels, STRIP * short), side)
    size = (int(side * width / short), int(side * height / short))
    image = Image.fromarray(pixels).resize(size, Image.Resampling.BICUBIC)
    left, top = (round((length - side) / 2) for length in size)
    return np.asarray(image.crop((left, top, left + side, top + side)))


def _cut(pixels: np.ndarray, most: int) -> np.ndarray:
    height, width = pixels.shape[:2]
    top, left = (max(0, length - most) // 2 for length in (height, width))
    return pixels[top : top + most, left : left + most]


def _picture(file: str | Path | BinaryIO, shown: str) -> Picture:
    try:
        path = Path(file) if isinstance(file, str | Path) else None
        if path and path.exists() and not path.is_file():  # a pipe would be waited for
            raise PictureError(f"{shown} is no file: give the path of a picture")
        return Picture(_decoded(file, shown))
    except PictureError:
        raise
    except UnidentifiedImageError as error:
        raise PictureError(f"{shown} is not a picture that Pillow reads") from error
    except (Image.DecompressionBombError, MemoryError) as error:
        reason = one_line(error) or "not enough memory"
        raise PictureError(f"{shown} is too large ({reason}): scale it down") from error
    except Exception as error:  # whatever the damage leads a decoder of Pillow to
        reason = one_line(error) or type(error).__name__
        raise PictureError(
            f"{shown} cannot be read ({reason}): it is missing or damaged; get it again"
        ) from error


def _decoded(file: str | Path | BinaryIO, shown: str) -> np.ndarray:
    """The pixels as Pillow decodes them, in RGB."""
    with Image.open(file) as opened:
        if opened.mode.startswith(DEEP):
            raise PictureError(
                f"{shown} has more than eight bits a channel (mode {opened.mode}), which would be "
                "cut off: scale it to eight and save it again"
            )
        if 0 in opened.size:
            raise PictureError(f"{shown} has no pixels: give a picture of at least 1 x 1")
        return np.asarray(opened.convert("RGB"))
