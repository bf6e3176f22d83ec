"""What a call of a tool is: strict JSON of one schema, and nothing else.

Invariant: a text is a call as it stands or refused with one sentence. Only what was sampled as a call is
ever read as one; prompts, pictures and answers are not looked at.
"""

from __future__ import annotations

import json
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any, NoReturn

from policies.errors import UserError, describe, one_line

MOST_CHARACTERS = 4000
"""Of a prompt."""
MOST_TEXT = 8 * MOST_CHARACTERS
MOST_SEED = 10**9 - 1
KEYS = ("tool", "prompt", "seed", "size")


class CallError(UserError, ValueError):
    """A text that is no call; the message says what is wrong with it."""


@dataclass(frozen=True)
class Call:
    """`size` is height and width in pixels."""

    tool: str
    prompt: str
    seed: int | None = None
    size: tuple[int, int] | None = None

    def text(self) -> str:
        """As the model writes it."""
        said: dict[str, Any] = {"tool": self.tool, "prompt": self.prompt}
        if self.seed is not None:
            said["seed"] = self.seed
        if self.size is not None:
            said["size"] = list(self.size)
        return json.dumps(said, ensure_ascii=False)


def parse(text: str, tools: Collection[str], sides: Collection[int]) -> Call:
    """The call that `text` is, of one of the `tools`; heights and widths are of `sides`. Raises
    CallError."""
    if len(text) > MOST_TEXT:
        raise CallError(f"A call of {len(text)} characters is too long: at most {MOST_TEXT}.")
    try:
        said = json.loads(text, object_pairs_hook=_once, parse_constant=_no_number)
    except CallError:
        raise
    except (ValueError, RecursionError) as error:
        raise CallError(f"The call {text[:60]!r} is not JSON ({one_line(error)}).") from None
    if not isinstance(said, dict):
        raise CallError(f"The call {text[:60]!r} is no JSON object.")
    for key in said:
        if key not in KEYS:
            raise CallError(f"A call has {describe(key)}: it may have {', '.join(KEYS)}.")
    tool, prompt = said.get("tool"), said.get("prompt")
    if not isinstance(tool, str) or tool not in tools:
        raise CallError(f"A call's tool is {describe(tool)}: it must be one of {', '.join(tools)}.")
    return Call(tool, _prompt(prompt), _seed(said), _size(said, sides))


def _prompt(prompt: object) -> str:
    if not isinstance(prompt, str) or not prompt.strip(" "):
        raise CallError(
            f"A call's prompt is {describe(prompt)}: it must be a text that says something."
        )
    if len(prompt) > MOST_CHARACTERS:
        raise CallError(
            f"A call's prompt has {len(prompt)} characters: it must have at most {MOST_CHARACTERS}."
        )
    if any(ord(letter) < 32 or 0xD800 <= ord(letter) < 0xE000 for letter in prompt):
        raise CallError(f"A call's prompt is {describe(prompt)}: it must be of characters alone.")
    return prompt


def _seed(said: dict[str, Any]) -> int | None:
    if "seed" not in said:
        return None
    seed = said["seed"]
    if type(seed) is not int or not 0 <= seed <= MOST_SEED:
        raise CallError(f"A call's seed is {describe(seed)}: it must be from 0 to {MOST_SEED}.")
    return seed


def _size(said: dict[str, Any], sides: Collection[int]) -> tuple[int, int] | None:
    if "size" not in said:
        return None
    size = said["size"]
    fits = isinstance(size, list) and len(size) == 2
    if not fits or any(type(side) is not int or side not in sides for side in size):
        allowed = f"two of {', '.join(map(str, sides))}" if sides else "left out"
        raise CallError(f"A call's size is {describe(size)}: it must be {allowed}.")
    return size[0], size[1]


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise CallError("A call has a key twice; each may be there once.")
    return found


def _no_number(name: str) -> NoReturn:
    raise CallError(f"A call has {name}, which is no number in JSON.")
