"""Parses the phrases that name motifs: flags, plants, houses, written words, moons, faces.

Invariant: as in `grammar`, a phrase adds its facts in the order of its words.
"""

from __future__ import annotations

from policies.tiny.world import lexicon as lx
from policies.tiny.world.grammar import PLACES, Words, noun
from policies.tiny.world.scene import Fact


def flags(words: Words) -> tuple[str, str]:
    words.add("count", "scene", "one")
    words.need("the flag of")
    words.add("flag", "first", words.one_of(lx.COUNTRIES, "a country"))
    if not words.peek():
        return "general knowledge", "flag"
    if words.has("on a pole"):
        words.add("exists", "first", "pole")
        return "general knowledge", "flag"
    words.facts[0] = Fact("count", "scene", "two")
    if words.has("and"):
        noun(words, "second")
        if words.sized_or_textured():
            raise ValueError("the word 'flag' does not go with a size or texture")
        return "general knowledge", "flag and object"
    words.add("relation", "first", words.one_of(lx.SIDES, "'and' or a relation"))
    words.need("the flag of")
    words.add("flag", "second", words.one_of(lx.COUNTRIES, "a country"))
    if words.same("flag"):
        raise ValueError(f"the word '{words.words[-1]}' names the same flag twice")
    return "general knowledge", "two flags"


def _time(words: Words, needed: bool) -> None:
    phrase = words.maybe(lx.TIMES.values())
    if phrase:
        words.add("time", "scene", next(name for name, say in lx.TIMES.items() if say == phrase))
    elif needed:
        raise words.wrong("a time of day")


def plant(words: Words) -> tuple[str, str]:
    words.article()
    words.add("stage", "first", words.one_of(lx.STAGES, "a stage"))
    words.need("in")
    words.article()
    words.add("color", "first", words.one_of(lx.COLORS, "a color"))
    words.need("pot")
    _time(words, needed=False)
    return "temporal reasoning", "stage"


def house(words: Words) -> tuple[str, str]:
    words.article()
    words.add("color", "first", words.one_of(lx.COLORS, "a color"))
    words.need("house")
    words.add("exists", "first", "house")
    if words.has("with"):
        words.article()
        words.add("door", "first", words.one_of(lx.COLORS, "a color"))
        words.need("door")
        if words.facts[0].value == words.facts[-1].value:
            raise ValueError(f"the word '{words.facts[0].value}' would hide the door in the wall")
    _time(words, needed=True)
    return "temporal reasoning", "time"


def written(words: Words) -> tuple[str, str]:
    sign = words.has("a sign with")
    if sign:
        words.add("exists", "scene", "sign")
    words.need('the word "')
    for place in PLACES:
        if place == "third" and words.peek() == '"':
            break
        words.add("letter", place, words.one_of(lx.LETTERS, "a letter"))
    words.need('"')
    words.need("in")
    words.add("ink", "scene", words.one_of(lx.COLORS, "a color"))
    return "text rendering", "sign" if sign else "word"


def moon(words: Words) -> tuple[str, str]:
    words.article()
    words.add("phase", "first", words.one_of(lx.PHASES, "a phase"))
    words.need("moon with")
    number = words.one_of(lx.NUMBERS[:3], "a number up to three")
    words.add("count", "second", number)
    words.add("color", "second", words.one_of(lx.COLORS, "a color"))
    words.need("star" if number == "one" else "stars")
    words.add("shape", "second", "star")
    return "natural science", "moon"


def thermometer(words: Words) -> tuple[str, str]:
    words.add("count", "scene", "one")
    for item in PLACES[:2]:
        words.article()
        words.add("level", item, words.one_of(lx.LEVELS, "a temperature"))
        words.add("color", item, words.one_of(lx.COLORS, "a color"))
        words.need("thermometer")
        if item == "second" and words.same("level", "color"):
            raise ValueError("the word 'thermometer' names the same thing twice")
        if item == "first":
            if not words.peek():
                break
            words.facts[0] = Fact("count", "scene", "two")
            words.add("relation", "first", words.one_of(lx.SIDES[:2], "'left of' or 'right of'"))
    return "natural science", "thermometer"


def flower(words: Words) -> tuple[str, str]:
    words.article()
    words.add("color", "first", words.one_of(lx.COLORS, "a color"))
    words.need("flower with")
    words.add("petals", "first", words.one_of(lx.PETALS, "a number from three to six"))
    words.need("petals")
    return "natural science", "flower"


def face(words: Words) -> tuple[str, str]:
    words.article()
    words.add("expression", "first", words.one_of(lx.EXPRESSIONS, "an expression"))
    words.need("face with")
    words.add("hair", "first", words.one_of(lx.COLORS, "a color"))
    words.need("hair")
    extras = 0
    if words.has("and glasses"):
        words.add("glasses", "first", "glasses")
        extras += 1
    if words.has("and"):
        words.article()
        words.add("hat", "first", words.one_of(lx.COLORS, "a color"))
        words.need("hat")
        extras += 1
        if words.facts[1].value == words.facts[-1].value:
            raise ValueError("the word 'hat' needs another color than the hair")
    return "portrait", "accessories" if extras else "face"
