"""Pictures of requests and answers.

Invariant: nothing is fetched: a picture comes in the request. How large it is is known before it is
decoded, so that a small file cannot become a huge picture.
"""

from __future__ import annotations

import base64
import binascii
import io
import warnings

import numpy as np
from PIL import Image, ImageOps

from cluster.serving.refusals import Refusal, bad
from policies.interface import Picture
from policies.pictures import png

FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP")


def from_url(url: str, megapixels: float, param: str) -> Picture:
    """Of a data URL with base64. Raises Refusal."""
    head, comma, data = url.partition(",")
    if not (comma and head.startswith("data:") and head.endswith(";base64")):
        raise bad(
            "a picture must be a data URL, data:image/png;base64,..., for this server fetches nothing",
            param,
        )
    try:
        file = base64.b64decode(data, validate=True)
    except (binascii.Error, ValueError):
        raise bad("the picture's base64 is broken", param) from None
    return decoded(file, megapixels, param)


def decoded(file: bytes, megapixels: float, param: str) -> Picture:
    """Its first frame, upright as its EXIF says, on black where it is transparent. Raises Refusal."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            with Image.open(io.BytesIO(file), formats=FORMATS) as image:
                width, height = image.size
                if width * height > megapixels * 1e6:
                    raise bad(
                        f"the picture has {width} x {height} pixels: at most {megapixels:g} million "
                        "are taken",
                        param,
                    )
                pixels = np.asarray(ImageOps.exif_transpose(image).convert("RGB"))
    except Refusal:
        raise
    except Exception as error:  # a decoder of broken bytes raises whatever it likes
        raise bad(
            f"the picture cannot be read as one of {', '.join(FORMATS)} ({type(error).__name__})",
            param,
        ) from None
    return Picture(pixels)


def encoded(picture: Picture) -> str:
    """A PNG in base64."""
    return base64.b64encode(png(picture)).decode()
