"""The encoder of pictures: SigLIP, over pictures of any shape at their own resolution.

Invariant: pictures of one call do not see one another, so features are those of a picture alone.
Parameters have the released names.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

from torch import Tensor, nn

from policies.flowing.config import VisionConfig
from policies.flowing.vision import Crowd, VisionLayer


class Vision(nn.Module):
    """Patches float [n, patch * patch * channels], one picture after another, their `spots` in the
    table of places int64 [n], and how many patches each picture has -> features [n, width]."""

    def __init__(self, config: VisionConfig) -> None:
        super().__init__()
        self.vision_model: Any = nn.Module()  # a level that only the released names have
        body = self.vision_model
        body.embeddings = nn.Module()
        body.embeddings.patch_embedding = nn.Linear(config.patch_values, config.hidden_size)
        body.embeddings.position_embedding = nn.Embedding(config.side**2, config.hidden_size)
        body.encoder = nn.Module()
        body.encoder.layers = nn.ModuleList(VisionLayer(config) for _ in range(config.layers))
        body.post_layernorm = nn.LayerNorm(config.hidden_size, eps=config.norm_eps)

    def forward(self, patches: Tensor, spots: Tensor, counts: Sequence[int]) -> Tensor:
        body = self.vision_model
        x = body.embeddings.patch_embedding(patches) + body.embeddings.position_embedding(spots)
        crowd = Crowd(counts, x.device)
        for layer in self.stack():
            x = layer(x, crowd)
        features: Tensor = body.post_layernorm(x)
        return features

    def stack(self) -> list[VisionLayer]:
        return cast("list[VisionLayer]", list(self.vision_model.encoder.layers))
