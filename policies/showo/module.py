"""The trainable part of a Show-o, behind one forward pass.

Invariant: parameters have the released names, and all their compute goes through `forward` of the
root, as FSDP2 needs it. The tokenizer of pictures is not part of it, because it is never trained.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import AttentionInterface, PhiForCausalLM

from policies.showo.config import ShowoConfig
from policies.showo.kept import Kept

ADAPTED = r"showo\.model\.layers\.\d+\.(self_attn\.((q|k|v)_proj|dense)|mlp\.fc[12])"
"""The layers that adapters sit on."""
ATTENTION = "showo_kept"


class ShowoModule(nn.Module):
    def __init__(self, config: ShowoConfig) -> None:
        super().__init__()
        phi = config.phi.phi_config(config.vocabulary)
        phi._attn_implementation = ATTENTION
        self.showo: Any = PhiForCausalLM(phi)
        self.config = config

    def forward(self, ids: Tensor, mask: Tensor, select: Tensor) -> Tensor:
        """Returns logits float32 [n, vocabulary] at the flat places `select` (int64 [n], into [rows *
        places]) of ids int64 [rows, places]. `mask` is that of `policies.showo.masks.visible`."""
        places = torch.arange(ids.shape[1], device=ids.device)[None]
        states = self.states(ids, mask, places).flatten(0, 1)[select]
        return self.head(states)

    def states(
        self, ids: Tensor, mask: Tensor, positions: Tensor, kept: Kept | None = None
    ) -> Tensor:
        """The last hidden states [rows, places, hidden] of ids int64 [rows, places], at `positions` of
        the same shape or of one row; `mask` bool [rows, 1, places, keys] says which of the keys, first
        those that are `kept`, each place sees."""
        read = self.showo.model(
            input_ids=ids, attention_mask=mask, position_ids=positions, use_cache=False, kept=kept
        )
        states: Tensor = read.last_hidden_state
        return states

    def head(self, states: Tensor) -> Tensor:
        """Hidden states [..., hidden] -> logits float32 [..., vocabulary]."""
        logits: Tensor = self.showo.lm_head(states).float()
        return logits

    def code_head(self, states: Tensor) -> Tensor:
        """Hidden states [..., hidden] -> logits float32 [..., codes]: those that `head` has for the
        codes of drawings."""
        head, codes = self.showo.lm_head, slice(self.config.first_code, self.config.mask)
        return F.linear(states, head.weight[codes], head.bias[codes]).float()

    @property
    def dtype(self) -> torch.dtype:
        found: torch.dtype = self.showo.lm_head.weight.dtype
        return found


def attend(
    module: Any, query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor | None,
    kept: Kept | None = None, **_: object,
) -> tuple[Tensor, None]:  # fmt: skip
    """Attention for transformers' Phi that also sees what is `kept`: query [rows, heads, places,
    head_dim] -> [rows, places, heads, head_dim]."""
    if kept is not None:
        key, value = kept.put(module.layer_idx, key, value)
    if (share := query.shape[1] // key.shape[1]) > 1:
        key, value = (each.repeat_interleave(share, 1) for each in (key, value))
    mixed = F.scaled_dot_product_attention(query, key, value, attention_mask)
    return mixed.transpose(1, 2).contiguous(), None


AttentionInterface.register(ATTENTION, attend)
