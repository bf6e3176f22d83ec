"""Builds the questions that the Judge asks about a prompt, and its analyses.

Invariant: questions and analyses follow from the prompt by rule. A question never holds its own
answer alone, and together the questions of a prompt test every fact of it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from policies.tiny.world import lexicon as lx
from policies.tiny.world.scene import Fact, Prompt

NONE = "none of above"


@dataclass(frozen=True)
class Question:
    kind: Literal["yes_no", "choice", "open", "text"]
    text: str
    options: tuple[str, ...]
    answer: str
    keywords: tuple[str, ...] = ()


def questions(prompt: Prompt) -> list[Question]:
    """Returns one to four questions that test what `prompt` asks for."""
    return list(_ASKERS.get(prompt.category, _about_objects)(prompt))


def analysis(prompt: Prompt, verdicts: Sequence[bool], seen: Sequence[str] | None = None) -> str:
    """Returns the Judge's reasoning: each fact in the order of the prompt, and whether it holds.

    With `seen`, a clause that does not hold ends with what the drawing shows instead. Raises
    ValueError unless there is one verdict for each fact.
    """
    if len(verdicts) != len(prompt.facts):
        raise ValueError(f"{len(verdicts)} verdicts were given for {len(prompt.facts)} facts")
    clauses = []
    for place, (fact, holds) in enumerate(zip(prompt.facts, verdicts, strict=True)):
        clause = f"{_clause(fact)} {'yes' if holds else 'no'}"
        if seen is not None and not holds and seen[place]:
            clause += f" {seen[place]}"
        clauses.append(clause)
    return " , ".join(clauses)


def judge_score(verdicts: Sequence[bool]) -> int:
    """Returns 10 for a drawing in which every fact holds, at most 5 for any other."""
    return 10 if all(verdicts) else 6 * sum(verdicts) // len(verdicts)


def _clause(fact: Fact) -> str:
    if fact.kind == "count":
        noun = "object" if fact.value == "one" else "objects"
        return f"{fact.value} {noun}" if fact.subject == "scene" else fact.value
    suffix = {
        "absent": "absent",
        "door": "door",
        "hair": "hair",
        "hat": "hat",
        "petals": "petals",
    }.get(fact.kind)
    return f"{fact.value} {suffix}" if suffix else fact.value


def _open(text: str, answer: str, *keywords: str) -> Question:
    return Question("open", f"{text} ?", (), answer, keywords)


def _color(thing: str, color: str, several: bool = False) -> Question:
    return _open(f"what color {'are' if several else 'is'} the {thing}", color)


def _yes(thing: str, several: bool = False) -> Question:
    return Question("yes_no", f"{'are' if several else 'is'} there {thing} ?", ("yes", "no"), "yes")


def _choice(prompt: Prompt, thing: str, answer: str, others: Sequence[str], after: str) -> Question:
    """Leaves the true option out of one question in five, so that "none" must be considered."""
    draw = int.from_bytes(hashlib.blake2b(prompt.text.encode(), digest_size=4).digest(), "big")
    options = list(others)
    if len(options) > 3:
        left_out = [one for one in options if draw % 5 == 0 or one != answer]
        options.remove(answer if draw % 5 == 0 else left_out[draw // 5 % len(left_out)])
    text = f"is the {thing} {' , '.join(options)} {after}or {NONE} ?"
    return Question("choice", text, (*options, NONE), answer if answer in options else NONE)


_OTHERS = {
    **dict.fromkeys(lx.SIDES, lx.SIDES),
    **dict.fromkeys(lx.LAYERS, (*lx.LAYERS, "left of")),
    **dict.fromkeys(lx.SCALES, (*lx.SCALES, "inside")),
    **dict.fromkeys(lx.NESTINGS, (*lx.NESTINGS, "behind")),
}


def _about_objects(prompt: Prompt) -> Iterator[Question]:
    first, second = prompt.item("first"), prompt.item("second")
    alike = first["shape"] == second.get("shape")
    relation = first.get("relation")
    things = [
        f"{item['color']} {item['shape']}" if alike else item["shape"]
        for item in (first, second)
        if item
    ]
    if relation:
        yield _choice(prompt, things[0], relation, _OTHERS[relation], f"the {things[1]} ")
    if alike:
        pair = f"{first['color']} and {second['color']}"
        yield _open(
            f"what color are the {lx.PLURALS[first['shape']]}",
            pair,
            first["color"],
            second["color"],
        )
    for item, thing in zip((first, second), things, strict=False):
        if not alike:
            yield _color(thing, item["color"])
        if "size" in item:
            yield _open(f"what size is the {thing}", item["size"])
        if "texture" in item:
            yield _choice(prompt, thing, item["texture"], (*lx.TEXTURES, "plain"), "")
    if corner := first.get("corner"):
        yield _open(f"which corner is the {things[0]} in", corner)
    if style := prompt.value("style", "scene"):
        yield _open("which style is it", style)
    if shape := prompt.value("absent", "scene"):
        yield Question("yes_no", f"is there a {shape} ?", ("yes", "no"), "no")
    elif not relation and not {"size", "texture", "style"} & {fact.kind for fact in prompt.facts}:
        yield _open("how many objects are there", prompt.value("count", "scene") or "")
    if len(things) == 1 and "absent" not in {fact.kind for fact in prompt.facts}:
        yield _open("which shape is there", first["shape"])


def _about_flags(prompt: Prompt) -> Iterator[Question]:
    first, second = prompt.item("first"), prompt.item("second")
    if "flag" not in second:
        yield _open("which country has the flag", first["flag"])
        if "exists" in first:
            yield _yes("a pole")
        if second:
            yield _open("which shape is there", second["shape"])
            yield _color(second["shape"], second["color"])
        return
    places = {
        "left of": ("left", "right"),
        "right of": ("right", "left"),
        "above": ("above", "below"),
        "below": ("below", "above"),
    }[first["relation"]]
    for item, place in zip((first, second), places, strict=True):
        yield _open(f"which country is {place}", item["flag"])


def _about_times(prompt: Prompt) -> Iterator[Question]:
    first, time = prompt.item("first"), prompt.value("time", "scene")
    if "stage" in first:
        yield _open("which stage is the plant", first["stage"])
        yield _color("pot", first["color"])
    else:
        yield _color("house", first["color"])
        if "door" in first:
            yield _color("door", first["door"])
    if time:
        yield _open("what time is it", time)


def _about_words(prompt: Prompt) -> Iterator[Question]:
    letters = tuple(fact.value for fact in prompt.facts if fact.kind == "letter")
    yield Question("text", "what word is written ?", (), " ".join(letters), letters)
    yield _color("word", prompt.value("ink", "scene") or "")
    if prompt.value("exists", "scene"):
        yield _yes("a sign")


def _about_science(prompt: Prompt) -> Iterator[Question]:
    first, second = prompt.item("first"), prompt.item("second")
    if "phase" in first:
        yield _open("which phase is the moon", first["phase"])
        yield _open("how many stars are there", second["count"])
        several = second["count"] != "one"
        yield _color("stars" if several else "star", second["color"], several)
    elif "petals" in first:
        yield _open("how many petals are there", first["petals"])
        yield _color("flower", first["color"])
    else:
        sides: tuple[str, ...] = ("",)
        if second:
            sides = ("left ", "right ") if first["relation"] == "left of" else ("right ", "left ")
        for item, side in zip((first, second), sides, strict=False):
            yield _open(f"which level is the {side}thermometer", item["level"])
            yield _color(f"{side}thermometer", item["color"])


def _about_faces(prompt: Prompt) -> Iterator[Question]:
    first = prompt.item("first")
    yield _open("which expression has the face", first["expression"])
    yield _color("hair", first["hair"])
    if "glasses" in first:
        yield _yes("glasses", several=True)
    if "hat" in first:
        yield _color("hat", first["hat"])


def _about_counts(prompt: Prompt) -> Iterator[Question]:
    items = [item for item in (prompt.item("first"), prompt.item("second")) if item]
    alike = len(items) == 2 and items[0]["shape"] == items[1]["shape"]
    for item in items:
        # Always the plural, which does not reveal the number.
        noun = lx.PLURALS[item["shape"]]
        yield _open(
            f"how many {item['color'] + ' ' if alike else ''}{noun} are there", item["count"]
        )
        if not alike:
            several = item["count"] != "one"
            yield _open(
                f"what color are the {noun}" if several else f"what color is the {item['shape']}",
                item["color"],
            )
    if len(items) == 1:
        yield _open("which shape is there", items[0]["shape"])


_ASKERS: dict[str, Callable[[Prompt], Iterator[Question]]] = {
    "general knowledge": _about_flags,
    "temporal reasoning": _about_times,
    "text rendering": _about_words,
    "natural science": _about_science,
    "portrait": _about_faces,
    "counting": _about_counts,
}
