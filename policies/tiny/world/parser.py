"""Parses the tiny language: a text determines its category and its facts.

Invariant: `parse` accepts every text that `prompts.sample_prompt` makes, and refuses any other in
one sentence that names the word it could not read.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable

from policies.tiny.world import grammar as objects
from policies.tiny.world import lexicon as lx
from policies.tiny.world import motif_grammar as motifs
from policies.tiny.world.grammar import Words
from policies.tiny.world.scene import Prompt

CATEGORIES: dict[str, tuple[str, ...]] = {
    "general object": ("single", "multiple", "texture"),
    "object relations": ("comparison", "negation", "differentiation", "interaction"),
    "general knowledge": ("flag", "flag and object", "two flags"),
    "spatio reasoning": ("position", "occlusion", "corner"),
    "temporal reasoning": ("stage", "time"),
    "text rendering": ("word", "sign"),
    "natural science": ("moon", "thermometer", "flower"),
    "portrait": ("face", "accessories"),
    "stylization": ("single", "multiple"),
    "counting": ("one kind", "two kinds"),
}


def parse(text: str) -> Prompt:
    """Returns the prompt. Raises ValueError that names the word that does not fit."""
    words = Words(text)
    category, subcategory = _branch(words)(words)
    if words.peek():
        raise words.wrong("the end of the text")
    return Prompt(text, category, subcategory, tuple(words.facts))


def is_held_out(text: str) -> bool:
    """Returns whether the prompt is kept from training: one in five is, by its text alone."""
    digest = hashlib.blake2b(text.encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") % 5 == 0


def _branch(words: Words) -> Callable[[Words], tuple[str, str]]:
    head = words.peek(1)
    if words.peek() == "the":
        return motifs.flags if head == "flag" else motifs.written
    if words.peek() in lx.NUMBERS:
        return objects.differentiation if words.peek(2) == "," else objects.counting
    if head == "sign":
        return motifs.written
    if head in lx.STAGES:
        return motifs.plant
    if head in lx.PHASES:
        return motifs.moon
    if head in lx.LEVELS:
        return motifs.thermometer
    if head in lx.EXPRESSIONS:
        return motifs.face
    return {"house": motifs.house, "flower": motifs.flower}.get(words.peek(2), objects.objects)
