"""Reads the files of the instructions, and refuses what could not be filled in.

Invariant: every refusal is one ConfigError that names the file, the entry and the fix, and comes when
the file is read, not when a run needs the entry.
"""

from __future__ import annotations

import difflib
import re
from pathlib import Path
from string import Template
from typing import Any

import yaml

from actors.replay.records import QUANTITIES
from policies.config import ConfigError
from policies.errors import describe, one_line

# For each instruction the fields that it must use, and those that it may.
FIELDS: dict[str, tuple[frozenset[str], frozenset[str]]] = {
    "propose": (frozenset({"category", "subcategory", "demonstrations"}), frozenset({"rule", "persona"})),
    "rate": (frozenset({"prompt"}), frozenset()),
    "judge": (frozenset({"prompt", "picture"}), frozenset({"category", "rubric", "standard", "reply"})),
    "caption": (frozenset({"picture"}), frozenset()),
    "infer": (frozenset({"picture"}), frozenset()),
    "answer": (frozenset({"picture", "question"}), frozenset()),
    "draw": (frozenset({"prompt"}), frozenset()),
    "reflection": (frozenset({"prompt", "picture", "judgement"}), frozenset()),
    "repair": (frozenset({"prompt", "picture"}), frozenset()),
}  # fmt: skip
NEW = frozenset({"repair", "infer"})
"""Instructions that a file may lack: only settings that are not the default need them."""
PLAIN = ("analysis", "score")
COUNTED = (*QUANTITIES, *PLAIN)

Variants = tuple[tuple[str, ...], ...]


def read(file: Path) -> dict[str, Any]:
    """What the YAML file says."""
    try:
        data = yaml.safe_load(file.read_text(encoding="utf-8"))
    except Exception as error:  # PyYAML meets some tags, escapes and depths with errors of any kind
        raise ConfigError(f"{file} is not YAML: {one_line(error)}") from error
    if not isinstance(data, dict):
        raise ConfigError(f"{file} is {type(data).__name__}: it must be a mapping of names")
    return data


def same_names(
    file: Path, what: str, found: Any, wanted: Any, may_lack: frozenset[str] = frozenset()
) -> None:
    """Refuses an entry whose keys are not the wanted ones."""
    names = set(found) if isinstance(found, dict) else set()
    if odd := sorted(map(str, names.symmetric_difference(wanted) - (may_lack - names))):
        raise ConfigError(
            f"{file}: {what} must be exactly {', '.join(wanted)}; look at {', '.join(odd)}"
        )


def texts(file: Path, where: str, value: Any) -> tuple[str, ...]:
    """A list of one or more texts."""
    if not isinstance(value, list) or not value or not all(isinstance(v, str) for v in value):
        raise ConfigError(
            f"{file}: {where} is {describe(value)}: it must be a list of one or more texts"
        )
    return tuple(text.strip("\n") for text in value)


def read_variants(file: Path, entry: str, value: Any) -> Variants:
    """The ways to say one instruction."""
    if not isinstance(value, list) or not value:
        raise ConfigError(f"{file}: {entry} must be a list of variants, each a list of texts")
    variants = tuple(texts(file, entry, variant) for variant in value)
    for variant in variants:
        _check_fields(file, entry, variant)
    return variants


def _check_fields(file: Path, entry: str, variant: tuple[str, ...]) -> None:
    """Refuses unknown and missing fields when the file is read, not when a run needs them."""
    needed, allowed = FIELDS[entry]
    used: set[str] = set()
    for text in variant:
        template = Template(text)
        if not template.is_valid():
            raise ConfigError(f"{file}: {entry}: a lone $ in {text!r} must be written $$")
        used.update(template.get_identifiers())
        if "picture" in template.get_identifiers() and text != "$picture":
            raise ConfigError(f"{file}: {entry}: $picture must stand alone, not in {text!r}")
    for name in sorted(used - needed - allowed):
        fields = sorted(needed | allowed)
        near = difflib.get_close_matches(name, fields, n=1, cutoff=0.0)[0]
        raise ConfigError(
            f"{file}: {entry}: there is no field ${name}; use ${', $'.join(fields)} "
            f"(the nearest is ${near})"
        )
    if missing := sorted(needed - used):
        raise ConfigError(f"{file}: {entry}: the field ${missing[0]} is missing; put it in")


def read_persona(file: Path, value: Any, propose: Variants) -> str | None:
    """What stands before a persona; None of templates that have no place for one."""
    placed = [_uses(variant, "persona") for variant in propose]
    if value is None and not any(placed):
        return None
    if not isinstance(value, str) or not all(placed):
        raise ConfigError(
            f"{file}: persona must be the text before a persona, and every variant of propose must "
            "say $persona; give both, or neither"
        )
    return value


def read_replies(file: Path, value: Any, judge: Variants) -> dict[str, str]:
    """What the Judge's answer must look like, by category; "others" has that of all others."""
    placed = [_uses(variant, "reply") for variant in judge]
    if value is None and not any(placed):
        return {}
    if not isinstance(value, dict) or "others" not in value or not all(placed):
        raise ConfigError(
            f"{file}: replies must be a mapping of categories, and others, to texts, and every "
            "variant of judge must say $reply; give both, or neither"
        )
    for name, reply in value.items():
        if not isinstance(reply, str) or reply_keys(reply) not in (PLAIN, COUNTED):
            raise ConfigError(
                f"{file}: replies: {name} is {describe(reply)}: it must be a text that shows JSON "
                f"with the keys {', '.join(PLAIN)}, or {', '.join(COUNTED)}, in this order"
            )
    return value


def _uses(variant: tuple[str, ...], field: str) -> bool:
    return any(field in Template(text).get_identifiers() for text in variant)


def reply_keys(reply: str) -> tuple[str, ...]:
    """The keys of the JSON that it shows."""
    return tuple(re.findall(r'"(\w+)":', reply))
