"""An encoder of patches of 8 x 8 pixels, in the layers that MAGVIT-v2's encoder has.

Invariant: a patch's code depends on its own pixels alone, so the same thing at the same place of a
patch has the same code whatever is beside it; that makes drawings easy to learn. Norms go over a whole
picture: every group of channels holds one number so large that what stands beside it hardly matters,
and the sum of the others is 0, so a norm gives back what it got.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from policies.convolutions import GROUPS, pass_over_idle
from policies.showo.magvit import Encoder

PIXELS = 3 * 8 * 8
"""Numbers of a patch."""
WIDTH = 64
"""Of the features; two of them are in each group of four channels."""
CHANNELS = 4 * GROUPS
BOUND = 1000.0
FEATURES = [channel for channel in range(CHANNELS) if channel % 4 < 2]
BALANCES, BOUNDS = slice(2, CHANNELS, 4), slice(3, CHANNELS, 4)


def patches_of(pixels: Tensor) -> Tensor:
    """[pictures, 3, height, width] -> [pictures, 192, height / 8, width / 8]."""
    for _ in range(3):  # in the order of three layers that each halve height and width
        pixels = F.pixel_unshuffle(pixels, 2)
    return pixels


class Point(nn.Module):
    """What a block of the encoder does where it looks at one place alone."""

    def __init__(self) -> None:
        super().__init__()
        self.near, self.far = nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH, WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.far(F.silu(self.near(F.silu(x))))


class PatchEncoder(nn.Module):
    """float [..., 192] from -1 to 1 -> latents float [..., bits], whose signs are the code."""

    def __init__(self, bits: int) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(PIXELS, WIDTH), nn.Linear(WIDTH, bits)
        self.points = nn.ModuleList([Point(), Point()])

    def forward(self, patches: Tensor) -> Tensor:
        x = self.first(patches)
        for point in self.points:
            x = point(x)
        return self.last(F.silu(x))


def quantised(latents: Tensor) -> Tensor:
    """Their signs; gradients pass as if these were their hyperbolic tangents."""
    soft = latents.tanh()
    return soft + (torch.where(latents > 0, 1.0, -1.0) - soft).detach()


class _Place(NamedTuple):
    """Where a linear layer is written: rows and columns of channels of the layer `conv`, at its
    middle. What it gives has its sum beside it where it is `balanced`, and its bound where `bound`."""

    linear: nn.Linear
    conv: nn.Conv2d
    rows: Sequence[int]
    balanced: bool = True
    bound: float = 0.0


def _places(encoder: Any, learned: Any) -> Iterator[_Place]:
    for point, block in zip(learned.points, (encoder.mid.block_1, encoder.mid.block_2)):
        yield _Place(point.near, block.conv1, FEATURES, bound=BOUND)
        yield _Place(point.far, block.conv2, FEATURES)
    bits = range(encoder.conv_out.out_channels)
    yield _Place(learned.last, encoder.conv_out, bits, balanced=False)


@torch.no_grad()
def write(learned: PatchEncoder, encoder: Encoder) -> None:
    """Sets all of the encoder's weights."""
    for part in encoder.modules():
        if isinstance(part, nn.Conv2d):
            part.weight.zero_()
            _bias(part).zero_()
    whole: Any = encoder  # modules of modules, which have no types
    whole.conv_in.weight[range(3), range(3), 1, 1] = 1.0
    first, second, third, last = whole.down
    first.downsample.conv.weight[:12, :3, :2, :2] = torch.eye(12).view(12, 3, 2, 2)
    _keep(second.block[0].nin_shortcut, 12)
    second.downsample.conv.weight[:48, :12, :2, :2] = torch.eye(48).view(48, 12, 2, 2)
    third.downsample.conv.weight[:, :48, :2, :2] = learned.first.weight.unflatten(1, (48, 2, 2))
    widen = last.block[0].nin_shortcut
    widen.weight[FEATURES, range(WIDTH)] = 1.0
    widen.bias[FEATURES] = learned.first.bias
    _balance(widen, BOUND)
    for place in _places(encoder, learned):
        middle = place.conv.weight[:, :, 1, 1]
        middle[torch.tensor(place.rows)[:, None], FEATURES] = place.linear.weight
        _bias(place.conv)[list(place.rows)] = place.linear.bias
        if place.balanced:
            _balance(place.conv, place.bound)
    _keep(whole.quant_conv, learned.last.out_features)
    for norm in (*_norms(whole.mid), whole.norm_out):
        norm.weight.zero_()
        norm.bias.zero_()
        # Of a group with B beside a sum of 0 the mean is B / 4, and the variance 3 / 16 of its square.
        norm.weight[FEATURES] = BOUND * 3**0.5 / 4
        norm.bias[FEATURES] = BOUND / 4
    pass_over_idle(encoder)


@torch.no_grad()
def read(encoder: Encoder) -> PatchEncoder:
    """What was written."""
    whole: Any = encoder
    learned = PatchEncoder(whole.conv_out.out_channels).to(whole.conv_out.weight.device)
    third, last = whole.down[2:]
    learned.first.weight.copy_(third.downsample.conv.weight[:, :48, :2, :2].flatten(1))
    learned.first.bias.copy_(last.block[0].nin_shortcut.bias[FEATURES])
    for place in _places(encoder, learned):
        middle = place.conv.weight[:, :, 1, 1]
        place.linear.weight.copy_(middle[torch.tensor(place.rows)[:, None], FEATURES])
        place.linear.bias.copy_(_bias(place.conv)[list(place.rows)])
    return learned


def _norms(middle: Any) -> Iterator[nn.GroupNorm]:
    for block in (middle.block_1, middle.block_2):
        yield from (block.norm1, block.norm2)


def _keep(conv: nn.Conv2d, channels: int) -> None:
    conv.weight[range(channels), range(channels)] = 1.0


def _balance(conv: nn.Conv2d, bound: float) -> None:
    for values in (conv.weight, _bias(conv)):
        values[BALANCES] = -values[0::4] - values[1::4]
    _bias(conv)[BOUNDS] = bound


def _bias(conv: nn.Conv2d) -> Tensor:
    assert conv.bias is not None
    return conv.bias
