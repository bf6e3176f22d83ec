"""UniCycle: can the model read back what it was asked to draw? (paper, section 3.4)

Invariant: every mark s_k is a number from 0 to 1 that follows from one question and one answer.
Soft(T) is the mean of s_k, Hard(T) is 1 if all s_k are 1, and a final score is the mean over
prompts times 100. A question without an answer counts 0; a prompt without questions is refused,
since neither formula is defined for it.
"""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Sequence
from typing import Protocol

LETTERS = "abcdefghijklmnopqrstuvwxyz"


class Question(Protocol):
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


def mark(question: Question, answer: str | None) -> float:
    """Returns s_k: 0 or 1 by normalised equality; for a text question, the share of keywords read.

    For other kinds with keywords ("red and blue"), the order of the answer's words does not matter.
    """
    if question.kind == "text":
        return recovered(question.keywords or words(question.answer), answer or "")
    found = normalise_answer(answer or "")
    if question.keywords and sorted(words(answer or "")) == sorted(words(question.answer)):
        return 1.0
    return float(found != "" and found in accepted(question))


def accepted(question: Question) -> set[str]:
    """Returns the normalised answers that are right. A multiple choice may also be answered by its
    letter, with or without the option's text, unless one of its options is itself a letter."""
    options = [normalise_answer(option) for option in question.options]
    right = normalise_answer(question.answer)
    if not options or any(len(option) == 1 for option in options):
        return {right}
    place = options.index(right) if right in options else LETTERS.find(right)
    if not 0 <= place < len(options):
        return {right}
    return {right, options[place], LETTERS[place], LETTERS[place] + options[place]}


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


def soft(marks: Sequence[float]) -> float:
    """Returns Soft(T), from 0 to 1. Raises ValueError if there are no marks."""
    return sum(_known(marks)) / len(marks)


def hard(marks: Sequence[float]) -> float:
    """Returns Hard(T), 0 or 1. Raises ValueError if there are no marks."""
    return float(all(each == 1 for each in _known(marks)))


def final(values: Sequence[float]) -> float:
    """Returns a final score, 0 to 100: the mean over prompts of Soft(T) or Hard(T)."""
    return 100 * sum(_known(values)) / len(values)


def _known(values: Sequence[float]) -> Sequence[float]:
    if not values:
        raise ValueError("There is nothing to average: give one number or more.")
    return values


def normalise_answer(text: str) -> str:
    """Returns `text` without case, white space and punctuation."""
    return "".join(words(text))


def words(text: str) -> list[str]:
    """Returns the lower-case words of `text`; punctuation is dropped and splits no word."""
    folded = unicodedata.normalize("NFKC", text).casefold()
    kept = ("".join(c for c in word if not _ignored(c)) for word in folded.split())
    return [word for word in kept if word]


def _ignored(character: str) -> bool:
    return unicodedata.category(character)[0] in "PZC"
