"""A very small vision-language model with random weights that draws by a tool that paints by rule."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

from policies.interface import Output, Part, Picture
from policies.tools.calls import Call
from policies.tools.policy import ToolsPolicy
from tests.policies.tools.painting import paint
from tests.policies.vision_language import small

TOOLS = ("draw=python:tests.policies.tools.painting:paint",)
CALL_TOKENS = 56
"""Of bytes: what must be there of a call of `TOOLS` takes 31."""


def write_folder(folder: Path, seed: int) -> None:
    """The checkpoint; a policy of it must be given `TOOLS` and a `call_tokens` such as CALL_TOKENS."""
    small.write_model(folder, seed)


class SmallTools(ToolsPolicy):
    """One that has the tools of these tests unless others are named."""

    @classmethod
    def from_pretrained(
        cls, path: str | Path, dtype: str = "float32", *, tools: Sequence[str] = TOOLS,
        call_tokens: int = CALL_TOKENS, **options: Any,
    ) -> Self:  # fmt: skip
        return super().from_pretrained(
            path, dtype, tools=tools, call_tokens=call_tokens, **{"tool_deadline": 60.0} | options
        )


def output(seed: int) -> Output:
    """What a drawing is: a call, what the tool gives for it, and no other call."""
    call = Call("draw", "red" if seed % 2 else "two cats", seed)
    shown = Picture(paint(call.prompt, seed))
    return (Part(call.text()), Part(shown, learned=False), Part(""))
