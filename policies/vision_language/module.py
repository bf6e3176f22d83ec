"""The trainable part of a vision-language model, behind one forward pass.

Invariant: parameters have the names of transformers' own class, and all their compute goes through
`forward` of the root, as FSDP2 needs it. Nothing is remembered between passes but what a cache holds.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from policies.sampling import Ids

ADAPTED = (
    r"model\.language_model\.(\w+\.)?layers\.\d+\.(self_attn|mlp)\.(q|k|v|o|gate|up|down)_proj"
)
"""The layers that adapters sit on: those that read and write, and not those that see."""


@dataclass(frozen=True)
class Batch:
    """Rows of `ids` int64 [rows, longest] with padding where `mask` (int64, of the same shape) is 0, and
    what is seen in them, in the order of the rows, by the names that the model's class gives it. The
    last row is a `filler` where nothing else is seen. `fed` [n, hidden] are embeddings that a family may
    put in at ids of its own."""

    ids: Tensor
    mask: Tensor
    seen: Mapping[str, Tensor] = field(default_factory=dict)
    filler: bool = False
    fed: Tensor | None = None


def batch_of(rows: Sequence[Ids], left: bool, device: torch.device) -> tuple[Tensor, Tensor]:
    """Ids and mask of rows that are padded on the left, or on the right."""
    longest = max(map(len, rows))
    ids, mask = (np.zeros((len(rows), longest), np.int64) for _ in range(2))
    for i, row in enumerate(rows):
        where = slice(longest - len(row), longest) if left else slice(len(row))
        ids[i, where], mask[i, where] = row, 1
    return torch.from_numpy(ids).to(device), torch.from_numpy(mask).to(device)


class VisionLanguageModule(nn.Module):
    """Takes the parts of `net`, one of transformers' classes "for conditional generation". One in which
    the encoder of pictures is frozen overrides `_take`, `reader`, `shown` and `sees`."""

    sees: ClassVar[bool] = True
    """Whether what sees learns too."""

    def __init__(self, net: Any) -> None:
        super().__init__()
        self._take(net)
        self.lm_head: Any = net.lm_head
        self.described: Any = net.config
        self.image = int(net.config.image_token_id)
        self.words = int(net.lm_head.weight.shape[0])
        self.max_positions = int(net.config.get_text_config().max_position_embeddings)
        takes = inspect.signature(type(self.reader).forward).parameters
        # transformers renamed it within its version 5.
        self._cache = "cache" if "cache" in takes else "past_key_values"
        # No weights take part in it.
        self._turned: Any = getattr(net.model, "get_rope_index", None)

    def _take(self, net: Any) -> None:
        self.model: Any = net.model

    @property
    def reader(self) -> Any:
        """The part of transformers' that gives the states."""
        return self.model

    def shown(self, batch: Batch) -> dict[str, Tensor]:
        """What it is given of a batch, but for mask and positions."""
        return {"input_ids": batch.ids, **batch.seen}

    def forward(self, batch: Batch, select: Tensor) -> Any:
        """Logits float32 [n, words] at the flat places `select` (int64 [n], into [rows * longest])."""
        states = self.states(batch, self.positions(batch))
        logits = self.head(states.flatten(0, 1)[select])
        # Of two workers one may see something and the other not: both need gradients of all that sees.
        return logits + 0.0 * states[-1].float().sum() if batch.filler else logits

    def states(self, batch: Batch, positions: Tensor, cache: Any = None) -> Tensor:
        """Last hidden states [rows, longest, hidden]; with a `cache` ids are those after it."""
        kept = (
            {self._cache: cache, "use_cache": True} if cache is not None else {"use_cache": False}
        )
        read = self.reader(
            **self.shown(batch), attention_mask=batch.mask, position_ids=positions, **kept
        )
        states: Tensor = read.last_hidden_state
        return states

    def head(self, states: Tensor) -> Tensor:
        """Hidden states [..., hidden] -> logits float32 [..., words]."""
        logits: Tensor = self.lm_head(states)
        return logits.float()

    def positions(self, batch: Batch) -> Tensor:
        """int64 [rows, longest], or [3, rows, longest] where pictures have a height and a width."""
        if self._turned is None:
            return (batch.mask.cumsum(-1) - 1).clamp(min=0)
        seen = {name: each for name, each in batch.seen.items() if name.endswith("grid_thw")}
        kinds = (batch.ids == self.image).int() * batch.mask.int()
        found: Tensor = self._turned(
            batch.ids, mm_token_type_ids=kinds, attention_mask=batch.mask, **seen
        )[0]
        return found

    def following(self, positions: Tensor) -> Tensor:
        """The positions of the token after each row: [rows, 1], or [3, rows, 1]."""
        most = positions.amax(-1, keepdim=True)
        return (most.amax(0, keepdim=True).expand_as(most) if most.ndim == 3 else most) + 1

    def units(self) -> list[nn.Module]:
        """The layers, in the order in which they run: first those that see."""
        from transformers.modeling_layers import GradientCheckpointingLayer

        found: list[nn.Module] = []
        inside: set[int] = set()
        for each in self.modules():
            if isinstance(each, GradientCheckpointingLayer) and id(each) not in inside:
                found.append(each)
                inside.update(map(id, each.modules()))
        return found

    @property
    def device(self) -> torch.device:
        place: torch.device = self.lm_head.weight.device
        return place
