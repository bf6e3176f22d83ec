"""What a drawing of the tiny world is made of, and what can be said about it.

Invariant: a `Prompt` is determined by its text; its facts, in the order of the words, are all that
a drawing must satisfy. A `Scene` holds everything that `render` needs.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

SIDE = 48
"""Width and height of a drawing in pixels."""

Color = tuple[float, float, float]


@dataclass(frozen=True)
class Fact:
    """One checkable statement, such as Fact("color", "second", "blue"). `subject` is "scene", or an
    item by its place in the prompt: "first", "second", "third"."""

    kind: str
    subject: str
    value: str


@dataclass(frozen=True)
class Prompt:
    """A text with what it means; `facts` are in the order of its words."""

    text: str
    category: str
    subcategory: str
    facts: tuple[Fact, ...]

    def value(self, kind: str, subject: str = "first") -> str | None:
        for fact in self.facts:
            if fact.kind == kind and fact.subject == subject:
                return fact.value
        return None

    def item(self, subject: str) -> dict[str, str]:
        """Returns what the prompt says about one item: kind of fact to value."""
        return {fact.kind: fact.value for fact in self.facts if fact.subject == subject}


@dataclass(frozen=True)
class Object:
    """A shape or motif at (x, y) pixels; `r` is its radius, or a motif's scale.

    `item` is the item of the prompt that it shows ("" if none asked for it).
    """

    kind: str
    x: float
    y: float
    r: float
    traits: dict[str, str] = field(default_factory=dict)
    item: str = ""


@dataclass(frozen=True)
class Scene:
    """Objects from back to front on `paper`, a plain color; `time` paints a sky over it."""

    objects: tuple[Object, ...]
    paper: Color
    style: str = "plain"
    time: str = ""
    ground: bool = False


Image = np.ndarray
