"""Pictures from files, as every policy takes them.

Invariant: a file is read whole or refused with one sentence that names it; nothing half decoded is
ever looked at.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError

from policies.errors import UserError, one_line, printable
from policies.interface import Picture

DEEP = ("I", "F")
"""Modes of more than eight bits a channel begin so (I, I;16, F)."""


class PictureError(UserError, ValueError):
    """A file that is no readable picture; the message names it and the fix."""


def read(file: str | Path) -> Picture:
    """The picture in `file`, of any mode of eight bits or fewer a channel, as RGB: transparency is
    dropped and of an animation the first frame is taken, as by the references' processors. Raises
    PictureError."""
    shown = printable(str(file))
    try:
        with Image.open(file) as opened:
            if opened.mode.startswith(DEEP):
                raise PictureError(
                    f"{shown} has more than eight bits a channel (mode {opened.mode}), which would "
                    "be cut off: scale it to eight and save it again"
                )
            return Picture(np.asarray(opened.convert("RGB")))
    except UnidentifiedImageError as error:
        raise PictureError(f"{shown} is not a picture that Pillow reads") from error
    except Image.DecompressionBombError as error:
        raise PictureError(f"{shown} is too large ({one_line(error)}): scale it down") from error
    except (OSError, SyntaxError, ValueError) as error:
        if isinstance(error, PictureError):
            raise
        raise PictureError(
            f"{shown} cannot be read ({one_line(error)}): it is missing or damaged; get it again"
        ) from error
