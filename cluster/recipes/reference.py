"""The page of all settings, docs/recipes.md, made from the sections themselves.

Invariant: what the page says of a field is what refuses its values. `python -m
cluster.recipes.reference > docs/recipes.md` writes it anew; a test compares.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Iterator
from types import NoneType
from typing import Any, Literal, get_args, get_origin

from pydantic.fields import FieldInfo

from cluster.recipes import yaml12
from policies.config import Section, sections_of
from policies.config_errors import allowed, item_type
from trainer.config import RunConfig

HEAD = """# Recipes

<!-- Made by `python -m cluster.recipes.reference > docs/recipes.md`; edit the sections' fields instead. -->

A recipe is a YAML file (YAML 1.2: `1e-4` is a number, `on` a text) of the settings that differ from
the defaults below. `base: other.yaml` takes all settings of another recipe first. On the command
line `trainer.lr=2e-4` sets one field and `trainer.loss_weights.caption=0.1` one of a section inside
a section; the last setting of a field wins. `unicorn-ray run RECIPE --dry-run` shows every setting
of a run. Numbers lie within 1e9 of 0, and texts can be names or paths."""
ROW = "| {} | {} | {} | {} | {} |"
TYPES = {int: "whole number", float: "number", str: "text", bool: "true or false"}


def page() -> str:
    """The whole page in Markdown."""
    return "\n".join([HEAD, *_section(RunConfig, "The run")]) + "\n"


def _section(section: type[Section], title: str) -> Iterator[str]:
    yield from ("", f"## {title}", "", " ".join((inspect.getdoc(section) or "").split()), "")
    fields = section.model_fields.items()
    plain = [(name, field) for name, field in fields if not sections_of(field.annotation)]
    yield ROW.format("field", "type", "default", "allowed", "what it is")
    yield "|---|---|---|---|---|"
    yield from (_row(name, field) for name, field in plain)
    for _, field in fields:
        for each in sections_of(field.annotation):
            yield from _section(each, f"`{each.section}`" + (each.variant and f", {each.variant}"))


def _row(name: str, field: FieldInfo) -> str:
    takes = allowed(field.annotation, field.metadata)
    choices = takes.kind if _base(field.annotation) is Literal else takes.rule
    default = f"`{yaml12.scalar(field.default)}`"
    return ROW.format(f"`{name}`", _type(field.annotation), default, choices, field.description)


def _type(hint: Any) -> str:
    base, null = _base(hint), " or null" if NoneType in get_args(hint) else ""
    if base is Literal:
        return "choice"
    if base is tuple:
        return f"list, each a {_type(item_type(hint))}{null}"
    return TYPES[base] + null


def _base(hint: Any) -> Any:
    """The type below annotations and "or null"."""
    inner = [each for each in get_args(hint) if each is not NoneType]
    if get_origin(hint) in (None, Literal, tuple):
        return get_origin(hint) or hint
    return _base(inner[0])


if __name__ == "__main__":
    sys.stdout.write(page())
