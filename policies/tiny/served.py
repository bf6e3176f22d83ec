"""The tiny policy with an engine in place of its own sampler.

Invariant: the engine gets the very rows that the policy's own sampler would, and weights under the
names of `LlamaForCausalLM`; words, pictures and refusals stay the policy's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from policies.config import require
from policies.engines.backbone import Backbone, Engine, Scored
from policies.interface import Context, Picture, Segment
from policies.sampling import Row, Sampled
from policies.tiny import checkpoint
from policies.tiny.policy import TinyPolicy
from policies.tiny.text import EOS, IMAGE
from policies.tiny.transformer import to_public


class ServedTinyPolicy(TinyPolicy):
    """Samples and scores by `engine`; does not learn."""

    engine: Engine

    def serve_by(self, engine: Engine) -> None:
        """From now on, with the weights that it has now."""
        self.engine = engine
        self._hand_over()

    def sample_on(self, device: str, dtype: str) -> None:
        """The engine is where it is already. Raises ConfigError for another dtype."""
        require(dtype == "float32", "policy.dtype", dtype, '"float32" for family tiny')

    def _sample(
        self, rows: Sequence[Row], allowed: slice, stop: int | None, keep_logits: bool
    ) -> Sampled:
        return self.engine.sample(rows, allowed, stop)

    def log_probs(
        self, contexts: Sequence[Context], targets: Sequence[Segment]
    ) -> list[np.ndarray]:
        """Raises PromptError."""
        codes, prompts = self.layout.codes_of(targets), self.layout.prompts(contexts)
        scored = []
        for prompt, target, context in zip(prompts, targets, contexts, strict=True):
            ids = self.layout.segment(target, codes)
            self.layout.require_room(len(prompt) + len(ids) + 1, context)
            scored.append(
                Scored((*prompt, IMAGE), tuple(ids[1:-1]), self._drawn)
                if isinstance(target, Picture)
                else Scored(prompt, (*ids, EOS), self._words)
            )
        return self.engine.log_probs(scored)

    def load_weights(self, weights: Mapping[str, np.ndarray]) -> None:
        """Raises CheckpointError."""
        super().load_weights(weights)
        self._hand_over()

    def _hand_over(self) -> None:
        self.engine.load_weights(to_public(self.module.config, self.module.state_dict()))


def backbone(folder: Path, dtype: str) -> Backbone:
    """Raises CheckpointError."""
    config, positions = checkpoint.read_llama(folder)
    return Backbone(config, positions, dtype)
