"""Drawing after a plan: what the model is told before it plans, and how it does.

Invariant: a plan is learned in the very sequence that it was sampled in: this instruction, the
context as it is read to draw, the plan, and then the picture.
"""

from __future__ import annotations

from policies.interface import Context, Output, Picture

INSTRUCTION = (
    "Plan the picture before you draw it: say what is seen, where it is, and what follows from "
    "what was asked."
)
TEMPERATURE = 0.3
"""The released scripts plan with it."""


def planned(target: Output) -> bool:
    """Whether a target is a text and then a picture."""
    first, *others = (part.segment for part in target)
    return isinstance(first, str) and any(isinstance(each, Picture) for each in others)


def instructed(context: Context) -> Context:
    """The context as it is read to plan, and to draw after the plan."""
    return (INSTRUCTION, *context)
