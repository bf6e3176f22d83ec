"""Reads what a model answered to MMMU, by the rules of mmmu/utils/eval_utils.py.

Invariant: what is read follows from the answer and the options alone; nothing is guessed.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence

EDGES = (",", ".", "!", "?", ";", ":", "'")
WORDY = 5
"""An answer of more words than this may say an option's text and not its letter."""
CUES = ("could be ", "so ", "is ", "thus ", "therefore ", "final ", "answer ", "result ")
EMPTY = {":", ",", ".", "!", "?", ";", "'"}
NUMBERS = (
    r"-?\b\d{1,3}(?:,\d{3})+\b",
    r"-?\d+(?:\.\d+)?[eE][+-]?\d+",
    r"-?(?:\d+\.\d+|\.\d+|\d+\b)(?![eE][+-]?\d+)(?![,\d])",
)
"""With commas, with an exponent, and all others."""

Value = str | float


def read_choice(answer: str, options: Mapping[str, str]) -> str:
    """Returns the letter that an answer names last, in brackets if any is, else standing alone, else by
    the text of its option; nothing where none is named."""
    for edge in EDGES:
        answer = answer.strip(edge)
    answer = f" {answer} "
    for form in ("({})", " {} "):
        if letter := _last({each: answer.rfind(form.format(each)) for each in options}):
            return letter
    if len(answer.split()) <= WORDY:
        return ""
    text = answer.lower()
    return _last({letter: text.rfind(option.lower()) for letter, option in options.items()})


def _last(places: Mapping[str, int]) -> str:
    """Returns the letter whose place is the last; nothing where all are -1."""
    letter = max(places, key=places.__getitem__, default="")
    return letter if letter and places[letter] >= 0 else ""


def read_open(answer: str) -> set[Value]:
    """Returns every text and number in which the right answer is looked for."""
    parts = _key_parts(answer)
    numbers = [found for part in parts for form in NUMBERS for found in re.findall(form, part)]
    return {value for each in (*parts, *numbers) for value in normalised(each)}


def matches(read: Iterable[Value], accepted: Sequence[str]) -> bool:
    """Whether a text that was read has an accepted text in it, or a number is an accepted number."""
    right = [value for each in accepted for value in normalised(each)]
    texts = [value for value in right if isinstance(value, str)]
    return any(
        any(text in value for text in texts) if isinstance(value, str) else value in right
        for value in read
    )


def normalised(text: str) -> list[Value]:
    """A number with two decimals; else the text in lower case, and a single character with a space
    before or after it, for it stands in almost any text."""
    text = text.strip()
    try:
        return [round(float(text.replace(",", "")), 2)]
    except ValueError:
        text = text.lower()
    return [f" {text}", f"{text} "] if len(text) == 1 else [text]


def _key_parts(answer: str) -> list[str]:
    """Of each line what follows its last cue, the shortest of them; the whole answer where there are
    no cues."""
    answer = answer.strip().strip(".").lower()
    # The script splits sentences too, at capitals, of which it has left none.
    lines = answer.split("\n")
    found = []
    for number, line in enumerate(lines):
        cues = (*CUES, "=") if number == len(lines) - 1 else CUES
        tails = [line.split(cue)[-1].strip() for cue in cues if cue in line]
        # One that is empty is passed over while others are there, as by the script.
        if tails and (tail := _shortest(tails)) not in EMPTY and tail:
            found.append(tail)
    return found or [answer]


def _shortest(tails: Sequence[str]) -> str:
    shortest = ""
    for tail in tails:
        if not shortest or len(tail) < len(shortest):
            shortest = tail
    return shortest
