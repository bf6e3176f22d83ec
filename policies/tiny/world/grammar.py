"""Parses the words of a text, and the phrases that name plain objects.

Invariant: a phrase adds its facts in the order of its words, and takes only its own words.
"""

from __future__ import annotations

from collections.abc import Iterable

from policies.tiny.world import lexicon as lx
from policies.tiny.world.scene import Fact

MOST = 6
PLACES = ("first", "second", "third")


class Words:
    """The words of one text, taken from left to right."""

    def __init__(self, text: str) -> None:
        self.words = text.split(" ")
        self.at = 0
        self.facts: list[Fact] = []
        for word in self.words:
            if word not in lx.WORDS:
                raise ValueError(f"the word '{word}' is not in the tiny language")

    def peek(self, ahead: int = 0) -> str:
        return self.words[self.at + ahead] if self.at + ahead < len(self.words) else ""

    def has(self, phrase: str) -> bool:
        """Takes `phrase` if it comes next; returns whether it did."""
        parts = phrase.split(" ")
        if self.words[self.at : self.at + len(parts)] != parts:
            return False
        self.at += len(parts)
        return True

    def need(self, phrase: str) -> None:
        if not self.has(phrase):
            raise self.wrong(f"'{phrase}'")

    def article(self) -> None:
        self.need("an" if self.peek(1) == "orange" else "a")

    def maybe(self, phrases: Iterable[str]) -> str | None:
        return next((phrase for phrase in phrases if self.has(phrase)), None)

    def one_of(self, phrases: Iterable[str], what: str) -> str:
        found = self.maybe(phrases)
        if found is None:
            raise self.wrong(what)
        return found

    def wrong(self, wanted: str) -> ValueError:
        word = self.peek()
        found = f"the word '{word}'" if word else "the end of the text"
        return ValueError(f"{found} (word {self.at + 1}) stands where {wanted} is wanted")

    def add(self, kind: str, subject: str, value: str) -> None:
        self.facts.append(Fact(kind, subject, value))

    def same(self, *kinds: str) -> bool:
        """Returns whether the first and second item agree in all of `kinds`."""
        facts = {(fact.kind, fact.subject): fact.value for fact in self.facts}
        return all(facts.get((kind, "first")) == facts.get((kind, "second")) for kind in kinds)

    def sized_or_textured(self) -> bool:
        return any(fact.kind in ("size", "texture") for fact in self.facts)


def noun(words: Words, item: str) -> None:
    words.article()
    if size := words.maybe(lx.SIZES):
        words.add("size", item, size)
    if texture := words.maybe(lx.TEXTURES):
        if size == "small":
            raise ValueError(f"the word '{texture}' does not go with 'small'")
        words.add("texture", item, texture)
    words.add("color", item, words.one_of(lx.COLORS, "a color"))
    words.add("shape", item, words.one_of(lx.SHAPES, "a shape"))


def second_noun(words: Words) -> None:
    noun(words, "second")
    if words.same("color", "shape"):
        raise ValueError(f"the word '{words.words[-1]}' names the same object twice")


def objects(words: Words) -> tuple[str, str]:
    words.add("count", "scene", "one")
    noun(words, "first")
    if not words.peek():
        textured = any(fact.kind == "texture" for fact in words.facts)
        return "general object", "texture" if textured else "single"
    if words.has("in the"):
        words.add("corner", "first", words.one_of(lx.CORNERS, "a corner"))
        words.need("corner")
        return "spatio reasoning", "corner"
    if words.has("and no"):
        words.facts.pop(0)
        words.add("absent", "scene", words.one_of(lx.SHAPES, "a shape"))
        if words.facts[-1].value == words.facts[-2].value:
            raise ValueError(f"the word '{words.peek(-1)}' is both wanted and forbidden")
        return "object relations", "negation"
    if _style(words):
        return "stylization", "single"
    words.facts[0] = Fact("count", "scene", "two")
    if words.has("and"):
        second_noun(words)
        return ("stylization" if _style(words) else "general object"), "multiple"
    return _related(words)


def _style(words: Words) -> bool:
    phrase = words.maybe(lx.STYLES.values())
    if phrase is None:
        return False
    if words.sized_or_textured():
        raise ValueError(f"the word '{words.peek(-1)}' does not go with a size or texture")
    words.add("style", "scene", next(name for name, say in lx.STYLES.items() if say == phrase))
    return True


def _related(words: Words) -> tuple[str, str]:
    related = (*lx.SIDES, *lx.LAYERS, *lx.SCALES, *lx.NESTINGS)
    relation = words.one_of(related, "a relation, style or the end")
    words.add("relation", "first", relation)
    second_noun(words)
    if relation in lx.SIDES:
        return "spatio reasoning", "position"
    if words.sized_or_textured():
        raise ValueError(f"the word '{relation.split()[0]}' does not go with a size or texture")
    if relation in lx.SCALES:
        return "object relations", "comparison"
    if words.same("color"):
        raise ValueError(f"the word '{relation.split()[0]}' needs two objects of different colors")
    if relation in lx.LAYERS:
        return "spatio reasoning", "occlusion"
    shapes = [fact.value for fact in words.facts if fact.kind == "shape"]
    holder = shapes[1] if relation == "inside" else shapes[0]
    if holder not in ("circle", "square"):
        raise ValueError(f"the word '{holder}' names a shape that cannot hold another")
    return "object relations", "interaction"


def differentiation(words: Words) -> tuple[str, str]:
    words.need("two")
    shape = lx.SINGULARS[words.one_of(lx.SINGULARS, "several shapes")]
    words.add("count", "scene", "two")
    words.need(",")
    for item in PLACES[:2]:
        words.need("one")
        words.add("color", item, words.one_of(lx.COLORS, "a color"))
        words.add("shape", item, shape)
        if item == "first":
            words.need("and")
    if words.same("color"):
        raise ValueError(f"the word '{words.words[-1]}' names the same object twice")
    return "object relations", "differentiation"


def counting(words: Words) -> tuple[str, str]:
    total = 0
    for item in PLACES[:2]:
        number = words.one_of(lx.NUMBERS, "a number")
        total += lx.NUMBERS.index(number) + 1
        words.add("count", item, number)
        words.add("color", item, words.one_of(lx.COLORS, "a color"))
        nouns = lx.SHAPES if number == "one" else tuple(lx.SINGULARS)
        noun = words.one_of(nouns, f"a shape that goes with '{number}'")
        words.add("shape", item, lx.SINGULARS.get(noun, noun))
        if item == "first" and not words.has("and"):
            return "counting", "one kind"
    if total > MOST:
        raise ValueError(f"the word '{number}' makes more than six objects")
    if words.same("color", "shape"):
        raise ValueError(f"the word '{noun}' names the same object twice")
    return "counting", "two kinds"
