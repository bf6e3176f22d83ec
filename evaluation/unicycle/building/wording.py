"""Words the questions about what a prompt asks for.

Invariant: a question holds no answer, not its own and not that of another question about the same
prompt. One option in five is left out where "none of these" is the answer then, so that it must be
considered; options stand in an order that follows from the generator that is given.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from evaluation.unicycle.instances import Question

NONE, ALIKE = FIXED = ("none of these", "both alike")
MATERIALS = {
    "wooden": "wood", "metallic": "metal", "metal": "metal", "glass": "glass", "plastic": "plastic",
    "leather": "leather", "rubber": "rubber", "fabric": "fabric", "wood": "wood",
}  # fmt: skip
COMMON = ("wood", "metal", "glass", "plastic")
"""Wrong options: what a thing may be made of. Leather, rubber and fabric may look like one another."""
SIDES = ("to the left of it", "to the right of it", "above it", "below it")
DEPTHS = ("in front of it", "behind it", "to the left of it", "to the right of it")
LEFT_OUT = 5


def be(thing: str) -> str:
    """Returns "is" or "are": nouns in "s" are taken for plurals, but for "glass", "bus" and their like.
    A box of chocolates is one."""
    last = thing.split(" of ")[0].split()[-1]
    one = last.endswith(("ss", "us", "is")) or not last.endswith("s") or last == "lens"
    return "is" if one and last not in PLURALS else "are"


PLURALS = {"skis", "people", "men", "women", "children", "mice", "geese", "teeth", "feet"}


def color(thing: str, answer: str) -> Question:
    return Question("open", f"What color {be(thing)} the {thing}?", answer)


def shape(thing: str, answer: str) -> Question:
    return Question("open", f"What shape {be(thing)} the {thing}?", answer)


def count(things: str, answer: str) -> Question:
    """`things` is the plural, which does not tell how many there are."""
    return Question("open", f"How many {things} are there in the picture?", answer)


def material(thing: str, answer: str, random: np.random.Generator) -> Question:
    """`answer` is as in the prompt, such as "wooden"."""
    right = MATERIALS[answer]
    wrong = [each for each in COMMON if each != right]
    options = [right, *random.permutation(wrong)[:3].tolist()]
    shown = tuple(random.permutation(options).tolist())
    return Question("choice", f"What {be(thing)} the {thing} made of?", right, shown)


def place(
    thing: str, other: str, answer: str, places: Sequence[str], random: np.random.Generator
) -> Question:
    """Where `thing` is, seen from `other`: three of `places` and none of them."""
    wrong = random.permutation([each for each in places if each != answer]).tolist()
    kept = wrong[:3] if random.integers(LEFT_OUT) == 0 else [answer, *wrong[:2]]
    shown = (*random.permutation(kept).tolist(), NONE)
    text = f"Where {be(thing)} the {thing} in relation to the {other}?"
    return Question("choice", text, answer if answer in kept else NONE, shown)


def present(thing: str, answer: bool) -> Question:
    text = f"{be(thing).capitalize()} there {some(thing)} in the picture?"
    return Question("yes_no", text, "yes" if answer else "no")


def written(words: Sequence[str]) -> Question:
    text = "What text is written in the picture?"
    return Question("text", text, " ".join(words), keywords=tuple(words))


def some(thing: str, value: str = "") -> str:
    """Returns "a green bench", "an apple", "blue skis"."""
    phrase = f"{value} {thing}".strip()
    if be(thing) == "are":
        return phrase
    vowel = phrase[0] in "aeiou" and not phrase.startswith(("uni", "use"))
    return f"{'an' if vowel else 'a'} {phrase}"
