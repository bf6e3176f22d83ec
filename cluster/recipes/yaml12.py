"""YAML as the people who write recipes mean it: the core schema of YAML 1.2, by yamlcore.

Invariant: 1e-4 is a number, `on` and 2026-11-22 are texts, and what `dump` wrote `leaves` reads
as the same values of the same types. Every value stands in the text where it is used, once: there
are no tags, anchors and aliases, so no short text can mean a huge or endless value.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import yaml
from yamlcore import CoreDumper, CoreLoader

from policies.errors import printable

DEPTH = 8


class YamlError(ValueError):
    """`line` counts from 1."""

    def __init__(self, problem: str, line: int) -> None:
        super().__init__(problem)
        self.line = line


class _Loader(CoreLoader):
    depth = 0

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        event = self.peek_event()
        problem = "lists and sections are nested too deeply" if self.depth > DEPTH else ""
        if event.anchor is not None or getattr(event, "tag", None) is not None:
            problem = "anchors (&), aliases (*) and tags (!) are not read; write the value out"
        if problem:
            raise yaml.composer.ComposerError(None, None, problem, event.start_mark)
        self.depth += 1
        node = super().compose_node(parent, index)
        self.depth -= 1
        return node


class _Dumper(CoreDumper):
    """Lists stand on one line."""

    def represent_sequence(self, tag: str, sequence: Any, flow_style: bool | None = None) -> Any:
        return super().represent_sequence(tag, sequence, flow_style=True)


Leaf = tuple[str, object, int]
"""Dotted name, value, line from 1."""


def leaves(text: str, under: str = "") -> list[Leaf]:
    """Every value of a document of nested mappings, in its order; their names go on from `under`.

    Raises YamlError.
    """
    try:
        loader = _Loader(text)
        node = loader.get_single_node()
        path = (under,) if under else ()
        return [] if node is None else list(_walk(loader, node, path))
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        raise YamlError(error.problem or str(error), mark.line + 1 if mark else 1) from error
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise YamlError(f"{error.reason} ({chr(error.character)!r})", line) from error
    except YamlError:
        raise
    except (ValueError, OverflowError) as error:  # PyYAML asks chr() for what \\U names
        raise YamlError("an escape in a quoted text names no letter", loader.line + 1) from error


def _walk(loader: _Loader, node: yaml.Node, path: tuple[str, ...]) -> Iterator[Leaf]:
    line = node.start_mark.line + 1
    if not isinstance(node, yaml.MappingNode) or (path and not node.value):
        yield ".".join(path), _value(loader, node, line), line
        return
    sections: set[str] = set()
    for key, value in node.value:
        at = key.start_mark.line + 1
        if not isinstance(key, yaml.ScalarNode):
            raise YamlError("a name must be a plain text", at)
        if isinstance(value, yaml.MappingNode):
            if key.value in sections:
                raise YamlError(f"the section {printable(key.value)} stands twice; make it one", at)
            sections.add(key.value)
        yield from _walk(loader, value, (*path, key.value))


def _value(loader: _Loader, node: yaml.Node, line: int) -> object:
    try:
        return loader.construct_object(node, deep=True)
    except ValueError as error:  # from int(), which reads no more than 4300
        raise YamlError("a number has too many digits", line) from error


def dump(value: object) -> str:
    return str(yaml.dump(value, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=100))


def scalar(value: object) -> str:
    """One value on one line, as it would stand in a recipe."""
    flow: Sequence[str] = dump([value]).strip().splitlines()
    return " ".join(part.strip() for part in flow)[1:-1]
