"""The trainable part of an Emu3 model, behind one forward pass.

Invariant: parameters have the names of transformers' `Emu3ForConditionalGeneration`, and all their
compute goes through `forward` of the root, as FSDP2 needs it. The image tokenizer is not part of
it, because it is never trained; and learning has no dropout, because a loss is a function of the
weights and the example.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

ADAPTED = r"model\.text_model\.layers\.\d+\.(self_attn|mlp)\.(q|k|v|o|gate|up|down)_proj"
"""The layers that adapters sit on."""


class Emu3Module(nn.Module):
    """Takes the parts of `net`, an `Emu3ForConditionalGeneration`, without its image tokenizer."""

    def __init__(self, net: Any) -> None:
        super().__init__()
        text: Any = net.model.text_model
        self.model: Any = nn.Module()
        self.model.text_model = text
        self.lm_head = net.lm_head
        for layer in text.layers:
            layer.dropout.p = layer.self_attn.attention_dropout = 0.0

    def forward(self, ids: Tensor, select: Tensor, kinds: slice | None = None) -> Tensor:
        """Returns logits float32 [n, kinds] at the flat places `select` (int64 [n], into [rows *
        tokens]) of ids int64 [rows, tokens]: of the whole vocabulary, or of the `kinds` of it. Rows
        are padded on the right, where causal attention never sees the padding."""
        states = self.model.text_model(input_ids=ids, use_cache=False).last_hidden_state
        return self.head(states.flatten(0, 1)[select], kinds)

    def head(self, states: Tensor, kinds: slice | None = None) -> Tensor:
        """Hidden states [n, hidden] -> logits float32 [n, kinds]."""
        weight = self.lm_head.weight
        return F.linear(states, weight if kinds is None else weight[kinds]).float()

    def embed(self, ids: Tensor) -> Tensor:
        """ids int64 [...] -> embeddings [..., hidden]."""
        embedded: Tensor = self.model.text_model.embed_tokens(ids)
        return embedded

    @property
    def device(self) -> torch.device:
        found: torch.device = self.lm_head.weight.device
        return found
