"""How a checkpoint's pictures are prepared, in the words of a preprocessor_config.json.

Invariant: what would be looked at in another way than the model learned to is refused by its field.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from PIL import Image

from policies.errors import describe
from policies.interface import CheckpointError
from policies.janus.pictures import GREY, LEAST

PREPROCESSOR = "preprocessor_config.json"
_AGAIN = "copy it again from the checkpoint that these weights belong to"
_STEPS = ("do_resize", "do_rescale", "do_normalize", "do_pad")


def prepared(side: int) -> dict[str, Any]:
    """The fields by which transformers' JanusImageProcessor does what `policies.janus.pictures`
    does, for pictures of `side` x `side` pixels."""
    return {
        "image_processor_type": "JanusImageProcessor",
        **dict.fromkeys(_STEPS, True),
        "image_mean": [0.5] * 3,
        "image_std": [0.5] * 3,
        "min_size": LEAST,
        "resample": int(Image.Resampling.BICUBIC),
        "rescale_factor": 1 / 255,
        "size": {"height": side, "width": side},
    }


def require_same(file: Path, stated: Mapping[str, Any], side: int, within: str = "") -> None:
    """`stated` are the fields in `file`, or in the object that `within` names there with a dot; a
    field that is left out is taken as Janus-Pro has it. Raises CheckpointError."""
    ours = prepared(side)
    wanted: dict[str, tuple[object, ...]] = {
        **{field: (ours[field],) for field in ("image_mean", "image_std", "min_size", "resample")},
        **dict.fromkeys(_STEPS, (True, None)),
        "image_size": (side,),
        "size": (side, ours["size"]),
        "background_color": (list(GREY), None),
    }
    for field, allowed in wanted.items():
        if field in stated and stated[field] not in allowed:
            raise CheckpointError(
                f"{file} has {within}{field}={describe(stated[field])}, but this model's pictures are "
                f"prepared with {describe(allowed[0])}; {_AGAIN}."
            )
    scale = stated.get("rescale_factor", ours["rescale_factor"])
    if not isinstance(scale, float) or abs(scale * 255 - 1) > 1e-6:
        raise CheckpointError(
            f"{file} has {within}rescale_factor={describe(scale)}, but this model's pictures are "
            f"prepared with 1 / 255; {_AGAIN}."
        )
