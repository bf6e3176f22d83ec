"""Marks an answer by exact rules: UniCycle's s_k where no language model judges.

Invariant: every mark s_k is a number from 0 to 1 that follows from one question and one answer. A
question without an answer counts 0.
"""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Sequence
from typing import Protocol

VERSION = "rules 2"
"""Stands with every score; another number where a change gives another mark to any answer."""
LETTERS = "abcdefghijklmnopqrstuvwxyz"
NUMBERS = "zero one two three four five six seven eight nine ten eleven twelve".split()


class QuestionLike(Protocol):
    """What UniCycle needs from a question; `keywords` are the words to be read, for kind "text"."""

    @property
    def kind(self) -> str: ...
    @property
    def text(self) -> str: ...
    @property
    def options(self) -> tuple[str, ...]: ...
    @property
    def answer(self) -> str: ...
    @property
    def keywords(self) -> tuple[str, ...]: ...


def mark(question: QuestionLike, answer: str | None) -> float:
    """Returns s_k: 0 or 1 by normalised equality; for a text question, the share of keywords read.

    For other kinds with keywords ("red and blue"), the order of the answer's words does not matter.
    """
    if question.kind == "text":
        return recovered(question.keywords or words(question.answer), answer or "")
    found = _number(normalise_answer(answer or ""))
    if question.keywords and sorted(words(answer or "")) == sorted(words(question.answer)):
        return 1.0
    return float(found != "" and found in accepted(question))


def says_yes(question: QuestionLike, answer: str | None) -> bool:
    """Whether a question that is answered by yes or no is answered by yes."""
    return normalise_answer(answer or "") in accepted(question, "yes")


def accepted(question: QuestionLike, answer: str | None = None) -> set[str]:
    """Returns the normalised answers that are right, or that mean the same as `answer`. A multiple
    choice may also be answered by its letter, with or without the option's text, unless one of its
    options is itself a letter."""
    options = [normalise_answer(option) for option in question.options]
    right = normalise_answer(question.answer if answer is None else answer)
    if not options or any(len(option) == 1 and option in LETTERS for option in options):
        return {_number(right)}
    place = options.index(right) if right in options else LETTERS.find(right)
    if not 0 <= place < len(options):
        return {_number(right)}
    letter, said = LETTERS[place], {options[place], _number(options[place])}
    return {right, _number(right), letter, *said, *(letter + each for each in said)}


def recovered(keywords: Sequence[str], answer: str) -> float:
    """Returns the share of `keywords` that `answer` holds, from 0 to 1.

    Words may come in any order, a word that is asked for twice must be read twice, and words that
    were not asked for cost nothing (the paper counts correctly answered words only). A single word
    is spelled: if all keywords are letters, letter k counts only at place k, so that a word with a
    letter dropped, doubled or swapped is not right. Raises ValueError if there are no keywords.
    """
    wanted = [word for keyword in keywords for word in words(keyword)]
    if not wanted:
        raise ValueError("A text question has no keywords: name the words that must be read.")
    found = words(answer)
    if len(wanted) > 1 and all(len(word) == 1 for word in wanted):
        spelled = "".join(found)
        hits = sum(a == b for a, b in zip(wanted, spelled, strict=False))
        return max(0.0, hits - max(0, len(spelled) - len(wanted))) / len(wanted)
    return sum((Counter(wanted) & Counter(found)).values()) / len(wanted)


def normalise_answer(text: str) -> str:
    """Returns `text` without case, white space and punctuation."""
    return "".join(words(text))


def words(text: str) -> list[str]:
    """Returns the lower-case words of `text`; punctuation is dropped and splits no word."""
    folded = unicodedata.normalize("NFKC", text).casefold()
    kept = ("".join(c for c in word if not _ignored(c)) for word in folded.split())
    return [word for word in kept if word]


def _number(text: str) -> str:
    """A small number as its word: "4" and "four" are one answer."""
    digits = text.lstrip("0") or "0"
    small = text.isascii() and text.isdigit() and len(digits) <= 2 and int(digits) < len(NUMBERS)
    return NUMBERS[int(digits)] if small else text


def _ignored(character: str) -> bool:
    return unicodedata.category(character)[0] in "PZC"
