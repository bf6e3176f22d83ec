"""Pictures as Show-o reads and draws them: one grid of codes for both.

Invariant: a drawing that was sampled is read again by its codes, to the last one; only pixels of
others are encoded.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import torch
from torch import Tensor

from policies.checks import require_codes, require_pixels
from policies.interface import Picture
from policies.pictures import bytes_of, centred, middle_square
from policies.sampling import Ids
from policies.showo.config import ShowoConfig
from policies.showo.magvit import Magvit

AT_ONCE = 8
"""How many pictures pass through an encoder or decoder together: at 512 x 512 pixels these need
some GiB."""


def pixels_of(pictures: Sequence[Picture], size: int) -> Tensor:
    """The pictures as float32 [pictures, 3, size, size] from -1 to 1. Raises ValueError for what is no
    picture."""
    for picture in pictures:
        require_pixels(picture.pixels)
    return centred(np.stack([middle_square(picture.pixels, size) for picture in pictures]))


class ImageTokenizer:
    """`magvit` is frozen, and computes in float32 as it was released: a rounded sign is another
    code."""

    def __init__(self, magvit: Magvit, config: ShowoConfig) -> None:
        self.magvit, self.config = magvit.requires_grad_(False).eval(), config

    def codes_of(self, pictures: Iterable[Picture]) -> dict[int, Ids]:
        """The codes of each picture by its id(): those that were sampled, else those of its pixels.
        Raises ValueError."""
        distinct = {id(picture): picture for picture in pictures}
        bare = [picture for picture in distinct.values() if picture.codes is None]
        size = self.config.pixels
        encoded = iter(self.encode(pixels_of(bare, size)).tolist() if bare else ())
        return {
            key: tuple(next(encoded)) if each.codes is None else self.sampled(each)
            for key, each in distinct.items()
        }

    def sampled(self, picture: Picture) -> Ids:
        """The codes that a picture was sampled as. Raises ValueError."""
        assert picture.codes is not None
        require_codes(picture.codes, self.config.tokens, self.config.codes)
        return tuple(picture.codes.tolist())

    @torch.inference_mode()
    def encode(self, pixels: Tensor) -> Tensor:
        """float [pictures, 3, size, size] -> codes int64 [pictures, tokens], row by row."""
        parts = pixels.to(self.device).split(AT_ONCE)
        return torch.cat([self.magvit.encode(part).flatten(1) for part in parts])

    @torch.inference_mode()
    def decode(self, codes: Tensor) -> np.ndarray:
        """codes int64 [pictures, tokens] -> uint8 [pictures, size, size, 3]."""
        drawn, side = [], self.config.side
        for part in codes.to(self.device).split(AT_ONCE):
            drawn.append(bytes_of(self.magvit.decode(part.view(-1, side, side))))
        return np.concatenate(drawn)

    @property
    def device(self) -> torch.device:
        return self.magvit.decoder.conv_in.weight.device
