"""Janus-Pro with an engine for its texts.

Invariant: the engine runs the language model alone, after contexts that are embedded here: words by the
model's own table, pictures by its understanding encoder. Drawings stay with the family's own sampler,
for their codes are embedded by a network that is no part of a language model.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from policies.engines.backbone import Backbone, Engine, Scored
from policies.interface import Context, Picture, Segment
from policies.janus.checkpoint import read_small
from policies.janus.policy import JanusPolicy
from policies.sampling import Ids, Row, Sampled

LANGUAGE, HEAD = "model.language_model.", "lm_head.weight"


class ServedJanusPolicy(JanusPolicy):
    """Writes and scores texts by `engine`; does not learn."""

    engine: Engine

    def serve_by(self, engine: Engine) -> None:
        """From now on, with the weights that it has now."""
        self.engine = engine
        self._hand_over()

    @torch.inference_mode()
    def log_probs(
        self, contexts: Sequence[Context], targets: Sequence[Segment]
    ) -> list[np.ndarray]:
        """Raises PromptError."""
        if any(isinstance(target, Picture) for target in targets):
            return super().log_probs(contexts, targets)
        looked, questions = self.layout.questions(contexts, drawing=False)
        answers = self.layout.answers(targets)
        for question, answer, context in zip(questions, answers, contexts, strict=True):
            self.layout.require_room(len(question) + len(answer), context)
        words = slice(0, self.module.words)
        scored = [Scored(q, a, words) for q, a in zip(questions, answers, strict=True)]
        return self.engine.log_probs(scored, self._embedder(looked))

    def load_weights(self, weights: Mapping[str, np.ndarray]) -> None:
        """Raises CheckpointError."""
        super().load_weights(weights)
        self._hand_over()

    @torch.inference_mode()
    def _sample(
        self,
        contexts: Sequence[Context],
        rows: Sequence[Row],
        looked: Sequence[Picture],
        embed: Callable[[Tensor], Tensor],
        drawing: bool,
        keep_logits: bool,
    ) -> Sampled:
        if drawing:
            return super()._sample(contexts, rows, looked, embed, drawing, keep_logits)
        for row, context in zip(rows, contexts, strict=True):
            self.layout.require_room(len(row.context) + row.max_tokens, context)
        words, stop = slice(0, self.module.words), self.wording.special.eos
        return self.engine.sample(rows, words, stop, self._embedder(looked))

    def _embedder(self, looked: Sequence[Picture]) -> Callable[[Ids], Tensor]:
        """Contexts with these pictures as embeddings [tokens, hidden]."""
        features = self._features(looked)

        def embed(ids: Ids) -> Tensor:
            return self.module.embed(torch.tensor([ids], device=self.device), features)[0]

        return embed

    def _hand_over(self) -> None:
        self.engine.load_weights(
            {
                "model." + name.removeprefix(LANGUAGE) if name != HEAD else HEAD: weight.detach()
                for name, weight in self.module.named_parameters()
                if name == HEAD or name.startswith(LANGUAGE)
            }
        )


def backbone(folder: Path, dtype: str) -> Backbone:
    """Raises CheckpointError."""
    text: Any = read_small(folder).config.text_config
    config = text.to_dict() | {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        # The head comes with every version, whether or not it is another one than the table.
        "tie_word_embeddings": False,
        "dtype": dtype,
    }
    return Backbone(config, text.max_position_embeddings, dtype, embedded=True)
