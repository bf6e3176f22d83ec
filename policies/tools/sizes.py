"""How large a model that calls tools is. Its tools are not looked into: the recipe says what they take.

Invariant: nothing of a tool is opened, so a run can be tried dry where its tools are not.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from policies.footprint import Footprint
from policies.tools.specs import require_specs
from policies.vision_language.sizes import footprint_of, sizes_of

SIDE = 1024
"""Pixels each way that a tool's picture is taken to have, of none that calls may ask for."""


def footprint(
    folder: Path, dtype: str, *, tools: Sequence[str] | None = None, turns: int = 2,
    call_tokens: int = 256, sides: Sequence[int] = (), plan: int = 0, tool_deadline: float = 120.0,
    tool_memory: float = 0.0,
) -> Footprint:  # fmt: skip
    """Raises CheckpointError, or ConfigError, also for tools that a recipe names wrongly."""
    if tools is not None:
        require_specs(tools)
    side = max([SIDE, *sides])
    beside = int(tool_memory * 2**30)
    # The last picture is seen by nobody who draws.
    return footprint_of(
        sizes_of(folder), dtype, side, plan + turns * call_tokens, max(1, turns - 1), beside
    )
