"""The trainable part of a Chameleon, behind one forward pass.

Invariant: parameters have the names of transformers' `ChameleonForConditionalGeneration`, and all their
compute goes through `forward` of the root, as FSDP2 needs it. The image tokenizer is not part of it,
because it is never trained. One head has words and image codes; a text is chosen among all tokens but
the codes, as transformers chooses it, and a picture among the codes alone.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

ADAPTED = r"model\.layers\.\d+\.(self_attn|mlp)\.(q|k|v|o|gate|up|down)_proj"
"""The layers that adapters sit on."""


class ChameleonModule(nn.Module):
    """Takes the parts of `net`, a `ChameleonForConditionalGeneration` without its image tokenizer;
    `codes` int64 [codes] are the token ids of the image codes."""

    def __init__(self, net: Any, codes: np.ndarray) -> None:
        super().__init__()
        self.model = net.model
        self.lm_head = net.lm_head
        self.words: int = net.config.vocab_size
        self.max_positions: int = net.config.max_position_embeddings
        self.codes: Tensor
        self.register_buffer("codes", torch.from_numpy(codes), persistent=False)

    def forward(self, ids: Tensor, words: Tensor, codes: Tensor) -> tuple[Tensor, Tensor]:
        """Returns the logits of words float32 [n, vocabulary] and of codes float32 [m, codes] at the
        flat places `words` int64 [n] and `codes` int64 [m], into [rows * tokens], of ids int64 [rows,
        tokens]. Rows are padded on the right, where causal attention never sees the padding."""
        states = self.read(ids).flatten(0, 1)
        drawn = (
            self.code_head(states[codes]) if len(codes) else states.new_zeros(0, len(self.codes))
        )
        return self.word_head(states[words]), drawn

    def read(self, ids: Tensor) -> Tensor:
        """ids int64 [rows, tokens] -> last hidden states [rows, tokens, hidden]."""
        states: Tensor = self.model(input_ids=ids, use_cache=False).last_hidden_state
        return states

    def word_head(self, states: Tensor) -> Tensor:
        """Hidden states [n, hidden] -> logits float32 [n, vocabulary], those of image codes -inf."""
        return self.lm_head(states).float().index_fill(-1, self.codes, -torch.inf)

    def code_head(self, states: Tensor) -> Tensor:
        """Hidden states [n, hidden] -> logits float32 [n, codes]."""
        return F.linear(states, self.lm_head.weight[self.codes]).float()

    @property
    def dtype(self) -> torch.dtype:
        return self.lm_head.weight.dtype
