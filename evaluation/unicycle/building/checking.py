"""The second rule: answers each question anew from the prompt, and compares.

Invariant: it shares nothing with what wrote the questions, no pattern, no list and no word of it. It
begins with the question, finds in the prompt the thing that is asked about, and reads the words around
it; the reference answer is looked at last.
"""

from __future__ import annotations

import re

from evaluation.unicycle.instances import Instance, Question

ASPECTS = {
    "color": r"What color (?:is|are) the (?P<thing>.+)\?",
    "shape": r"What shape (?:is|are) the (?P<thing>.+)\?",
    "material": r"What (?:is|are) the (?P<thing>.+) made of\?",
    "count": r"How many (?P<thing>.+) are there in the picture\?",
    "place": r"Where (?:is|are) the (?P<thing>.+) in relation to the (?P<other>.+)\?",
    "presence": r"(?:Is|Are) there (?:an? )?(?P<thing>.+) in the picture\?",
    "words": r"What text is written in the picture\?",
}
SIGNS = {"left": "left", "right": "right", "top": "above", "above": "above", "bottom": "below",
         "below": "below", "front": "front", "behind": "behind", "hidden": "behind"}  # fmt: skip
OFTEN = {"a": 1, "an": 1, "one": 1, "two": 2, "three": 3, "four": 4, "five": 5, "six": 6, "seven": 7,
         "eight": 8, "nine": 9, "ten": 10}  # fmt: skip
DENIED = {"no", "without"}


def faults(instance: Instance) -> list[str]:
    """Returns what is wrong with the questions of an instance; nothing, if all is right."""
    found = []
    targets = [target(question) for question in instance.questions]
    for question in instance.questions:
        derived = derive(instance.prompt, question)
        if derived != question.answer:
            found.append(f"{question.text} {question.answer!r}, but the prompt says {derived!r}")
    if None in targets or len(set(targets)) < len(targets):
        found.append("two questions have one target")
    for one in instance.questions:
        for other in instance.questions:
            if one is not other and tells(one, other):
                found.append(f"{one.text} tells the answer of: {other.text}")
    return found


def target(question: Question) -> tuple[str, ...] | None:
    """Returns the aspect and what it is asked of: of a place both things, in either order."""
    found = _read(question)
    if found is None:
        return None
    aspect, things = found
    return (aspect, *sorted(things))


def derive(prompt: str, question: Question) -> str | None:
    """Returns the answer that the prompt gives, in the reference's words; None if it gives none."""
    found = _read(question)
    if found is None:
        return None
    aspect, things = found
    if aspect == "words":
        quoted = prompt.split('"')
        return " ".join(quoted[1].split()) if len(quoted) == 3 else None
    tokens = re.findall(r"[a-z-]+", prompt.lower())
    spans = [_span(tokens, thing, loose=aspect == "count") for thing in things]
    if None in spans:
        return None
    at = [span for span in spans if span is not None]
    before = tokens[: at[0][0]]
    if aspect == "place":
        return _option(question, _relation(tokens, at))
    if aspect == "count":
        return _number(before)
    if aspect == "presence":
        return "no" if DENIED & set(before[-2:]) else "yes"
    return _value(before, question)


def _read(question: Question) -> tuple[str, list[str]] | None:
    for aspect, pattern in ASPECTS.items():
        if found := re.fullmatch(pattern, question.text):
            return aspect, [thing.lower() for thing in found.groupdict().values()]
    return None


def _span(tokens: list[str], thing: str, loose: bool) -> tuple[int, int] | None:
    """Where the thing stands in the prompt; None unless it does once. `loose`: also the singular."""
    name = thing.split()
    places = [
        (i, i + len(name))
        for i in range(len(tokens) - len(name) + 1)
        if tokens[i : i + len(name)] == name
        or (loose and tokens[i : i + len(name) - 1] == name[:-1]
            and _singular(tokens[i + len(name) - 1], name[-1]))
    ]  # fmt: skip
    return places[0] if len(places) == 1 else None


def _singular(word: str, many: str) -> bool:
    return many in (f"{word}s", f"{word}es") or (word[-1] == "y" and many == f"{word[:-1]}ies")


def _relation(tokens: list[str], at: list[tuple[int, int]]) -> str | None:
    """The one sign that stands between the two things, if the first of them stands first."""
    (_, end), (start, _) = at
    signs = {SIGNS[word] for word in tokens[end:start] if word in SIGNS}
    return signs.pop() if end <= start and len(signs) == 1 else None


def _option(question: Question, sign: str | None) -> str | None:
    right = [option for option in question.options if sign and sign in option.split()]
    none = [option for option in question.options if option.startswith("none")]
    return next(iter(right or none), None) if sign and len(right) < 2 else None


def _number(before: list[str]) -> str | None:
    """The nearest number before the thing, with at most a color between."""
    for word in before[:-3:-1]:
        if word in OFTEN:
            return {1: "one"}.get(OFTEN[word], word)
    return None


def _value(before: list[str], question: Question) -> str | None:
    """The word before the thing, or the one option that begins as it does."""
    if not before:
        return None
    if not question.options:
        return before[-1]
    alike = [option for option in question.options if before[-1].startswith(option[:4])]
    return alike[0] if len(alike) == 1 else None


def tells(one: Question, other: Question) -> bool:
    """The text of `one` has all words of the answer of `other`."""
    if other.kind == "yes_no":
        return False
    said = set(re.findall(r"\w+", one.text.lower()))
    return set(re.findall(r"\w+", other.answer.lower())) <= said
