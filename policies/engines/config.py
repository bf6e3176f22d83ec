"""The settings of engines."""

from __future__ import annotations

from policies.config import Section
from policies.constraints import Count, Natural

BLOCK = 32
"""An engine keeps tokens in blocks of so many, and one block for itself: the least that vLLM takes on
CPUs."""


class EngineConfig(Section):
    """What roles have whose `engine` is not "own"."""

    section = "engine"
    cache_mib: Count = 256
    """MiB that each replica keeps for keys and values."""
    max_length: Natural = 0
    """The most tokens of a context and its answer; 0: as many as the model holds."""
    unproven: bool = False
    """Whether an engine may play a role of a family for which no test shows that its answers are those of the family's own sampler."""
