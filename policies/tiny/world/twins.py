"""Scenes and their twins: two prompts that differ in one fact, and a question that tells them apart.

Invariant: the question has the same words for both, and its two answers differ; both follow from
the prompts by rule.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from policies.tiny.world.parser import is_held_out
from policies.tiny.world.prompts import corruptions
from policies.tiny.world.questions import Question, questions
from policies.tiny.world.scene import Fact, Prompt


class Twin(NamedTuple):
    """Another prompt, and the question as it is right for the original and for the other."""

    prompt: Prompt
    original: Question
    other: Question


def twin(prompt: Prompt, rng: np.random.Generator) -> Twin | None:
    """A held-out twin of `prompt` with a question of its own; every kind of fact that can be another is
    as likely. None where no question tells it from a held-out one."""
    found: dict[str, Twin] = {}
    for other, fact in corruptions(prompt, rng):
        if fact.kind not in found and is_held_out(other.text):
            for asked in _telling(prompt, other, fact):
                found.setdefault(fact.kind, Twin(other, *asked))
    kinds = sorted(found)
    return found[kinds[int(rng.integers(len(kinds)))]] if kinds else None


def present(prompt: Prompt, rng: np.random.Generator) -> Twin | None:
    """A held-out twin that lacks a shape, and whether that is there; None where there is none."""
    if prompt.value("absent", "scene"):
        return None  # such a scene may show shapes that nobody asked for
    for other, fact in corruptions(prompt, rng):
        gone = [shape for shape in _shapes(prompt) if shape not in _shapes(other)]
        if fact.kind == "shape" and gone and is_held_out(other.text):
            asked = Question("yes_no", f"is there a {gone[0]} ?", ("yes", "no"), "yes")
            return Twin(other, asked, replace(asked, answer="no"))
    return None


def _telling(prompt: Prompt, other: Prompt, fact: Fact) -> Iterator[tuple[Question, Question]]:
    """The questions about `prompt` that have another answer for `other`."""
    theirs = {question.text: question for question in questions(other)}
    for question in questions(prompt):
        same = theirs.get(question.text)
        # A choice offers other options for the other; it can still be asked if it has the right one.
        if same is None and fact.kind == "relation" and fact.value in question.options:
            same = replace(question, answer=fact.value)
        if same is not None and same.answer != question.answer:
            yield question, same


def _shapes(prompt: Prompt) -> list[str]:
    return [fact.value for fact in prompt.facts if fact.kind == "shape"]
