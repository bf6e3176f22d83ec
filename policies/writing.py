"""Writing texts, as every family does that samples their ids.

Invariant: what is written is what `sample_words` samples, row by row.
"""

from __future__ import annotations

from collections.abc import Sequence

from policies.interface import Context, TextSampling
from policies.sampling import Sampled


class Writing:
    """That part of `policies.interface.Policy`; a family has the other two methods."""

    def write(
        self, contexts: Sequence[Context], sampling: Sequence[TextSampling], seeds: Sequence[int]
    ) -> list[str]:
        """Raises PromptError."""
        if not contexts:
            return []
        written = self.sample_words(contexts, sampling, seeds).tokens
        return [self.text_of(ids.tolist()) for ids in written]

    def sample_words(
        self,
        contexts: Sequence[Context],
        sampling: Sequence[TextSampling],
        seeds: Sequence[int],
        keep_logits: bool = False,
    ) -> Sampled:
        """What `write` writes, as ids, of at least one context. Raises PromptError."""
        raise NotImplementedError

    def text_of(self, ids: Sequence[int]) -> str:
        raise NotImplementedError
