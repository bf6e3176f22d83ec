"""All that can learn, behind one forward pass: the language model, its head, the bridge, and the
denoiser where it learns too.

Invariant: all compute of a loss that needs weights that learn goes through `forward` of the root, as
FSDP2 needs it. What is frozen is held by `decoder`, which is no module.

One numbering covers all that a sequence may hold: words from 0, the bridge's slots from `words` on,
and -1 - i for feature i of pictures.
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from policies.external.bridge import Bridge
from policies.external.decoder import Decoder
from policies.sampling import Ids

ADAPTED = (
    r"(language_model\.layers\.\d+\.(self_attn|mlp)\.(q|k|v|o|gate|up|down)_proj"
    r"|bridge\.(enter|leave|layers\.\d+\.(query|key|value|out|up|down))"
    r"|denoiser\..*\.attn[12]\.to_(q|k|v|out\.0))"
)
"""The layers that adapters sit on; of a denoiser that learns, its attention."""


class Noisy(NamedTuple):
    """What the denoiser is shown: latents float32 [rows, channels, side, side], times [rows]."""

    latents: Tensor
    times: Tensor


class Batch(NamedTuple):
    """Rows of ids int64 [rows, tokens], padded on the right where causal attention never sees it, with
    positions int64 [axes, rows, tokens], the features [n, hidden] of all pictures, and the flat
    places int64 [m], into [rows * tokens], whose states are wanted."""

    ids: Tensor
    positions: Tensor
    features: Tensor | None
    places: Tensor

    def to(self, device: torch.device) -> Batch:
        features = None if self.features is None else self.features.to(device)
        return Batch(
            self.ids.to(device), self.positions.to(device), features, self.places.to(device)
        )


class ExternalModule(nn.Module):
    """Takes the language model of `net`, a model of transformers, without its encoder of pictures."""

    def __init__(self, net: Any, bridge: Bridge, decoder: Decoder) -> None:
        super().__init__()
        self.language_model = net.model.language_model.requires_grad_(True)
        self.lm_head = net.lm_head.requires_grad_(True)
        self.bridge = bridge
        self.decoder = decoder
        if decoder.config.decoder == "learned":
            self.denoiser = decoder.denoiser
        text = net.config.text_config
        self.words: int = self.lm_head.weight.shape[0]
        self.max_positions: int = text.max_position_embeddings
        # transformers renames it: asking for either name would fail somewhere in 5.x.
        takes = inspect.signature(self.language_model.forward).parameters
        self.cache_name = "cache" if "cache" in takes else "past_key_values"

    def forward(
        self, batch: Batch, drawing: bool, noisy: Noisy | None = None
    ) -> tuple[Tensor, ...]:
        """Logits float32 [m, words]; or while drawing, what the bridge makes of the places' states
        [rows, tokens, out], and what the denoiser predicts from it, as noisy."""
        x = self.embed(batch.ids, batch.features)
        states = self.read(x, batch.positions).flatten(0, 1)[batch.places]
        if not drawing:
            return (self.word_head(states),)
        made = self.bridge(states.unflatten(0, (len(batch.ids), -1)))
        if noisy is None:
            return (made.clone(),)  # FSDP2 warns of views
        return made.clone(), self.decoder.denoise(noisy.latents, noisy.times, made)

    def embed(self, ids: Tensor, features: Tensor | None) -> Tensor:
        """ids int64 [rows, tokens] -> embeddings [rows, tokens, hidden]."""
        x: Tensor = self.language_model.embed_tokens(ids.clamp(0, self.words - 1))
        if features is not None:
            looked = ids < 0
            x = x.index_put((looked,), features[-1 - ids[looked]].to(x.dtype))
        slots = ids >= self.words
        if slots.any():
            x = x.index_put((slots,), self.bridge.slots[ids[slots] - self.words].to(x.dtype))
        return x

    def read(self, x: Tensor, positions: Tensor, **how: Any) -> Tensor:
        """Embeddings [rows, tokens, hidden] at positions [axes, rows, tokens] -> the last hidden
        states, of the same shape."""
        at = positions if len(positions) > 1 else positions[0]
        how.setdefault("use_cache", False)
        states: Tensor = self.language_model(
            inputs_embeds=x, position_ids=at, **how
        ).last_hidden_state
        return states

    def word_head(self, states: Tensor) -> Tensor:
        """Hidden states [..., hidden] -> logits float32 [..., words]."""
        logits: Tensor = self.lm_head(states)
        return logits.float()

    def units(self) -> list[nn.Module]:
        """What to shard, in the order in which `forward` runs it."""
        units = list(self.language_model.layers)
        if self.decoder.config.decoder == "learned":
            units += blocks(self.denoiser)
        return units

    @property
    def device(self) -> torch.device:
        return self.lm_head.weight.device

    @property
    def dtype(self) -> torch.dtype:
        return self.lm_head.weight.dtype


def blocks(denoiser: nn.Module) -> list[nn.Module]:
    """The blocks of a UNet, or the layers of a transformer, in their order."""
    unet = [getattr(denoiser, name, None) for name in ("down_blocks", "mid_block", "up_blocks")]
    if not isinstance(unet[0], nn.ModuleList):
        layers: Any = denoiser.transformer_blocks
        return list(layers)
    down, mid, up = unet
    assert isinstance(down, nn.ModuleList) and isinstance(up, nn.ModuleList)
    return [*down, *([mid] if isinstance(mid, nn.Module) else []), *up]


def arranged(
    rows: Sequence[Ids], positions: Sequence[np.ndarray], places: Sequence[np.ndarray],
    features: Tensor | None,
) -> Batch:  # fmt: skip
    """Rows with their positions int64 [axes, tokens] as a batch, with the places in each row whose
    states are wanted."""
    longest = max(map(len, rows))
    ids = np.zeros((len(rows), longest), dtype=np.int64)
    at = np.zeros((len(positions[0]), len(rows), longest), dtype=np.int64)
    for i, (row, own) in enumerate(zip(rows, positions, strict=True)):
        ids[i, : len(row)] = row
        at[:, i, : len(row)] = own
        # Positions go on in the padding: a step back would look like another sequence.
        at[:, i, len(row) :] = own[:, -1:] + np.arange(1, longest - len(row) + 1)
    flat = np.concatenate([each + i * longest for i, each in enumerate(places)])
    made = [torch.from_numpy(each) for each in (ids, at, flat)]
    return Batch(made[0], made[1], features, made[2])
