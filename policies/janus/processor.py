"""Whether a checkpoint wants its pictures prepared as `policies.janus.pictures` does.

Invariant: what would be looked at in another way than the model learned to is refused by its field.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from policies.errors import describe, one_line
from policies.interface import CheckpointError
from policies.janus.pictures import GREY, LEAST

PREPROCESSOR = "preprocessor_config.json"
_AGAIN = "copy it again from the checkpoint that these weights belong to"


def require_same(file: Path, data: bytes, side: int) -> None:
    """`data` is what `file`, a preprocessor_config.json, holds; a field that it leaves out is taken
    as Janus-Pro has it. Raises CheckpointError."""
    try:
        stated: dict[str, Any] = dict(json.loads(data))
    except (ValueError, RecursionError, TypeError) as error:
        raise CheckpointError(f"{file} is not JSON ({one_line(error)}); {_AGAIN}.") from error
    square = {"height": side, "width": side}
    wanted: dict[str, tuple[object, ...]] = {
        "image_mean": ([0.5] * 3,),
        "image_std": ([0.5] * 3,),
        "min_size": (LEAST,),
        "image_size": (side,),
        "size": (side, square),
        "background_color": (list(GREY), None),
        **{f"do_{step}": (True, None) for step in ("resize", "rescale", "normalize", "pad")},
    }
    for field, allowed in wanted.items():
        if field in stated and stated[field] not in allowed:
            raise CheckpointError(
                f"{file} has {field}={describe(stated[field])}, but this model's pictures are prepared "
                f"with {describe(allowed[0])}; {_AGAIN}."
            )
    scale = stated.get("rescale_factor", 1 / 255)
    if not isinstance(scale, float) or abs(scale * 255 - 1) > 1e-6:
        raise CheckpointError(
            f"{file} has rescale_factor={describe(scale)}, but this model's pictures are prepared with "
            f"1 / 255; {_AGAIN}."
        )
