"""Pictures as Chameleon reads and draws them: one square of image codes.

Invariant: the codes are those of transformers' ChameleonVQVAE, and a drawing's pixels those of the
published decoder. Both stay in float32: distances to thousands of codes in bfloat16 choose others.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from policies.chameleon.decoder import Decoder
from policies.checks import require_pixels
from policies.interface import Picture
from policies.pictures import bytes_of

AT_ONCE = 4
"""How many pictures pass through an encoder or decoder together: each needs about half a GiB at
512 x 512 pixels."""

STRIP = 16
"""Of a picture longer than this many squares, only so many in the middle are scaled, of which one is
kept: a strip would take all memory."""


def pixels_of(pictures: Sequence[Picture], size: int, scale: float) -> Tensor:
    """The pictures as float32 [pictures, 3, size, size] from -1 to about 1. The shorter side becomes
    `size`, the middle of the longer one is kept, and values are `scale` times the pixels, less 1, as in
    transformers' ChameleonImageProcessor. Raises ValueError."""
    squares = np.stack([_square(picture, size) for picture in pictures])
    scaled = (squares.astype(np.float64) * scale).astype(np.float32) - np.float32(1)
    return torch.from_numpy(scaled).permute(0, 3, 1, 2)


def _square(picture: Picture, size: int) -> np.ndarray:
    pixels = picture.pixels
    require_pixels(pixels)
    height, width = pixels.shape[:2]
    if (height, width) == (size, size):
        return pixels
    shortest = min(height, width)
    over, beside = (max(0, side - STRIP * shortest) // 2 for side in (height, width))
    pixels = pixels[over : height - over, beside : width - beside]
    height, width = (int(size * side / shortest) for side in pixels.shape[:2])
    drawn = Image.fromarray(pixels).resize((width, height), Image.Resampling.LANCZOS)
    left, top = (width - size) // 2, (height - size) // 2
    return np.asarray(drawn.crop((left, top, left + size, top + size)))


class ImageTokenizer:
    """`vq` is transformers' `ChameleonVQVAE`; it and `decoder` are frozen."""

    def __init__(self, vq: Any, decoder: Decoder) -> None:
        self.vq = vq.requires_grad_(False).eval()
        self.decoder = decoder.requires_grad_(False).eval()

    def to(self, device: torch.device) -> None:
        self.vq.to(device)
        self.decoder.to(device)

    @torch.inference_mode()
    def encode(self, pixels: Tensor) -> Tensor:
        """float32 [pictures, 3, size, size] -> codes int64 [pictures, tokens], row by row."""
        table = self.vq.quantize.embedding.weight
        parts = pixels.to(table.device).split(AT_ONCE)
        return torch.cat([self.vq.encode(p).image_tokens.view(len(p), -1) for p in parts])

    @torch.inference_mode()
    def decode(self, codes: Tensor) -> np.ndarray:
        """codes int64 [pictures, tokens] -> uint8 [pictures, size, size, 3]."""
        return np.concatenate([bytes_of(self.show(part)) for part in codes.split(AT_ONCE)])

    def show(self, codes: Tensor) -> Tensor:
        """codes int64 [pictures, tokens] -> what the decoder makes of them, float32 [pictures, 3, size,
        size]."""
        side = round(codes.shape[1] ** 0.5)
        latents = self.vq.quantize.embedding(codes).unflatten(1, (side, side)).permute(0, 3, 1, 2)
        shown: Tensor = self.decoder(self.vq.post_quant_conv(latents.contiguous()))
        return shown
