"""Pictures as a vision-language model sees them: by its own image processor.

Invariant: a picture takes as many tokens as the model makes features of it; that is known from its size
alone. Two ways of preparing pictures are known: patches of a grid whose size follows the picture's
(Qwen2-VL and its successors), and one square (LLaVA).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from policies.checks import require_pixels
from policies.errors import one_line
from policies.interface import CheckpointError, Picture, PromptError
from policies.stored_tensors import AGAIN

PREPROCESSOR = "preprocessor_config.json"
FILLER = Picture(np.full((32, 32, 3), 127, np.uint8))
"""What is looked at where nothing is, so that every weight has a gradient."""

PUBLISHED = {"shortest_edge": 56 * 56, "longest_edge": 16384 * 28 * 28}
"""The fewest and the most pixels of a picture, as Qwen's checkpoints have them."""


class Eye(Protocol):
    def count(self, picture: Picture) -> int:
        """The tokens that it takes. Raises ValueError, PromptError."""
        ...

    def tensors(self, pictures: Sequence[Picture]) -> dict[str, Tensor]:
        """What the model's `forward` takes of these pictures, which are one or more, by name."""
        ...


class GridEye:
    """Pictures keep their shape; `merge` patches each way become one token."""

    def __init__(self, processor: Any) -> None:
        self.processor, self.merge = processor, int(processor.merge_size)

    def count(self, picture: Picture) -> int:
        require_pixels(picture.pixels)
        height, width = picture.pixels.shape[:2]
        try:
            patches = int(self.processor.get_number_of_image_patches(height, width, None))
        except ValueError as error:  # of a picture that is a line
            raise PromptError(
                f"A picture of {height} x {width} pixels cannot be seen ({one_line(error)}); cut it."
            ) from error
        return patches // self.merge**2

    def tensors(self, pictures: Sequence[Picture]) -> dict[str, Tensor]:
        made = [_prepared(self.processor, picture) for picture in pictures]
        return {name: torch.cat([each[name] for each in made]) for name in made[0]}


class SquareEye:
    """All pictures become one square of `features` tokens."""

    def __init__(self, processor: Any, features: int) -> None:
        self.processor, self.features = processor, features

    def count(self, picture: Picture) -> int:
        require_pixels(picture.pixels)
        return self.features

    def tensors(self, pictures: Sequence[Picture]) -> dict[str, Tensor]:
        made = [_prepared(self.processor, picture) for picture in pictures]
        return {name: torch.cat([each[name] for each in made]) for name in made[0]}


@contextmanager
def quiet() -> Iterator[None]:
    """Without what transformers tells while it reads and writes files."""
    from transformers.utils import logging

    told, shown = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(told)
        if shown:
            logging.enable_progress_bar()


def eye_of(folder: Path, config: Any) -> Eye:
    """How the model of `folder` sees. Raises CheckpointError."""
    from transformers import AutoImageProcessor

    try:
        with quiet():  # it tells that torchvision is not there, whose way we do not need
            processor = AutoImageProcessor.from_pretrained(folder, local_files_only=True)
            seen = _prepared(processor, FILLER)
            names = sorted(seen)
            if names == ["image_grid_thw", "pixel_values"]:
                return GridEye(processor)
            square = names == ["pixel_values"] and seen["pixel_values"].ndim == 4
            features = _features(config, seen) if square else 0
    except Exception as error:  # whatever wrong fields lead a processor's class to
        raise CheckpointError(
            f"{folder / PREPROCESSOR} does not say how a {config.model_type} sees pictures "
            f"({one_line(error)}); {AGAIN}."
        ) from error
    if not features:
        raise CheckpointError(
            f"{folder / PREPROCESSOR} prepares pictures as {', '.join(names)}: known are grids of patches "
            "(pixel_values and image_grid_thw, as of Qwen2-VL and later) and one square (pixel_values, as "
            "of LLaVA); use such a model."
        )
    return SquareEye(processor, features)


def known_eye(config: Any) -> Eye:
    """How a public model of this configuration sees whose folder is not there: in patches as the
    configuration names them."""
    from transformers import Qwen2VLImageProcessorPil

    vision = config.vision_config
    return GridEye(
        Qwen2VLImageProcessorPil(
            patch_size=vision.patch_size, merge_size=vision.spatial_merge_size,
            temporal_patch_size=vision.temporal_patch_size, size=PUBLISHED,
        )
    )  # fmt: skip


def _prepared(processor: Any, picture: Picture) -> dict[str, Tensor]:
    """Without a name for the channels' place a picture of 3 x 3 pixels could be read either way."""
    require_pixels(picture.pixels)
    made = processor(
        images=[picture.pixels], return_tensors="pt", input_data_format="channels_last"
    )
    return dict(made)


def _features(config: Any, seen: dict[str, Tensor]) -> int:
    """How many the model itself makes of such pictures, counted on one without weights."""
    from policies.vision_language.checkpoint import blank

    model = blank(config).model
    with torch.no_grad():
        made = model.get_image_features(
            **{k: v.to("meta") for k, v in seen.items()}, return_dict=True
        )
    return int(made.pooler_output[0].shape[0])
