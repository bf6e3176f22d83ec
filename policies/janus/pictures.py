"""Pictures as Janus-Pro sees and draws them.

Invariant: the codes are those of the published tokenizer, which looks for the nearest code by
direction (both sides l2-normalised). transformers' `JanusVQVAE.encode` leaves that out.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from policies.checks import require_pixels
from policies.interface import Picture
from policies.pictures import bytes_of, centred

AT_ONCE = 16
"""How many pictures pass through an encoder or decoder together: at 384 x 384 pixels these need
some GiB."""
LEAST = 14
"""A side is never made shorter than this (the reference's min_size)."""
GREY = (127, 127, 127)


def pixels_of(pictures: Sequence[Picture], size: int) -> Tensor:
    """The pictures as float32 [pictures, 3, size, size] from -1 to 1. The longer side becomes
    `size`, and the rest is grey, as in the reference's image processor. Raises ValueError."""
    return centred(np.stack([_square(picture, size) for picture in pictures]))


def _square(picture: Picture, size: int) -> np.ndarray:
    pixels = picture.pixels
    require_pixels(pixels)
    height, width = pixels.shape[:2]
    if (height, width) == (size, size):
        return pixels
    longest = max(height, width)
    sides = [max(int(side / longest * size), LEAST) for side in (width, height)]
    drawn = Image.fromarray(pixels).resize((sides[0], sides[1]), Image.Resampling.BICUBIC)
    square = Image.new("RGB", (size, size), GREY)
    square.paste(drawn, ((size - sides[0]) // 2, (size - sides[1]) // 2))
    return np.asarray(square)


class ImageTokenizer:
    """`vq` is transformers' `JanusVQVAE`, which is frozen."""

    def __init__(self, vq: Any) -> None:
        self.vq = vq.requires_grad_(False).eval()

    @torch.inference_mode()
    def encode(self, pixels: Tensor) -> Tensor:
        """float [pictures, 3, size, size] -> codes int64 [pictures, tokens], row by row."""
        kinds = F.normalize(self.vq.quantize.embedding.weight, dim=-1)
        codes = []
        for part in pixels.to(kinds).split(AT_ONCE):
            latents = self.vq.quant_conv(self.vq.encoder(part)).permute(0, 2, 3, 1)
            codes.append((F.normalize(latents, dim=-1) @ kinds.T).argmax(-1).flatten(1))
        return torch.cat(codes)

    @torch.inference_mode()
    def decode(self, codes: Tensor) -> np.ndarray:
        """codes int64 [pictures, tokens] -> uint8 [pictures, size, size, 3]."""
        return np.concatenate([bytes_of(self.vq.decode(part)) for part in codes.split(AT_ONCE)])
