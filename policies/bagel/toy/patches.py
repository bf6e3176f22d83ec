"""An encoder in closed form: the principal components of patches of 8 x 8 pixels.

Invariant: a patch's latents depend on its own pixels alone, so the same thing at the same place of a
patch has the same latents whatever is beside it; that makes drawings easy to learn. Nothing here is
learned by gradients, and the encoder computes it by the layers that FLUX's has.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from policies.bagel.autoencoder import Autoencoder

BOUND = 20.0
"""What stands beside every component before the last norm: so large that the norm hardly changes
with the component, whose variance is 1."""
SPREAD = 0.25
"""A component of variance v has latents of variance v ** (2 * SPREAD): details, which vary less, are
then drawn last, as the flow leaves the noise."""


@torch.no_grad()
def fit(autoencoder: Autoencoder, pixels: Tensor) -> None:
    """Sets the encoder by pictures float32 [n, 3, height, width] from -1 to 1."""
    encoder: Any = autoencoder.encoder  # modules of modules, which have no types
    for part in encoder.modules():
        if isinstance(part, nn.Conv2d):
            part.weight.zero_()
            assert part.bias is not None
            part.bias.zero_()
    encoder.conv_in.weight[range(3), range(3), 1, 1] = 1.0
    first, second, third, last = encoder.down
    _keep(first.block[0].nin_shortcut, 3)
    first.downsample.conv.weight[:12, :3, :2, :2] = torch.eye(12).view(12, 3, 2, 2)
    _keep(second.block[0].nin_shortcut, 12)
    halved = F.pixel_unshuffle(pixels, 2)
    vectors, _, _ = _components(F.pixel_unshuffle(halved, 2), second.downsample.conv.out_channels)
    kernel = vectors.unflatten(1, (12, 2, 2))
    second.downsample.conv.weight[:, :12, :2, :2] = kernel
    fourth = F.pixel_unshuffle(F.conv2d(halved, kernel, stride=2), 2)
    latents = encoder.conv_out.out_channels // 2
    vectors, variances, mean = _components(fourth, latents)
    vectors = vectors / variances.sqrt()[:, None]
    third.downsample.conv.weight[:latents, :, :2, :2] = vectors.unflatten(1, (-1, 2, 2))
    third.downsample.conv.bias[:latents] = -vectors @ mean
    _pass(autoencoder, last.block[0].nin_shortcut, variances)


def _keep(conv: nn.Conv2d, channels: int) -> None:
    conv.weight[range(channels), range(channels)] = 1.0


def _components(x: Tensor, count: int) -> tuple[Tensor, Tensor, Tensor]:
    """The directions [count, channels] in which x [n, channels, h, w] varies most, the variances
    along them, and the mean."""
    flat = x.movedim(1, -1).flatten(0, -2).double()
    variances, vectors = torch.linalg.eigh(flat.T.cov())
    signs = vectors[vectors.abs().argmax(0), range(len(vectors))].sign()
    chosen = (vectors * signs).T.flip(0)[:count]
    return chosen.float(), variances.flip(0)[:count].float(), flat.mean(0).float()


def _pass(autoencoder: Autoencoder, widen: nn.Conv2d, variances: Tensor) -> None:
    """Leads every component through the last norm and SiLU, which change nothing but its scale: a
    group of the norm holds it, its opposite and two bounds, and silu(x) - silu(-x) is x."""
    count, out = len(variances), autoencoder.encoder.conv_out
    deviations = variances**SPREAD
    deviations /= deviations.square().mean().sqrt()
    assert widen.bias is not None and out.bias is not None
    for k in range(count):
        widen.weight[4 * k, k], widen.weight[4 * k + 1, k] = 1.0, -1.0
        widen.bias[4 * k + 2], widen.bias[4 * k + 3] = BOUND, -BOUND
        scale = deviations[k] / autoencoder.scale * ((1 + BOUND**2) / 2) ** 0.5
        out.weight[k, 4 * k, 1, 1], out.weight[k, 4 * k + 1, 1, 1] = scale, -scale
    out.bias[:count], out.bias[count:] = autoencoder.shift, -20.0
