"""Which tools there are, as a recipe names them: `NAME=KIND:WHERE?OPTION=VALUE&...`.

Invariant: nothing of a tool is imported or opened here; that happens in a process of its own.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl

from policies.errors import ConfigError, describe

KINDS = ("diffusers", "endpoint", "python")
FORM = "NAME=KIND:WHERE, such as draw=diffusers:/models/sdxl"
OURS = {
    "diffusers": {"prompt", "generator", "output_type", "height", "width"},
    "endpoint": {"model", "prompt", "n"},
    "python": {"prompt", "seed", "size"},
}
"""What each call gives itself, by the kind of a tool."""
NAME = re.compile(r"[a-z][a-z0-9_]{0,31}")


@dataclass(frozen=True)
class Spec:
    """A tool that calls know by `name`. `where` is the folder of a diffusers pipeline, a model of an
    endpoint, or a callable as "module:function"; `options` go with each of its calls."""

    name: str
    kind: str
    where: str
    options: dict[str, Any] = field(default_factory=dict)


def parse_specs(texts: Sequence[str]) -> tuple[Spec, ...]:
    """Raises ConfigError."""
    specs = tuple(map(_spec, texts))
    names = [spec.name for spec in specs]
    for name in names:
        if names.count(name) > 1:
            raise ConfigError(
                f"policy.tools has the name {name!r} twice: give each tool one of its own"
            )
    return specs


def require_specs(texts: Sequence[str]) -> tuple[Spec, ...]:
    """Likewise, of one or more."""
    if not texts:
        raise ConfigError(
            f"policy.tools is empty: the Solver draws by tools; name one or more, as {FORM}"
        )
    return parse_specs(texts)


def _spec(text: str) -> Spec:
    name, named, rest = text.partition("=")
    kind, told, where = rest.partition(":")
    where, _, query = where.partition("?")
    if not (named and told and where and NAME.fullmatch(name) and kind in KINDS):
        raise ConfigError(
            f"policy.tools has {describe(text)}: it must be {FORM}; NAME is of small letters, digits and _, "
            f"and KIND one of {', '.join(KINDS)}"
        )
    if kind == "python" and not re.fullmatch(r"[\w.]+:\w+", where):
        raise ConfigError(
            f"policy.tools has {describe(text)}: after python: it must be module:function"
        )
    options = {k: _value(v) for k, v in parse_qsl(query, keep_blank_values=True)}
    if taken := sorted(OURS[kind] & set(options)):
        raise ConfigError(
            f"policy.tools has {describe(text)}: its option {taken[0]} is what each call says: leave it out"
        )
    return Spec(name, kind, where, options)


def _value(text: str) -> Any:
    """A number, true, false, null or a list in JSON, or else the text itself."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text
