"""Rewrites TIIF's yes/no questions as UniCycle's: the paper's rule of which kind asks for what.

Invariant: negation is asked by yes or no; space, material and comparison by choice; color, number,
shape, style and action openly; text by its words. Whether a thing is there at all is no target and is
left out, and so is what no pattern reads: each by a name under which it is counted.
"""

from __future__ import annotations

import re
from collections.abc import Callable

import numpy as np

from evaluation.unicycle.building import grammar, wording
from evaluation.unicycle.instances import Question

KEYWORDS = re.compile(r'"([^"]+)"')
PLACES = {
    "left": ("to the left of it", wording.SIDES), "right": ("to the right of it", wording.SIDES),
    "top": ("above it", wording.SIDES), "above": ("above it", wording.SIDES),
    "bottom": ("below it", wording.SIDES), "below": ("below it", wording.SIDES),
    "front": ("in front of it", wording.DEPTHS), "behind": ("behind it", wording.DEPTHS),
    "hidden": ("behind it", wording.DEPTHS),
}  # fmt: skip
NEARNESS = ("next to it", "above it", "below it", "inside it")
FURTHER = re.compile(r" (?:from|within|in) ")
THING = r"(?P<thing>[\w' -]+?)"
NO_VERBS = {"building", "ring", "earring", "king", "ceiling", "painting", "wing", "string", "spring", "something", "everything",
            "morning", "evening", "clothing", "lightning", "wedding", "swing", "railing"}  # fmt: skip
LOOSE = {
    "in",
    "to",
    "related",
    "observing",
    "rests",
    "partially",
    "wearing",
    "dressed",
    "holding",
    "made",
    "with",
    "that",
    "not",
    "described",
    "both",
}
Rule = Callable[[re.Match[str], np.random.Generator], Question | None]


def keywords(prompt: str) -> list[str]:
    """Returns the words that a prompt of type "text" wants to be written."""
    return KEYWORDS.findall(prompt.split("text on it")[-1])


def rewritten(
    asked: str, answer: str, negation: bool, random: np.random.Generator
) -> Question | str:
    """Returns the question of UniCycle for one of TIIF's, or the name under which it is left out."""
    text = " ".join(asked.split())
    if answer == "no":
        return Question("yes_no", text, "no") if negation else "denied outside negation"
    if re.match(r"(?:Is|Are|Do|Does) (?:there|this|an? )", text):
        return "existence"
    for pattern, rule in RULES:
        if found := pattern.fullmatch(text):
            made = rule(found, random)
            if made is not None:
                return made
    return next((name for name in ("comparison", "differentiation") if name in text), "unread")


def _place(found: re.Match[str], random: np.random.Generator) -> Question | None:
    thing, other = found["thing"], FURTHER.split(found["other"])[0]
    words = found["how"].lower().split()
    ways = {PLACES[word] for word in words if word in PLACES} or {(NEARNESS[0], NEARNESS)}
    if len(ways) != 1 or other in ("image", "picture", "scene", thing) or _loose(thing):
        return None
    return wording.place(thing, other, *ways.pop(), random)


def _count(found: re.Match[str], random: np.random.Generator) -> Question | None:
    number, things = int(found["number"]), found["thing"]
    if not 0 < number <= len(grammar.NUMBERS):
        return None
    many = things if things.endswith("s") or number > 1 else grammar.plural(things)
    return wording.count(many, grammar.NUMBERS[number - 1])


def _material(found: re.Match[str], random: np.random.Generator) -> Question | None:
    if found["value"] == "fluffy":
        do = "does" if wording.be(found["thing"]) == "is" else "do"
        return Question("open", f"What texture {do} the {found['thing']} have?", "fluffy")
    if _loose(found["thing"]):
        return None
    return wording.material(found["thing"], found["value"], random)


def _color(found: re.Match[str], random: np.random.Generator) -> Question | None:
    return None if _loose(found["thing"]) else wording.color(found["thing"], found["value"])


def _shape(found: re.Match[str], random: np.random.Generator) -> Question | None:
    return None if _loose(found["thing"]) else wording.shape(found["thing"], found["value"])


def _style(found: re.Match[str], random: np.random.Generator) -> Question | None:
    return Question("open", "In which style is the picture?", found["value"])


def _comparison(found: re.Match[str], random: np.random.Generator) -> Question | None:
    more, less = found["thing"], found["other"]
    if more.lower() == less.lower():
        return None
    options = (*random.permutation([more, less]).tolist(), wording.ALIKE, wording.NONE)
    return Question("choice", f"Which {found['be']} {found['how']}?", more, options)


def _action(found: re.Match[str], random: np.random.Generator) -> Question | None:
    verb = found["value"].split()[0]
    if verb in NO_VERBS or _loose(found["thing"]) or verb in LOOSE:
        return None
    return Question(
        "open", f"What {found['be'].lower()} the {found['thing']} doing?", found["value"]
    )


def _loose(thing: str) -> bool:
    """It is more than the name of a thing."""
    return bool(LOOSE & set(thing.split()))


_COLORS, _SHAPES = "|".join([*grammar.COLORS, "golden"]), "|".join([*grammar.SHAPES, "diamond"])
_SUBSTANCES = "|".join([*wording.MATERIALS, "fluffy"])
_BE = r"(?P<be>Is|Are)"
RULES: list[tuple[re.Pattern[str], Rule]] = [
    (re.compile(pattern), rule)
    for pattern, rule in (
        (rf"{_BE} the number of {THING} (?P<number>\d{{1,3}})\?", _count),
        (r"Is the image in (?P<value>.+) style\?", _style),
        (rf"{_BE} the {THING}(?: made of|) (?P<value>{_SUBSTANCES})(?: in texture|)\?", _material),
        (rf"{_BE} the {THING} (?P<value>{_COLORS})(?: in color|)\?", _color),
        (rf"{_BE} the {THING} (?P<value>{_SHAPES})(?: in shape|)\?", _shape),
        (rf"{_BE} the {THING} (?:in the shape of|shaped like) an? (?P<value>[\w ]+)\?", _shape),
        (rf"{_BE} the {THING} (?P<value>\w+)-shaped\?", _shape),
        (
            rf"{_BE} the {THING} (?:positioned |located |placed |standing |sitting |)"
            r"(?P<how>(?:on |to |at |by |in |)(?:the |)(?:left|right|top|bottom|side|front)"
            r"(?: side|) of|(?:hidden |)(?:behind|above|below)|hidden by|near|next to|beside) "
            r"the (?P<other>[\w' -]+)\?",
            _place,
        ),
        (
            rf"Does the image present a comparison logic: {THING} (?P<be>is|are) "
            r"(?P<how>(?:more|less|fewer)(?: \w+|)|\w+er) than (?P<other>[\w' -]+)\?",
            _comparison,
        ),
        (rf"{_BE} the {THING} (?P<value>[a-z]+ing(?: [\w' -]+)?)\?", _action),
    )
]
