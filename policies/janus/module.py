"""The trainable part of a Janus-Pro model, behind one forward pass.

Invariant: parameters have the names of transformers' `JanusForConditionalGeneration`, and all their
compute goes through `forward` of the root, as FSDP2 needs it. The image tokenizer is not part of
it, because it is never trained.

One numbering covers all that a sequence may hold: words from 0, codes of drawings from `words` on,
and -1 - i for feature i of the pictures in the context.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

ADAPTED = r"model\.language_model\.layers\.\d+\.(self_attn|mlp)\.(q|k|v|o|gate|up|down)_proj"
"""The layers that adapters sit on: those that read and write, and not those that see."""


class JanusModule(nn.Module):
    """Takes the parts of `net`, a `JanusForConditionalGeneration`, without its image tokenizer."""

    def __init__(self, net: Any) -> None:
        super().__init__()
        config = net.config
        self.model: Any = nn.Module()
        for name, part in net.model.named_children():
            if name != "vqmodel":
                self.model.add_module(name, part)
        self.lm_head = net.lm_head
        self.words: int = config.text_config.vocab_size
        self.codes: int = config.vq_config.num_embeddings
        self.features: int = config.vision_config.num_image_tokens
        self.image_size: int = config.vision_config.image_size
        self.max_positions: int = config.text_config.max_position_embeddings

    def forward(self, ids: Tensor, pixels: Tensor | None, select: Tensor, drawing: bool) -> Tensor:
        """Returns logits float32 [n, codes or words] at the flat places `select` (int64 [n], into
        [rows * tokens]) of ids int64 [rows, tokens]. Rows are padded on the right, where causal
        attention never sees the padding. `pixels` is as in `look`."""
        features = None if pixels is None else self.look(pixels)
        states = self.read(self.embed(ids, features)).flatten(0, 1)[select]
        return self.draw_head(states) if drawing else self.word_head(states)

    def look(self, pixels: Tensor) -> Tensor:
        """float [pictures, 3, height, width] in -1..1 -> features [pictures * features, hidden]."""
        seen = self.model.vision_model(pixels.to(self.dtype)).last_hidden_state
        return self.model.aligner(seen).flatten(0, 1)

    def embed(self, ids: Tensor, features: Tensor | None) -> Tensor:
        """ids int64 [rows, tokens] -> embeddings [rows, tokens, hidden]."""
        x = self.model.language_model.embed_tokens(ids.clamp(0, self.words - 1))
        if features is not None:
            looked = ids < 0
            x = x.index_put((looked,), features[-1 - ids[looked]].to(x.dtype))
        drawn = ids >= self.words
        if drawn.any():
            x = x.index_put((drawn,), self.embed_codes(ids[drawn]).to(x.dtype))
        return x

    def embed_codes(self, ids: Tensor) -> Tensor:
        """ids int64 [n], all of them codes -> embeddings [n, hidden]."""
        embedded = self.model.generation_embeddings(ids - self.words)
        return self.model.generation_aligner(embedded)

    def read(self, x: Tensor) -> Tensor:
        """Embeddings [rows, tokens, hidden] -> last hidden states of the same shape."""
        return self.model.language_model(inputs_embeds=x, use_cache=False).last_hidden_state

    def word_head(self, states: Tensor) -> Tensor:
        """Hidden states [..., hidden] -> logits float32 [..., words]."""
        return self.lm_head(states).float()

    def draw_head(self, states: Tensor) -> Tensor:
        """Hidden states [..., hidden] -> logits float32 [..., codes]."""
        return self.model.generation_head(states).float()

    @property
    def dtype(self) -> torch.dtype:
        return self.lm_head.weight.dtype
