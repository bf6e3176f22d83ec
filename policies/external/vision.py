"""Pictures as the language model sees them: through its own encoder, which is frozen.

Invariant: a picture's features depend on it alone, and take the places that the public processor
gives them: one for each, in a grid where the model knows rows and columns.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache, partial
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from policies.checks import require_pixels
from policies.interface import Picture
from policies.moving import moved

Grid = tuple[int, int]
"""Rows and columns of a picture's features."""
AT_ONCE = 16
"""Pictures that pass through the encoder together."""
LONGEST = 100
"""How many times longer than the other a side may be: models of Qwen take up to 200."""


class Vision:
    """Of `net`, a model of transformers, and its image processor. `gridded` says whether places in
    the language model follow rows and columns."""

    def __init__(self, net: Any, processor: Any, gridded: bool) -> None:
        self.model, self.processor, self.gridded = net.model, processor, gridded
        self._grid = lru_cache(maxsize=1024)(partial(measured, net.config, processor, gridded))
        for part in self.parts():
            part.requires_grad_(False).eval()

    def parts(self) -> list[nn.Module]:
        """All of the model but the language model."""
        return [part for name, part in self.model.named_children() if name != "language_model"]

    def to(self, device: torch.device, dtype: torch.dtype | None = None) -> None:
        for part in self.parts():
            moved(part, device, dtype)

    @torch.no_grad()
    def see(self, pictures: Sequence[Picture]) -> list[Tensor]:
        """The features of each, [features, hidden]. Raises ValueError."""
        found: list[Tensor] = []
        device = next(self.parts()[0].parameters()).device
        for start in range(0, len(pictures), AT_ONCE):
            read = self._read([_image(p) for p in pictures[start : start + AT_ONCE]])
            given = {name: value.to(device) for name, value in read.items()}
            dtype = next(self.parts()[0].parameters()).dtype
            given["pixel_values"] = given["pixel_values"].to(dtype)
            found += list(self.model.get_image_features(**given).pooler_output)
        return found

    def _read(self, images: list[Image.Image]) -> dict[str, Tensor]:
        read = self.processor(images=images, return_tensors="pt")
        names = ("pixel_values", *(("image_grid_thw",) if self.gridded else ()))
        return {name: read[name] for name in names}

    def grid(self, picture: Picture) -> Grid:
        """Raises ValueError."""
        require_pixels(picture.pixels)
        height, width = picture.pixels.shape[:2]
        if max(height, width) > LONGEST * min(height, width):
            raise ValueError(
                f"Picture.pixels is {picture.pixels.dtype} {picture.pixels.shape}: one side is more "
                f"than {LONGEST} times the other; cut the picture"
            )
        found: Grid = self._grid(height, width)
        return found


def measured(config: Any, processor: Any, gridded: bool, height: int, width: int) -> Grid:
    """How the features of a picture of this size lie, by the model's configuration and its processor."""
    vision = config.vision_config
    if gridded:
        blank = Image.fromarray(np.zeros((height, width, 3), np.uint8))
        read = processor(images=[blank], return_tensors="pt")["image_grid_thw"]
        _, rows, columns = read[0].tolist()
        return rows // vision.spatial_merge_size, columns // vision.spatial_merge_size
    each = (vision.image_size // vision.patch_size) ** 2
    # All but SigLIP see the whole picture in a feature before these, and "default" leaves out the first.
    whole = vision.model_type != "siglip_vision_model"
    return 1, each + whole - (config.vision_feature_select_strategy == "default")


def resized(picture: Picture, side: int) -> Picture:
    """A square of it, for an encoder that takes any size."""
    image = _image(picture).resize((side, side), Image.Resampling.BICUBIC)
    return Picture(np.asarray(image))


def _image(picture: Picture) -> Image.Image:
    require_pixels(picture.pixels)
    return Image.fromarray(np.ascontiguousarray(picture.pixels))
