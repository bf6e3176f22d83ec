"""Reads the prompts of the sources: whole, by one pattern a kind, or not at all.

Invariant: a prompt that was read says nothing but what is returned, so that questions about all of it
test all of the prompt. Two things of a prompt are never called alike, and no thing is called by what
it is to be asked for ("a wine glass" where glass is a material).
"""

from __future__ import annotations

import re
from typing import NamedTuple

COLORS = (
    "red orange yellow green blue purple pink brown black white gray grey gold silver beige"
).split()
SHAPES = (
    "oval rectangular round square triangular cubic cylindrical spherical conical pentagonal "
    "pyramidal teardrop oblong circular crescent hexagonal"
).split()
SUBSTANCES = "wooden metallic glass plastic leather rubber fabric".split()
NUMBERS = "one two three four five six seven eight nine ten".split()
DIRECTIONS = {
    "on the left of": "to the left of it", "on the right of": "to the right of it",
    "on the top of": "above it", "on the bottom of": "below it",
    "left of": "to the left of it", "right of": "to the right of it",
    "above": "above it", "below": "below it",
    "in front of": "in front of it", "behind": "behind it", "hidden by": "behind it",
}  # fmt: skip
PAIR = re.compile(r"an? (\w+) ([a-z ]+?) and an? (\w+) ([a-z ]+)\.?")
RELATION = re.compile(rf"(?:a photo of )?an? ([a-z ]+?) ({'|'.join(DIRECTIONS)}) an? ([a-z ]+)\.?")
COUNTED = re.compile(r"(\w+) ([a-z]+)")
IRREGULAR = (
    "man",
    "woman",
    "person",
    "mouse",
    "fish",
    "sheep",
    "goldfish",
    "shrimp",
    "knife",
    "deer",
)
SENTENCE = re.compile(r"[A-Z][a-z]*(?:,? [a-z]+)+\.")
SMALL = (
    "the a an of to in on at with and was were is are by from its as for over under into".split()
)


class Thing(NamedTuple):
    """What a prompt calls something, and what it says of it."""

    name: str
    value: str


class Placed(NamedTuple):
    """`first` is at `place`, seen from `second`."""

    first: str
    second: str
    place: str


def pair(prompt: str, values: list[str]) -> list[Thing] | None:
    """Reads "a red apple and a green train", each with one of `values`."""
    found = PAIR.fullmatch(prompt)
    if not found:
        return None
    things = [Thing(found[2], found[1]), Thing(found[4], found[3])]
    named = [each.name for each in things]
    asked = all(each.value in values for each in things)
    return things if asked and _apart(*named) and not _say(named, values) else None


def placed(prompt: str) -> Placed | None:
    """Reads "a cat on the left of a cup", and "a photo of a tv below a cow"."""
    found = RELATION.fullmatch(prompt)
    if not found or not _apart(found[1], found[3]):
        return None
    return Placed(found[1], found[3], DIRECTIONS[found[2]])


def counts(prompt: str) -> list[Thing] | None:
    """Reads "three bowls, one sofa and two cups": each thing by its plural, with its number."""
    things = []
    for part in re.split(r", and |, | and ", prompt):
        found = COUNTED.fullmatch(part)
        if not found or found[1] not in NUMBERS or found[2] in IRREGULAR:
            return None
        many = found[2] if found[1] != "one" else plural(found[2])
        things.append(Thing(many, found[1]))
    regular = all(each.name.endswith("s") for each in things)
    return things if regular and _apart(*(each.name for each in things)) else None


def title(prompt: str) -> list[str] | None:
    """The words of a plain sentence that mean something, each once, for a text to be drawn."""
    if not SENTENCE.fullmatch(prompt):
        return None
    words = dict.fromkeys(re.findall("[a-z]+", prompt.lower()))
    return [word for word in words if word not in SMALL]


def plural(noun: str) -> str:
    if noun.endswith(("s", "x", "ch", "sh")):
        return f"{noun}es"
    return f"{noun[:-1]}ies" if noun[-1] == "y" and noun[-2] not in "aeiou" else f"{noun}s"


def _apart(*names: str) -> bool:
    """No word is in two of the names."""
    words = [word for name in names for word in set(name.split())]
    return len(set(words)) == len(words)


def _say(names: list[str], values: list[str]) -> bool:
    """One of the names has one of the values in it, also as "pyramid" has "pyramidal"."""
    stems = {value[:5] for value in values}
    return any(word[:5] in stems for name in names for word in name.split())
