"""All that can learn, behind one forward pass: the language model, its head, the bridge, and the
denoiser where it learns too.

Invariant: all compute of a loss that needs weights that learn goes through `forward` of the root, as
FSDP2 needs it. What is frozen is held by `decoder` and by the policy's eye, which are no modules.

Behind the ids of words come those of the bridge's slots, and behind these those of embeddings that are
fed, each by its number in the batch.
"""

from __future__ import annotations

from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor, nn

from policies.external.bridge import Bridge
from policies.external.decoder import Decoder
from policies.vision_language.module import Batch, VisionLanguageModule

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


class ExternalModule(VisionLanguageModule):
    """Takes the language model of `net`, a model of transformers, without its encoder of pictures, whose
    `features` [n, hidden] a batch has `seen`."""

    sees: ClassVar[bool] = False

    def __init__(self, net: Any, bridge: Bridge, decoder: Decoder) -> None:
        super().__init__(net)
        self.lm_head.requires_grad_(True)
        self.bridge = bridge
        self.decoder = decoder
        if decoder.config.decoder == "learned":
            self.denoiser = decoder.denoiser
        first = max(self.words, self.image + 1)
        self.slots = range(first, first + len(bridge.slots))
        self.fed_from = self.slots.stop

    def _take(self, net: Any) -> None:
        self.language_model: Any = net.model.language_model.requires_grad_(True)

    @property
    def reader(self) -> Any:
        return self.language_model

    def shown(self, batch: Batch) -> dict[str, Tensor]:
        """Embeddings [rows, tokens, hidden] of words, of what is seen, of slots and of what is fed."""
        ids = batch.ids
        x: Tensor = self.language_model.embed_tokens(ids.clamp(max=self.words - 1))
        if "features" in batch.seen:
            x = x.index_put((ids == self.image,), batch.seen["features"].to(x.dtype))
        drawn = ids >= self.slots.start
        if drawn.any():
            fed = () if batch.fed is None else (batch.fed.to(x.dtype),)
            table = torch.cat([self.bridge.slots.to(x.dtype), *fed])
            x = x.index_put((drawn,), table[ids[drawn] - self.slots.start])
        return {"inputs_embeds": x}

    def forward(
        self, batch: Batch, select: Tensor, drawing: bool = False, noisy: Noisy | None = None
    ) -> Any:
        """Logits float32 [n, words] at the flat places `select`; or while drawing, what the bridge makes of
        the places' states [rows, tokens, out], and what the denoiser predicts from it, as noisy."""
        if not drawing:
            return super().forward(batch, select)
        states = self.states(batch, self.positions(batch)).flatten(0, 1)[select]
        made = self.bridge(states.unflatten(0, (len(batch.ids), -1)))
        if noisy is None:
            return made.clone()  # FSDP2 warns of views
        return made.clone(), self.decoder.denoise(noisy.latents, noisy.times, made)

    def units(self) -> list[nn.Module]:
        """What to shard, in the order in which `forward` runs it."""
        units = list(self.language_model.layers)
        if self.decoder.config.decoder == "learned":
            units += blocks(self.denoiser)
        return units


def blocks(denoiser: nn.Module) -> list[nn.Module]:
    """The blocks of a UNet, or the layers of a transformer, in their order."""
    unet = [getattr(denoiser, name, None) for name in ("down_blocks", "mid_block", "up_blocks")]
    if not isinstance(unet[0], nn.ModuleList):
        layers: Any = denoiser.transformer_blocks
        return list(layers)
    down, mid, up = unet
    assert isinstance(down, nn.ModuleList) and isinstance(up, nn.ModuleList)
    return [*down, *([mid] if isinstance(mid, nn.Module) else []), *up]
