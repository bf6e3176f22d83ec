"""What pictures show: layers that began as SigLIP's, over latents in place of pixels.

Invariant: pictures of one call do not see one another. Parameters have the released names.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch.nn.functional as F
from torch import Tensor, nn

from policies.flowing.config import VisionConfig
from policies.flowing.samples import Grid
from policies.flowing.vision import Crowd, VisionLayer


class Patches(nn.Module):
    """Tokens [n, patch * patch * channels], as `policies.flowing.latents.patches_of` makes them, ->
    [n, width]. The weights are those of a convolution that the tokens were cut for."""

    def __init__(self, channels: int, width: int, patch: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(channels, width, patch, stride=patch)

    def forward(self, tokens: Tensor) -> Tensor:
        return F.linear(tokens, self.proj.weight.permute(0, 2, 3, 1).flatten(1), self.proj.bias)


class Semantic(nn.Module):
    """Embedded latents [n, width] of pictures of these grids, one after another -> their features."""

    def __init__(self, config: VisionConfig) -> None:
        super().__init__()
        self.layers = nn.ModuleList(VisionLayer(config) for _ in range(config.layers))

    def forward(self, x: Tensor, grids: Sequence[Grid]) -> Tensor:
        crowd = Crowd([rows * columns for rows, columns in grids], x.device)
        for layer in self.stack():
            x = layer(x, crowd)
        return x

    def stack(self) -> list[VisionLayer]:
        return cast("list[VisionLayer]", list(self.layers))
