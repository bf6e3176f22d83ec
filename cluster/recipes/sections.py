"""Settings by dotted name become nested frozen dataclasses, with strict types.

Invariant: nothing is guessed. A name that is no field, a value of another type and a value that
a section refuses are each one ConfigError with the place where it was set.
"""

from __future__ import annotations

import dataclasses
import difflib
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

from policies.config import ConfigError
from policies.errors import describe, printable

T = TypeVar("T")

# What is larger is a mistake, and would overflow where it is multiplied, waited for or stored.
MOST = 1e9
MOST_WHOLE = 2**63 - 1


@dataclass(frozen=True)
class Setting:
    value: object
    origin: str
    """Where it was set, for messages."""


Settings = dict[str, Setting]
"""By dotted name, such as trainer.lr; a name that is set later replaces an earlier one."""


def build(section: type[T], settings: Mapping[str, Setting]) -> T:
    """The section with `settings` over its defaults. Raises ConfigError."""
    known = list(_names(section, ""))
    for name, setting in settings.items():
        _check_known(name, setting, known)
    try:
        return _build(section, "", settings)
    except ConfigError as error:
        raise ConfigError(f"{_origin(str(error), settings)}{error}") from error


def flat(section: object) -> dict[str, object]:
    """Every value of a section by its dotted name."""

    def walk(tree: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, object]]:
        for name, value in tree.items():
            if isinstance(value, dict):
                yield from walk(value, f"{prefix}{name}.")
            else:
                yield prefix + name, value

    return dict(walk(dataclasses.asdict(section), ""))  # type: ignore[call-overload]


def _names(section: type, prefix: str) -> Iterator[str]:
    """The dotted name of every value; the entries of a mapping are those of its default."""
    hints = get_type_hints(section)
    for field in dataclasses.fields(section):
        name = prefix + field.name
        if dataclasses.is_dataclass(hints[field.name]):
            yield from _names(hints[field.name], f"{name}.")
        elif get_origin(hints[field.name]) is dict:
            yield from (f"{name}.{entry}" for entry in _default(field))
        else:
            yield name


def _default(field: dataclasses.Field[Any]) -> dict[str, object]:
    assert callable(field.default_factory), f"{field.name} is a mapping without a default"
    return dict(field.default_factory())


def _check_known(name: str, setting: Setting, known: list[str]) -> None:
    if name in known:
        return
    if not name:
        raise ConfigError(f"{setting.origin}: a recipe is a list of `field: value`")
    if inside := [k for k in known if k.startswith(f"{name}.")]:
        if setting.value == {}:
            return
        raise ConfigError(
            f"{setting.origin}: {name} is {describe(setting.value)}: it must be a section with "
            f"fields such as {inside[0]}"
        )
    name = name[:200]  # longer ones take minutes to compare
    raise ConfigError(
        f"{setting.origin}: there is no field {printable(name)}; the nearest is {_nearest(name, known)}"
    )


def _nearest(name: str, known: Iterable[str]) -> str:
    """By the whole name, or by its last part: `lr` is near to trainer.lr."""

    def likeness(candidate: str) -> tuple[float, float]:
        whole = difflib.SequenceMatcher(None, name, candidate).ratio()
        last = difflib.SequenceMatcher(None, name.split(".")[-1], candidate.split(".")[-1]).ratio()
        return max(whole, last), whole

    return max(known, key=likeness)


def _build(section: type[T], prefix: str, settings: Mapping[str, Setting]) -> T:
    hints = get_type_hints(section)
    values: dict[str, object] = {}
    for field in dataclasses.fields(section):  # type: ignore[arg-type]
        name, hint = prefix + field.name, hints[field.name]
        if dataclasses.is_dataclass(hint):
            values[field.name] = _build(hint, f"{name}.", settings)  # type: ignore[arg-type]
        elif get_origin(hint) is dict:
            given = {f"{name}.{entry}": entry for entry in _default(field)}
            kind = get_args(hint)[1]
            values[field.name] = _default(field) | {
                entry: _convert(full, kind, settings[full].value)
                for full, entry in given.items()
                if full in settings
            }
        elif name in settings:
            values[field.name] = _convert(name, hint, settings[name].value)
    return section(**values)


def _convert(name: str, hint: Any, value: Any) -> object:
    """`value` as the type of the field; a whole number may stand for a number, and no more."""
    if type(None) in get_args(hint):
        return None if value is None else _convert(name, get_args(hint)[0], value)
    if hint is float and type(value) in (int, float) and abs(value) <= MOST:
        return float(value)
    if hint is bool and type(value) is bool:
        return value
    if hint is int and type(value) is int and abs(value) <= MOST_WHOLE:
        return value
    if hint is str and type(value) is str and _can_be_a_path(value):
        return value
    if get_origin(hint) is tuple and isinstance(value, list):
        kinds = get_args(hint)
        kinds = kinds[:1] * len(value) if kinds[-1] is Ellipsis else kinds
        if len(kinds) == len(value):
            return tuple(_convert(name, k, v) for k, v in zip(kinds, value, strict=True))
    raise ConfigError(f"{name} is {describe(value)}: it must be {_expected(hint)}")


def _can_be_a_path(text: str) -> bool:
    """All texts in a recipe are names or paths, and no disk takes any other."""
    short = len(text) <= 1000
    return short and text.isprintable() and all(len(os.fsencode(p)) < 256 for p in text.split("/"))


def _expected(hint: Any) -> str:
    plain = {
        int: "a whole number below 2**63",
        float: f"a finite number within {MOST:g} of 0",
        str: "a text (quote it) that can be a name or a path",
    }
    if get_origin(hint) is not tuple:
        return plain.get(hint, "true or false")
    kinds = get_args(hint)
    count = "" if kinds[-1] is Ellipsis else f" of {len(kinds)}"
    return f"a list{count}, each {plain[kinds[0]]}"


def _origin(message: str, settings: Mapping[str, Setting]) -> str:
    """The place of the field that a refusal begins with; empty if it is at its default."""
    field = message.split(" ", 1)[0]
    for name, setting in settings.items():
        if name == field or name.startswith(f"{field}."):
            return f"{setting.origin}: "
    return ""
