"""What tells how well a drawing shows its prompt, beside what the Judge writes of it.

Invariant: each signal is larger for a drawing that shows its prompt better, and follows from the two
and the Judge's weights alone.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from actors.roles.prompt_library import bigrams, normalise_prompt
from actors.roles.templates import Templates
from policies.interface import Picture, Policy

Shown = tuple[str, str, Picture]
"""A category, a prompt of it and a drawing of the prompt."""


def likelihoods(policy: Policy, templates: Templates, shown: Sequence[Shown]) -> list[np.ndarray]:
    """The log-probabilities of the tokens of each drawing's prompt, as its description."""
    contexts = [templates.caption(picture) for *_, picture in shown]
    return policy.log_probs(contexts, [prompt for _, prompt, _ in shown])


def likeness(caption: str, prompt: str) -> float:
    """1 where both say the same, else the part of their pairs of words that both have."""
    said, asked = bigrams(normalise_prompt(caption)), bigrams(normalise_prompt(prompt))
    return len(said & asked) / len(said | asked)
