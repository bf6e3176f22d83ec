"""Pictures as Emu3 sees and draws them: grids of codes.

Invariant: the image tokenizer is frozen, in float32 and in eval mode: its batch norms over time
would otherwise change the codes, and its own statistics.

It was made for videos: a picture stands for a few equal frames when it is encoded, and is the first
of as many when it is decoded. What is not mixed over time is computed for one of them here, where
transformers' `Emu3VQVAE` computes all.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from typing import Any, TypeVar

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from transformers.models.emu3.image_processing_emu3 import smart_resize

from policies.checks import require_pixels
from policies.interface import Picture, PromptError
from policies.pictures import bytes_of, centred

PIXELS_AT_ONCE = 2 * 512 * 512
"""Of pictures that pass through the tokenizer together: its widest layers need 1 KiB of a pixel each."""
LONGEST = 200
"""A picture whose sides have a larger ratio is not read (transformers' processor)."""
Sides = tuple[int, int]
"""Height and width, of a grid in codes or of a picture in pixels."""
Key = TypeVar("Key", bound=Hashable)


def pixels_of(pictures: Sequence[Picture], sides: Sides) -> Tensor:
    """The pictures, scaled to `sides`, as float32 [pictures, 3, height, width] from -1 to 1."""
    return centred(np.stack([_scaled(picture.pixels, sides) for picture in pictures]))


def _scaled(pixels: np.ndarray, sides: Sides) -> np.ndarray:
    if pixels.shape[:2] == sides:
        return pixels
    height, width = sides
    return np.asarray(Image.fromarray(pixels).resize((width, height), Image.Resampling.BICUBIC))


class ImageTokenizer:
    """`vq` is transformers' `Emu3VQVAE`; `area` is that of drawings and of pictures that have no
    codes yet, in pixels."""

    def __init__(self, vq: Any, area: int) -> None:
        self.vq = vq.float().requires_grad_(False).eval()
        self.area = area
        self.factor: int = vq.spatial_scale_factor
        self.codes: int = vq.config.codebook_size

    @property
    def own(self) -> Sides:
        """The grid of a drawing whose size nobody chose: a square."""
        side = max(1, math.isqrt(self.area) // self.factor)
        return side, side

    def grid(self, picture: Picture) -> Sides:
        """The rows and columns of its codes. Raises ValueError, PromptError."""
        pixels = picture.pixels
        require_pixels(pixels)
        height, width = pixels.shape[:2]
        if picture.codes is None:
            if max(height, width) > LONGEST * min(height, width):
                raise PromptError(
                    f"A picture of {width} x {height} pixels is longer than {LONGEST} times its other "
                    "side, which an Emu3 does not read; cut it."
                )
            height, width = smart_resize(height, width, self.factor, self.area, self.area)
        return height // self.factor, width // self.factor

    def encode_all(self, pictures: Sequence[Picture]) -> list[np.ndarray]:
        """The codes int64 [rows, columns] of each picture, of its pixels."""
        found: dict[int, np.ndarray] = {}
        for grid, alike in numbers_by([self.grid(picture) for picture in pictures]).items():
            sides = grid[0] * self.factor, grid[1] * self.factor
            codes = self.encode(pixels_of([pictures[i] for i in alike], sides)).cpu().numpy()
            found |= dict(zip(alike, codes, strict=True))
        return [found[i] for i in range(len(pictures))]

    @torch.inference_mode()
    def encode(self, pixels: Tensor) -> Tensor:
        """float [pictures, 3, height, width] from -1 to 1 -> codes int64 [pictures, rows, columns]."""
        device = self.vq.quantize.embedding.weight.device
        parts = pixels.to(device).split(self._at_once(pixels.shape[2] * pixels.shape[3]))
        return torch.cat([self._encode(part) for part in parts])

    def _encode(self, pixels: Tensor) -> Tensor:
        encoder = self.vq.encoder
        x = encoder.middle_block(encoder.down_block(encoder.conv_in(pixels)))
        x = encoder.conv_out(_swish(encoder.norm_out(x)))
        x = x.unsqueeze(2).repeat(1, 1, self.vq.config.temporal_downsample_factor, 1, 1)
        for layer in encoder.time_conv:
            x = _swish(layer(x))
        for layer in encoder.time_res_stack:
            x = layer(x)
        codes: Tensor = self.vq.quantize(self.vq.quant_conv(x).transpose(1, 2))
        return codes[:, 0]

    def decode_all(self, codes: Sequence[np.ndarray]) -> list[np.ndarray]:
        """The pixels uint8 [height, width, 3] of the codes int64 [rows, columns] of each picture."""
        found: dict[int, np.ndarray] = {}
        device = self.vq.quantize.embedding.weight.device
        for alike in numbers_by([each.shape for each in codes]).values():
            grids = torch.from_numpy(np.stack([codes[i] for i in alike])).to(device)
            found |= dict(zip(alike, self.decode(grids), strict=True))
        return [found[i] for i in range(len(codes))]

    @torch.inference_mode()
    def decode(self, codes: Tensor) -> np.ndarray:
        """codes int64 [pictures, rows, columns] -> uint8 [pictures, height, width, 3]."""
        drawn = []
        for part in codes.split(self._at_once(codes[0].numel() * self.factor**2)):
            drawn.append(bytes_of(self.paint(part)))
        return np.concatenate(drawn)

    @torch.inference_mode()
    def paint(self, codes: Tensor) -> Tensor:
        """codes int64 [pictures, rows, columns] -> float32 [pictures, 3, height, width], about -1 to
        1."""
        decoder = self.vq.decoder
        quantized = self.vq.quantize.embedding(codes).permute(0, 3, 1, 2).unsqueeze(2)
        x = torch.cat([self.vq.post_quant_conv(quantized), quantized])
        for layer in decoder.time_res_stack:
            x = layer(x)
        for layer in decoder.time_conv:
            x = _swish(layer(x))
        x, by = x[:, :, 0].chunk(2)
        x = decoder.up_block(decoder.middle_block(decoder.conv_in(x), by), by)
        painted: Tensor = decoder.conv_out(_swish(decoder.norm_out(x, by)))
        return painted

    @staticmethod
    def _at_once(pixels: int) -> int:
        return max(1, PIXELS_AT_ONCE // pixels)


def numbers_by(keys: Sequence[Key]) -> dict[Key, list[int]]:
    """By each key the numbers of its places, in their order."""
    found: dict[Key, list[int]] = {}
    for i, key in enumerate(keys):
        found.setdefault(key, []).append(i)
    return found


def _swish(x: Tensor) -> Tensor:
    return x * torch.sigmoid(x)
