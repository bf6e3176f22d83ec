"""The rooms of the program and who imports whom, read from its files.

Invariant: the figure in docs/architecture.md follows from the imports alone; a test compares them,
and `python -m tests.house` draws it anew.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "architecture.md"
STOREYS = ("policies", "actors", "evaluation", "trainer", "cluster")
"""A package may import itself and those before it."""
WITH_ROOMS = ("actors", "cluster")
OPEN, CLOSE = "```mermaid\n", "```\n"

Arrows = dict[str, set[str]]
"""For each room the rooms that it imports."""


def files(storey: str) -> list[Path]:
    return sorted((ROOT / storey).rglob("*.py"))


def imports(path: Path) -> Iterator[tuple[int, str]]:
    """Line and full name of everything that a file imports, also inside functions."""
    package = ".".join(path.relative_to(ROOT).parent.parts)
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            start = package.split(".")[: -node.level + 1 or None] if node.level else []
            base = ".".join([*start, *filter(None, [node.module])])
            yield from ((node.lineno, f"{base}.{alias.name}") for alias in node.names)


def room(name: str) -> str:
    """The room of a module or of what is imported from it: a folder of its storey, or a file that
    stands in no folder."""
    return ".".join(name.split(".")[:2])


def arrows(storey: str) -> Arrows:
    """Among the rooms of one storey."""
    found: Arrows = {}
    for path in files(storey):
        relative = path.relative_to(ROOT).with_suffix("")
        if relative.name == "__init__" and len(relative.parts) == 2:
            continue
        own = found.setdefault(room(".".join(relative.parts)), set())
        own |= {room(name) for _, name in imports(path) if name.startswith(f"{storey}.")}
    return {own: (others & found.keys()) - {own} for own, others in found.items()}


def without_shortcuts(given: Arrows) -> Arrows:
    """Without the arrows that a longer way replaces: fewer lines say the same."""
    kept = {own: set(others) for own, others in given.items()}
    for own in sorted(kept):
        for other in sorted(kept[own]):
            kept[own].discard(other)
            if other not in reached(kept, own):
                kept[own].add(other)
    return kept


def reached(given: Arrows, start: str) -> set[str]:
    """All rooms that `start` imports, directly or by way of others."""
    found: set[str] = set()
    ahead = [start]
    while ahead:
        new = given[ahead.pop()] - found
        found |= new
        ahead += new
    return found


def figure() -> str:
    """The house as a Mermaid diagram, the highest storey first."""
    lines = ["flowchart TB"]
    for storey in reversed(STOREYS):
        if storey not in WITH_ROOMS:
            lines.append(f'  {storey}["{storey}/"]')
            continue
        inside = without_shortcuts(arrows(storey))
        lines.append(f'  subgraph {storey}["{storey}/"]')
        lines += [f"    {_node(own)}" for own in sorted(inside)]
        lines += [
            f"    {own} --> {other}" for own in sorted(inside) for other in sorted(inside[own])
        ]
        lines.append("  end")
    lines.append(f"  {' ==> '.join(reversed(STOREYS))}")
    return "\n".join(lines) + "\n"


def _node(own: str) -> str:
    name = own.split(".")[1]
    folder = (ROOT / own.replace(".", "/")).is_dir()
    return f'{own}["{name}/"]' if folder else f'{own}(["{name}"])'


def drawn(page: str, new: str) -> str:
    """`page` with `new` in the place of its figure."""
    before, _, rest = page.partition(OPEN)
    return before + OPEN + new + CLOSE + rest.partition(CLOSE)[2]


if __name__ == "__main__":
    PAGE.write_text(drawn(PAGE.read_text(), figure()))
