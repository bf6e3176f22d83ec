"""How a round's prompts are shared out over the ten categories.

Invariant: it says nothing of what the categories are: their rules are data of the roles.
"""

from __future__ import annotations

from typing import Self

from pydantic import model_validator

from policies.config import NamedNumbers, require
from policies.constraints import NotNegative


class CategoryShares(NamedNumbers):
    """In which proportions a round's prompts are of the ten categories; by default even (released
    code: 24, 20, 5, 9, 5, 11, 5, 9, 9 and 3, in this order)."""

    section = "proposer.category_shares"
    general_object: NotNegative = 1.0
    """Proportion of prompts of objects and their properties."""
    object_relations: NotNegative = 1.0
    """Of actions, comparisons, differences and negations."""
    general_knowledge: NotNegative = 1.0
    """Of what must be known to be drawn."""
    spatio_reasoning: NotNegative = 1.0
    """Of places in a scene."""
    temporal_reasoning: NotNegative = 1.0
    """Of time made visible."""
    text_rendering: NotNegative = 1.0
    """Of written words."""
    natural_science: NotNegative = 1.0
    """Of what nature decides."""
    portrait: NotNegative = 1.0
    """Of persons."""
    stylization: NotNegative = 1.0
    """Of manners of drawing."""
    counting: NotNegative = 1.0
    """Of exact numbers."""

    @model_validator(mode="after")
    def _require_some(self) -> Self:
        shares = dict(self.items())
        require(any(shares.values()), self.section, shares, "above 0 for one category")
        return self
