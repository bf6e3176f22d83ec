"""Prefill and decoding steps for `policies.sampling`, through the layers of a Chameleon.

Invariant: weights are read in place and never written. What differs from a Llama is that the heads of
queries and keys are normalised before they are turned, and in the 30B where the norms stand.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from policies.chameleon.module import ChameleonModule
from policies.llama import Attend, Cache, Embed, Layers
from policies.llama import prefill as read_contexts
from policies.sampling import Ids

HEADS_EPS = 1e-5


class NormedLayers(Layers):
    """References to the weights of a `ChameleonModel`; `swin` says that norms come after attention and
    MLP, and not before them."""

    def __init__(self, model: Any) -> None:
        super().__init__(model)
        config = model.config
        self.swin: bool = config.swin_norm
        self.turned: int = config.num_attention_heads + config.num_key_value_heads
        self.width: int = config.hidden_size // config.num_attention_heads
        self.scales = [
            (torch.cat([q.weight, k.weight]), torch.cat([q.bias, k.bias]))
            for q, k in ((layer.self_attn.q_norm, layer.self_attn.k_norm) for layer in model.layers)
        ]

    def through(self, x: Tensor, attend: Attend) -> Tensor:
        """x [places, hidden] -> hidden states after the last layer, not yet normalised."""
        for i, (before, projections, out, after, gate, up, down) in enumerate(self.weights):
            y = x if self.swin else self.norm(x, before)
            heads = torch.cat([F.linear(y, weight) for weight in projections], 1)
            y = attend(i, self._normed(i, heads)) @ out
            x = x + (self.norm(y, before) if self.swin else y)
            y = x if self.swin else self.norm(x, after)
            y = F.silu(F.linear(y, gate)).mul_(F.linear(y, up)) @ down
            x = x + (self.norm(y, after) if self.swin else y)
        return x

    def _normed(self, layer: int, heads: Tensor) -> Tensor:
        """Heads of q, k and v [places, all heads * width], those of q and k normalised."""
        parted = heads.unflatten(1, (-1, self.width))
        scale, shift = self.scales[layer]
        normed = F.layer_norm(parted[:, : self.turned], (self.width,), eps=HEADS_EPS)
        return torch.cat([normed * scale + shift, parted[:, self.turned :]], 1).flatten(1)


def prefill(
    module: ChameleonModule, embed: Embed, contexts: Sequence[Ids], rows: Tensor, slots: int
) -> tuple[Tensor, Cache]:
    """A `policies.sampling.Prefill` but for the first two arguments; `embed` maps the ids that are
    sampled, int64 [rows], to [rows, hidden]."""
    model = module.model
    return read_contexts(
        NormedLayers(model), model, model.embed_tokens, embed, contexts, rows, slots
    )
