"""The set of our own: ten kinds of prompts, with questions written by rule.

Invariant: the set follows from the sources and the seed alone. A kind's instances are the first of its
candidates, in an order that the seed gives, that the second rule (checking.py) finds right; no prompt
stands twice. How many each kind has is chosen so that the questions have the paper's proportions.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from evaluation.unicycle.building import grammar, sources, wording
from evaluation.unicycle.building.checking import faults
from evaluation.unicycle.instances import Instance, Question
from policies.seeds import generator

SEED = 0
Written = tuple[str, list[Question]]
"""A prompt with its questions."""
CARRIERS = (
    "wooden sign", "poster", "chalkboard", "banner", "postcard", "billboard", "book cover", "T-shirt",
    "coffee mug", "neon sign", "whiteboard", "shop window",
)  # fmt: skip
ABSENT = (
    "a photo of {one} and no {other}",
    "a photo of {one} without {some_other}",
    "a photo that shows {one} but no {other}",
)
RELATIONS = ("on the left of", "on the right of", "above", "below")
TINTS = "red orange yellow green blue purple pink brown black white".split()
"""GenEval's colors."""


def build(seed: int = SEED) -> list[Instance]:
    """Returns the instances, kind by kind. Raises ValueError if a kind has too few candidates."""
    made: list[Instance] = []
    used: set[str] = set()
    for kind, (wanted, candidates) in KINDS.items():
        random = generator("unicycle", "own", seed, kind)
        every = list(candidates(random))
        kept: list[Instance] = []
        for at in random.permutation(len(every)):
            prompt, questions = every[at]
            name = f"{kind.replace('+', '-')}-{len(kept):03d}"
            instance = Instance(name, kind, prompt, tuple(questions))
            if prompt.lower() not in used and not faults(instance):
                used.add(prompt.lower())
                kept.append(instance)
            if len(kept) == wanted:
                break
        else:
            raise ValueError(f"{kind} has {len(kept)} instances of the {wanted} that are wanted")
        made += kept
    return made


def _color(random: np.random.Generator) -> Iterator[Written]:
    for prompt in sources.lines("color_val.txt"):
        if things := grammar.pair(prompt, grammar.COLORS):
            yield prompt, [wording.color(*thing) for thing in things]


def _shape(random: np.random.Generator) -> Iterator[Written]:
    for prompt in sources.lines("shape_val.txt"):
        if things := grammar.pair(prompt, grammar.SHAPES):
            yield prompt, [wording.shape(*thing) for thing in things]


def _texture(random: np.random.Generator) -> Iterator[Written]:
    for prompt in sources.lines("texture_val.txt"):
        if things := grammar.pair(prompt, grammar.SUBSTANCES):
            yield prompt, [wording.material(*thing, random) for thing in things]


def _numeracy(random: np.random.Generator) -> Iterator[Written]:
    for prompt in sources.lines("numeracy_val.txt"):
        if things := grammar.counts(prompt):
            yield prompt, [wording.count(*thing) for thing in things]


def _numeracy_color(random: np.random.Generator) -> Iterator[Written]:
    for row in sources.geneval("counting"):
        number, _, things = row["prompt"].removeprefix("a photo of ").partition(" ")
        tint = str(random.choice(TINTS))
        prompt = f"a photo of {number} {tint} {things}"
        yield prompt, [wording.count(things, number), wording.color(things, tint)]


def _spatial(random: np.random.Generator) -> Iterator[Written]:
    prompts = [
        *sources.lines("spatial_val.txt"),
        *(r["prompt"] for r in sources.geneval("position")),
    ]
    for prompt in prompts:
        if found := grammar.placed(prompt):
            yield prompt, [wording.place(*found, wording.SIDES, random)]


def _depth(random: np.random.Generator) -> Iterator[Written]:
    for prompt in sources.lines("3d_spatial_val.txt"):
        if found := grammar.placed(prompt):
            yield prompt, [wording.place(*found, wording.DEPTHS, random)]


def _color_spatial(random: np.random.Generator) -> Iterator[Written]:
    """GenEval's pairs of colored things, each in every relation."""
    for row in sources.geneval("color_attr"):
        one, two = (grammar.Thing(each["class"], each["color"]) for each in row["include"])
        for relation in RELATIONS:
            first, second = (wording.some(*each) for each in (one, two))
            prompt = f"a photo of {first} {relation} {second}"
            where = wording.place(
                one.name, two.name, grammar.DIRECTIONS[relation], wording.SIDES, random
            )
            yield prompt, [wording.color(*one), wording.color(*two), where]


def _negation(random: np.random.Generator) -> Iterator[Written]:
    for row in sources.geneval("two_object"):
        names = [each["class"] for each in row["include"]]
        one, other = random.permutation(names).tolist()
        prompt = str(random.choice(ABSENT)).format(
            one=wording.some(one), other=other, some_other=wording.some(other)
        )
        asked = [wording.present(one, True), wording.present(other, False)]
        yield prompt, asked if random.integers(2) else asked[::-1]


def _text(random: np.random.Generator) -> Iterator[Written]:
    for line in sources.lines("complex_val.txt"):
        words, most = grammar.title(line), int(random.integers(4, 8))
        if words and len(words) >= most:
            carrier, shown = str(random.choice(CARRIERS)), words[:most]
            yield f'a photo of a {carrier} that says "{" ".join(shown)}"', [wording.written(shown)]


KINDS: dict[str, tuple[int, Callable[[np.random.Generator], Iterator[Written]]]] = {
    "color": (140, _color),
    "shape": (115, _shape),
    "texture": (150, _texture),
    "numeracy": (120, _numeracy),
    "numeracy+color": (75, _numeracy_color),
    "2d_spatial_relation": (185, _spatial),
    "3d_spatial_relation": (185, _depth),
    "color+2d": (120, _color_spatial),
    "negation": (80, _negation),
    "text": (110, _text),
}
"""Of each kind how many instances, and what writes its candidates."""
