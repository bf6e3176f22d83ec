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
from torch import Tensor, nn

from policies.checks import require_pixels
from policies.errors import one_line
from policies.interface import CheckpointError, Picture, PromptError
from policies.moving import moved
from policies.stored_tensors import AGAIN

PREPROCESSOR = "preprocessor_config.json"
FILLER = Picture(np.full((32, 32, 3), 127, np.uint8))
"""What is looked at where nothing is, so that every weight has a gradient."""

PUBLISHED = {"shortest_edge": 56 * 56, "longest_edge": 16384 * 28 * 28}
"""The fewest and the most pixels of a picture, as Qwen's checkpoints have them."""


LONGEST = 100
"""How many times longer than the other a side may be where pictures keep their shape: models of Qwen take
up to 200."""
AT_ONCE = 16
"""Pictures that pass through a frozen encoder together."""


class Eye(Protocol):
    def count(self, picture: Picture) -> int:
        """The tokens that it takes. Raises ValueError, PromptError."""
        ...

    def tensors(self, pictures: Sequence[Picture]) -> dict[str, Tensor]:
        """What the model's `forward` takes of these pictures, which are one or more, by name."""
        ...


class _Prepared:
    """What prepares pictures one by one, by an image processor of transformers."""

    processor: Any

    def tensors(self, pictures: Sequence[Picture]) -> dict[str, Tensor]:
        made = [_prepared(self.processor, picture) for picture in pictures]
        return {name: torch.cat([each[name] for each in made]) for name in made[0]}


class GridEye(_Prepared):
    """Pictures keep their shape; `merge` patches each way become one token."""

    def __init__(self, processor: Any) -> None:
        self.processor, self.merge = processor, int(processor.merge_size)

    def count(self, picture: Picture) -> int:
        require_pixels(picture.pixels)
        height, width = picture.pixels.shape[:2]
        if max(height, width) > LONGEST * min(height, width):
            raise PromptError(
                f"A picture of {height} x {width} pixels cannot be seen: one side is more than {LONGEST} "
                "times the other; cut it."
            )
        try:
            patches = int(self.processor.get_number_of_image_patches(height, width, None))
        except ValueError as error:  # of a model that takes less
            raise PromptError(
                f"A picture of {height} x {width} pixels cannot be seen ({one_line(error)}); cut it."
            ) from error
        return patches // self.merge**2


class SquareEye(_Prepared):
    """All pictures become one square of `features` tokens."""

    def __init__(self, processor: Any, features: int) -> None:
        self.processor, self.features = processor, features

    def count(self, picture: Picture) -> int:
        require_pixels(picture.pixels)
        return self.features


class FrozenEye:
    """Pictures as the features that the encoder of `model`, a model of transformers, has of them, for
    families in which it does not learn; `eye` prepares them for it."""

    def __init__(self, eye: Eye, model: Any) -> None:
        self.eye, self.model = eye, model
        for part in self.parts():
            part.requires_grad_(False).eval()

    def parts(self) -> list[nn.Module]:
        """All of the model but the language model."""
        return [part for name, part in self.model.named_children() if name != "language_model"]

    def to(self, device: torch.device, dtype: torch.dtype | None = None) -> None:
        for part in self.parts():
            moved(part, device, dtype)

    def count(self, picture: Picture) -> int:
        return self.eye.count(picture)

    def tensors(self, pictures: Sequence[Picture]) -> dict[str, Tensor]:
        """`features` [features, hidden] of all, and what places follow from."""
        distinct = {id(picture): picture for picture in pictures}
        made = {key: self.eye.tensors([picture]) for key, picture in distinct.items()}
        found = dict(zip(made, self._features(list(made.values())), strict=True))
        shown = [id(picture) for picture in pictures]
        names = made[shown[0]].keys() - {"pixel_values"}
        beside = {name: torch.cat([made[key][name] for key in shown]) for name in names}
        return {"features": torch.cat([found[key] for key in shown]), **beside}

    def see(self, pictures: Sequence[Picture]) -> list[Tensor]:
        """The features of each, [features, hidden]. Raises ValueError."""
        return self._features([self.eye.tensors([picture]) for picture in pictures])

    @torch.no_grad()
    def _features(self, made: Sequence[dict[str, Tensor]]) -> list[Tensor]:
        like, found = next(self.parts()[0].parameters()), list[Tensor]()
        for start in range(0, len(made), AT_ONCE):
            part = made[start : start + AT_ONCE]
            given = {n: torch.cat([each[n] for each in part]).to(like.device) for n in part[0]}
            given["pixel_values"] = given["pixel_values"].to(like.dtype)
            found += list(self.model.get_image_features(**given, return_dict=True).pooler_output)
        return found


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
        with quiet():
            # With torchvision, where that is installed, the same picture would have other features.
            processor = AutoImageProcessor.from_pretrained(
                folder, backend="pil", local_files_only=True
            )
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
