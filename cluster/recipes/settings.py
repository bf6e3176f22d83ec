"""Settings by dotted name become a section, and a section becomes them again.

Invariant: nothing is guessed. A name that is no field, a value of another type and a value that
a section refuses are each one ConfigError with the place where it was set.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from policies.config import Section, sections_of
from policies.config_errors import no_field, no_section
from policies.errors import ConfigError

SectionT = TypeVar("SectionT", bound=Section)


@dataclass(frozen=True)
class Setting:
    value: object
    origin: str
    """Where it was set, for messages."""


Settings = dict[str, Setting]
"""By dotted name, such as trainer.lr; a name that is set later replaces an earlier one."""

FORMER = {"reconstruction.condition_dropout": "reconstruction.condition_dropout.text"}
"""Values that became sections, and the field that they are now: runs that have them can be read."""


def build(section: type[SectionT], settings: Mapping[str, Setting]) -> SectionT:
    """The section with `settings` over its defaults. Raises ConfigError."""
    settings = {FORMER.get(k, k) if s.value != {} else k: s for k, s in settings.items()}
    known = list(dict.fromkeys(names(section)))
    tree: dict[str, Any] = {}
    for name, setting in settings.items():
        if _is_known(name, setting, known):
            *path, last = name.split(".")
            branch = tree
            for part in path:
                branch = branch.setdefault(part, {})
            branch[last] = setting.value
    try:
        return section(**tree)
    except ConfigError as error:
        raise ConfigError(f"{_origin(str(error), settings)}{error}") from error


def flat(section: Section, prefix: str = "") -> dict[str, object]:
    """Every value of a section by its dotted name."""
    found: dict[str, object] = {}
    for name, value in section:
        if isinstance(value, Section):
            found |= flat(value, f"{prefix}{name}.")
        else:
            found[prefix + name] = value
    return found


def names(section: type[Section], prefix: str = "") -> Iterator[str]:
    """The dotted name of every value; those of several families may come more than once."""
    for name, field in section.model_fields.items():
        held = sections_of(field.annotation)
        for each in held:
            yield from names(each, f"{prefix}{name}.")
        if not held:
            yield prefix + name


def _is_known(name: str, setting: Setting, known: list[str]) -> bool:
    """Whether it is the setting of a value: an empty section sets none. Raises ConfigError."""
    if name in known:
        return True
    if not name:
        raise ConfigError(f"{setting.origin}: a recipe is a list of `field: value`")
    if inside := [k for k in known if k.startswith(f"{name}.")]:
        if setting.value == {}:
            return False
        raise ConfigError(f"{setting.origin}: {no_section(name, setting.value, inside[0])}")
    raise ConfigError(f"{setting.origin}: {no_field(name, known)}")


def _origin(message: str, settings: Mapping[str, Setting]) -> str:
    """The place of the field that a refusal begins with; empty if it is at its default."""
    field = message.removeprefix("there is no field ").split(" ", 1)[0].rstrip(";")
    for name, setting in settings.items():
        if name == field or name.startswith(f"{field}."):
            return f"{setting.origin}: "
    return ""
