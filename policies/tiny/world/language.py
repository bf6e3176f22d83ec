"""The tiny language: what the rest of the program uses of it.

Invariant: a prompt's text determines its category and its facts; every text that is sampled or
corrupted here parses back to the same prompt.
"""

from __future__ import annotations

from policies.tiny.world.lexicon import WORDS
from policies.tiny.world.parser import CATEGORIES, is_held_out, parse
from policies.tiny.world.prompts import corrupt, sample_prompt
from policies.tiny.world.scene import Fact, Prompt

__all__ = [
    "CATEGORIES",
    "WORDS",
    "Fact",
    "Prompt",
    "corrupt",
    "is_held_out",
    "parse",
    "sample_prompt",
]
