"""Encodes drawings as small data URIs, for records and pages that a person looks at.

Invariant: a small drawing keeps every pixel (PNG); a large one becomes a thumbnail of bounded size.
Nothing is ever measured or learned from these.
"""

from __future__ import annotations

import base64
import io

import numpy as np
from PIL import Image

LOSSLESS_SIDE = 64
THUMBNAIL_SIDE = 160


def data_uri(pixels: np.ndarray) -> str:
    """Returns a data URI for the src of an image; `pixels` are uint8 [height, width, 3]."""
    image = Image.fromarray(np.ascontiguousarray(pixels))
    kind, sink = "png", io.BytesIO()
    if max(image.size) <= LOSSLESS_SIDE:
        image.save(sink, "PNG", optimize=True)
    else:
        kind = "jpeg"
        image.thumbnail((THUMBNAIL_SIDE, THUMBNAIL_SIDE))
        image.save(sink, "JPEG", quality=82)
    return f"data:image/{kind};base64,{base64.b64encode(sink.getvalue()).decode()}"
