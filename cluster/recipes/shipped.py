"""YAML files of one kind that ship in a folder, by their names, beside one's own by path.

Invariant: what ends in .yaml is a path, all else a name of a file that ships.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from actors.storage.paths import StoragePath, parse_path
from policies.errors import ConfigError, printable


@dataclass(frozen=True)
class Shipped:
    """`kind` is what a message calls one of them."""

    kind: str
    folder: Path

    def names(self) -> list[str]:
        return sorted(file.stem for file in self.folder.glob("*.yaml"))

    def file(self, name: str) -> StoragePath:
        """The file of that name, or at that path. Raises ConfigError for an unknown name."""
        if name.endswith(".yaml"):
            return parse_path(name)
        if name in self.names():
            return self.folder / f"{name}.yaml"
        raise ConfigError(
            f"there is no {self.kind} {printable(name)}: give one of {', '.join(self.names())}, or a "
            "YAML file"
        )

    def listed(self, said: Callable[[str], str]) -> str:
        """Each name with what is `said` of it, a line each."""
        width = max(map(len, self.names()))
        return "\n".join(f"{name:<{width}}  {said(name)}" for name in self.names())
