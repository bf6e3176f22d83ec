"""Mixes up a prompt: two of its words change places, so that the same things stand in another relation.

Invariant: the other prompt parses, is no right description of a scene of the first one, and mixed up
again it is the first one.
"""

from __future__ import annotations

from policies.tiny.world import lexicon as lx
from policies.tiny.world.parser import parse
from policies.tiny.world.prompts import agreeing
from policies.tiny.world.scene import Prompt

# The first of these of which a prompt has two different words.
_GROUPS = (lx.COLORS, lx.LEVELS, lx.COUNTRIES, lx.LETTERS, lx.SHAPES)


def mixed_up(prompt: Prompt) -> Prompt | None:
    """The prompt in which the first two different colors (or levels, countries, letters, shapes) have
    changed places: "a blue circle above a red star" for "a red circle above a blue star". None where
    nothing can, or where the same is said in other words."""
    words = prompt.text.split(" ")
    # Letters stand between quotation marks: before these "a" is an article.
    quoted = words.index('"') if '"' in words else len(words)
    for group in _GROUPS:
        first = quoted if group is lx.LETTERS else 0
        places = [at for at in range(first, len(words)) if words[at] in group]
        others = [at for at in places if words[at] != words[places[0]]]
        if not others:
            continue
        one, two = places[0], others[0]
        words[one], words[two] = words[two], words[one]
        other = parse(agreeing(" ".join(words)))
        return None if _same(prompt, other) else other
    return None


def _same(prompt: Prompt, other: Prompt) -> bool:
    """Whether they name the same things, and no relation between them."""
    if prompt.value("relation"):
        return False
    return _items(prompt) == _items(other)


def _items(prompt: Prompt) -> list[list[tuple[str, str]]]:
    subjects = dict.fromkeys(fact.subject for fact in prompt.facts)
    # Letters stand in an order.
    ordered = [sorted(prompt.item(subject).items()) for subject in subjects]
    return ordered if prompt.category == "text rendering" else sorted(ordered)
