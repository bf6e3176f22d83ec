"""Samples prompts, and corrupts them in one attribute.

Invariant: every sampled prompt parses. A corrupted prompt differs from its original in exactly one
fact, and that fact is false of every scene that `render.sample_scene` draws for the original.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np

from policies.tiny.world import lexicon as lx
from policies.tiny.world.parser import CATEGORIES, parse
from policies.tiny.world.scene import Fact, Prompt

Rng = np.random.Generator


def sample_prompt(rng: Rng, category: str | None = None, subcategory: str | None = None) -> Prompt:
    """Returns a prompt; `category` and `subcategory` are drawn evenly if not given."""
    if category is None:
        category = _pick(rng, tuple(CATEGORIES))
    if category not in CATEGORIES:
        raise ValueError(f"the category '{category}' is not one of {', '.join(CATEGORIES)}")
    if subcategory is None:
        subcategory = _pick(rng, CATEGORIES[category])
    if subcategory not in CATEGORIES[category]:
        raise ValueError(f"the category '{category}' has no subcategory '{subcategory}'")
    say = _SPEAKERS[category]
    while True:
        try:
            return parse(agreeing(say(rng, subcategory)))
        except ValueError:  # two draws that collide, such as the same object twice: draw again
            continue


def corrupt(prompt: Prompt, rng: Rng) -> tuple[Prompt, Fact]:
    """Returns another prompt, and the one fact of it that is false for the original."""
    for found in corruptions(prompt, rng):
        return found
    raise ValueError(f"nothing can be changed in '{prompt.text}'")


def corruptions(prompt: Prompt, rng: Rng) -> Iterator[tuple[Prompt, Fact]]:
    """Yields what `corrupt` may return, all of it in a random order."""
    texts = list(_rewritings(prompt))
    for place in rng.permutation(len(texts)):
        try:
            other = parse(texts[place])
        except ValueError:
            continue
        new = [fact for fact in other.facts if fact not in prompt.facts]
        # Scenes need not show what a prompt forbids, so another forbidden shape may be absent too.
        if len(new) == 1 and new[0].kind != "absent" and other.category == prompt.category:
            yield other, new[0]


def _rewritings(prompt: Prompt) -> Iterator[str]:
    """Yields texts with one word or phrase exchanged or added; not all of them are grammatical."""
    text = f" {prompt.text} "
    for group in _EXCHANGES:
        for phrase in group:
            start = text.find(f" {phrase} ")
            while start >= 0:
                end = start + len(phrase) + 1
                for other in group:
                    if other != phrase:
                        yield agreeing(f"{text[:start]} {other}{text[end:]}".strip())
                start = text.find(f" {phrase} ", start + 1)
    if prompt.category == "general object":
        yield prompt.text.replace("a ", "a dotted ", 1)
        yield prompt.text.replace("a ", "a striped ", 1)
    if prompt.category == "portrait" and prompt.value("hat") is None:
        yield f"{prompt.text} and glasses"
    if prompt.text.startswith("the word"):
        yield f"a sign with {prompt.text}"


def agreeing(text: str) -> str:
    """Returns `text` with articles and nouns that agree with their neighbours and numerals."""
    words = text.split(" ")
    for place, following in enumerate(words[1:]):
        if words[place] in ("a", "an") and following in lx.COLORS:
            words[place] = "an" if following == "orange" else "a"
    for place in range(len(words) - 2):
        noun = words[place + 2]
        if words[place] not in lx.NUMBERS:
            continue
        if words[place] == "one" and words[place + 1] in lx.COLORS:
            words[place + 2] = lx.SINGULARS.get(noun, noun)
        elif words[place] != "one":
            words[place + 2] = lx.PLURALS.get(noun, noun)
    return " ".join(words)


_EXCHANGES: tuple[Sequence[str], ...] = (
    lx.COLORS,
    lx.SHAPES,
    tuple(lx.SINGULARS),
    lx.SIZES,
    lx.TEXTURES,
    lx.NUMBERS,
    lx.SIDES,
    lx.LAYERS,
    lx.SCALES,
    lx.NESTINGS,
    lx.CORNERS,
    tuple(lx.STYLES.values()),
    lx.COUNTRIES,
    lx.STAGES,
    tuple(lx.TIMES.values()),
    lx.PHASES,
    lx.LEVELS,
    lx.EXPRESSIONS,
    lx.LETTERS,
)


def _pick(rng: Rng, options: Sequence[str]) -> str:
    return options[int(rng.random() * len(options))]


def _plain(rng: Rng) -> str:
    return f"a {_pick(rng, lx.COLORS)} {_pick(rng, lx.SHAPES)}"


def _sized(rng: Rng) -> str:
    size = f"{_pick(rng, lx.SIZES)} " if rng.random() < 0.4 else ""
    return f"a {size}{_pick(rng, lx.COLORS)} {_pick(rng, lx.SHAPES)}"


def _textured(rng: Rng) -> str:
    size = "large " if rng.random() < 0.25 else ""
    texture = _pick(rng, lx.TEXTURES)
    return f"a {size}{texture} {_pick(rng, lx.COLORS)} {_pick(rng, lx.SHAPES)}"


def _general(rng: Rng, subcategory: str) -> str:
    if subcategory == "texture":
        return _textured(rng)
    if subcategory == "single":
        return _sized(rng)
    first = _textured(rng) if rng.random() < 0.15 else _sized(rng)
    return f"{first} and {_plain(rng) if rng.random() < 0.7 else _sized(rng)}"


def _relations(rng: Rng, subcategory: str) -> str:
    if subcategory == "negation":
        return f"{_sized(rng)} and no {_pick(rng, lx.SHAPES)}"
    if subcategory == "differentiation":
        one, other = (_pick(rng, lx.COLORS) for _ in range(2))
        return f"two {lx.PLURALS[_pick(rng, lx.SHAPES)]} , one {one} and one {other}"
    relation = _pick(rng, lx.SCALES if subcategory == "comparison" else lx.NESTINGS)
    return f"{_plain(rng)} {relation} {_plain(rng)}"


def _flags(rng: Rng, subcategory: str) -> str:
    flag = f"the flag of {_pick(rng, lx.COUNTRIES)}"
    if subcategory == "flag":
        return flag + (" on a pole" if rng.random() < 0.5 else "")
    if subcategory == "flag and object":
        return f"{flag} and {_plain(rng)}"
    return f"{flag} {_pick(rng, lx.SIDES)} the flag of {_pick(rng, lx.COUNTRIES)}"


def _spatial(rng: Rng, subcategory: str) -> str:
    if subcategory == "corner":
        return f"{_sized(rng)} in the {_pick(rng, lx.CORNERS)} corner"
    relation = _pick(rng, lx.SIDES if subcategory == "position" else lx.LAYERS)
    return f"{_plain(rng)} {relation} {_plain(rng)}"


def _temporal(rng: Rng, subcategory: str) -> str:
    time = f" {_pick(rng, tuple(lx.TIMES.values()))}"
    color = _pick(rng, lx.COLORS)
    if subcategory == "stage":
        return f"a {_pick(rng, lx.STAGES)} in a {color} pot{time if rng.random() < 0.6 else ''}"
    door = f" with a {_pick(rng, lx.COLORS)} door" if rng.random() < 0.7 else ""
    return f"a {color} house{door}{time}"


def _text(rng: Rng, subcategory: str) -> str:
    letters = " ".join(_pick(rng, lx.WRITTEN))
    phrase = f'the word " {letters} " in {_pick(rng, lx.COLORS)}'
    return f"a sign with {phrase}" if subcategory == "sign" else phrase


def _science(rng: Rng, subcategory: str) -> str:
    color = _pick(rng, lx.COLORS)
    if subcategory == "flower":
        return f"a {color} flower with {_pick(rng, lx.PETALS)} petals"
    if subcategory == "moon":
        number = _pick(rng, lx.NUMBERS[:3])
        stars = "star" if number == "one" else "stars"
        return f"a {_pick(rng, lx.PHASES)} moon with {number} {color} {stars}"
    phrase = f"a {_pick(rng, lx.LEVELS)} {color} thermometer"
    if rng.random() < 0.4:
        return phrase
    other = f"a {_pick(rng, lx.LEVELS)} {_pick(rng, lx.COLORS)} thermometer"
    return f"{phrase} {_pick(rng, lx.SIDES[:2])} {other}"


def _portrait(rng: Rng, subcategory: str) -> str:
    face = f"a {_pick(rng, lx.EXPRESSIONS)} face with {_pick(rng, lx.COLORS)} hair"
    if subcategory == "face":
        return face
    hat = f" and a {_pick(rng, lx.COLORS)} hat"
    return face + _pick(rng, (" and glasses", hat, " and glasses" + hat))


def _stylized(rng: Rng, subcategory: str) -> str:
    subject = _plain(rng) if subcategory == "single" else f"{_plain(rng)} and {_plain(rng)}"
    return f"{subject} {_pick(rng, tuple(lx.STYLES.values()))}"


def _counted(rng: Rng, subcategory: str) -> str:
    def some(most: int) -> str:
        number = int(rng.integers(most))
        shape = _pick(rng, lx.SHAPES)
        noun = shape if number == 0 else lx.PLURALS[shape]
        return f"{lx.NUMBERS[number]} {_pick(rng, lx.COLORS)} {noun}"

    return some(6) if subcategory == "one kind" else f"{some(4)} and {some(3)}"


_SPEAKERS: dict[str, Callable[[Rng, str], str]] = {
    "general object": _general,
    "object relations": _relations,
    "general knowledge": _flags,
    "spatio reasoning": _spatial,
    "temporal reasoning": _temporal,
    "text rendering": _text,
    "natural science": _science,
    "portrait": _portrait,
    "stylization": _stylized,
    "counting": _counted,
}
