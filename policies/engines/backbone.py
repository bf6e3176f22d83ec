"""What a family tells of the transformer that an engine shall run, and what an engine gives.

Invariant: an engine knows token ids and named weights alone. What they mean is the family's, which
takes the same rows to an engine that it would take to its own sampler.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np
from torch import Tensor

from policies.sampling import Ids, Row, Sampled


@dataclass(frozen=True)
class Backbone:
    """`config` is the config.json of a causal language model as transformers knows it, under whose
    public names the weights come; `positions` are the tokens that it holds. Where contexts hold what no
    token of the model stands for, they come as embeddings: it is `embedded`."""

    config: Mapping[str, Any]
    positions: int
    dtype: str = "float32"
    embedded: bool = False


Embed = Callable[[Ids], Tensor]
"""The ids of a context -> its embeddings [tokens, hidden]."""


@dataclass(frozen=True)
class Scored:
    """Tokens whose likelihood after `context` is asked, where those of `allowed` could have come."""

    context: Ids
    tokens: Ids
    allowed: slice


@dataclass
class Figures:
    """What an engine did in some time. Tokens: `read` of contexts and `written`; of those of
    contexts, `prefix_asked` were looked for among what was read before and `prefix_found`. At most
    so many requests were `waiting` and `running`, and `cache_use` of the cache, 0 to 1, was taken."""

    read: int = 0
    written: int = 0
    prefix_asked: int = 0
    prefix_found: int = 0
    waiting: int = 0
    running: int = 0
    cache_use: float = 0.0


class Engine(Protocol):
    """One engine, in this process. A call is a batch of its own: nothing of an earlier one can
    change its answers, and no other is in flight."""

    def sample(
        self, rows: Sequence[Row], allowed: slice, stop: int | None = None,
        embed: Embed | None = None,
    ) -> Sampled:  # fmt: skip
        """The tokens of `allowed` that each row goes on with, int64 [n] without `stop`, and no
        logits: those that `policies.sampling.sample` chooses by the same random numbers, but for
        rounding. Guided rows must be as long as their limits: `stop` is for unguided ones. `embed`
        is there for a backbone that is embedded."""
        ...

    def log_probs(self, scored: Sequence[Scored], embed: Embed | None = None) -> list[np.ndarray]:
        """The log-probability of each token, float32 [tokens] a row."""
        ...

    def load_weights(self, weights: Mapping[str, Tensor]) -> None:
        """Takes weights by their public names in place of those until now; only reads them."""
        ...

    def figures(self) -> Figures:
        """Since they were asked for last."""
        ...

    def close(self) -> None:
        """Gives its memory back."""
        ...


@runtime_checkable
class HasEngine(Protocol):
    """A policy that an engine runs."""

    engine: Engine
