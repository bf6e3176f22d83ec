"""Prompts with one word replaced, so that what shows the one is wrong for the other.

Invariant: the new word is one that other prompts have, so that whoever reads those can read it, and
what is replaced follows from the key alone.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from functools import cache
from pathlib import Path

import yaml

from policies.seeds import generator

_WORDS = re.compile(r"\w+|\W+")
_VOWELS = "aeiou"


def edited(prompt: str, known: Collection[str], *key: int | str) -> str | None:
    """`prompt` with one word replaced by another of its kind that is among the `known` words, or
    None where there is no such word. Letters keep their case, and "a" becomes "an" where it must."""
    parts = _WORDS.findall(prompt)
    found = [(place, other) for place, word in enumerate(parts) for other in _others(word, known)]
    if not found:
        return None
    place, other = found[int(generator("edit", *key).integers(len(found)))]
    parts[place] = other.capitalize() if parts[place][0].isupper() else other
    if place >= 2 and parts[place - 1] == " " and parts[place - 2].lower() in ("a", "an"):
        article = parts[place - 2][0]
        parts[place - 2] = f"{article}n" if other[0] in _VOWELS else article
    return "".join(parts)


def words_of(prompts: Collection[str]) -> frozenset[str]:
    """All words of the prompts, small."""
    return frozenset(part.lower() for text in prompts for part in _WORDS.findall(text))


def _others(word: str, known: Collection[str]) -> Iterator[str]:
    small = word.lower()
    return (
        other
        for kind in kinds()
        if small in kind
        for other in kind
        if other != small and other in known
    )


@cache
def kinds() -> tuple[tuple[str, ...], ...]:
    """The words that can stand for one another."""
    text = (Path(__file__).parent / "data" / "edits.yaml").read_text(encoding="utf-8")
    return tuple(map(tuple, yaml.safe_load(text)))
