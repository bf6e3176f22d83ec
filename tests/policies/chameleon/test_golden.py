"""The image tokenizer computes what Meta's own code computes, from stored tensors of it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import nn
from transformers import ChameleonVQVAE, ChameleonVQVAEConfig

from policies.chameleon.decoder import Decoder
from policies.chameleon.pictures import ImageTokenizer
from policies.seeds import generator
from tests.policies.chameleon.small import CONFIG

GOLDEN = Path(__file__).resolve().parents[2] / "golden" / "chameleon_vq" / "io.safetensors"


def fill(module: nn.Module, prefix: str = "") -> None:
    """As tests/golden/chameleon_vq/README.md says."""
    with torch.no_grad():
        for name, weight in module.named_parameters(prefix):
            drawn = generator("golden", name).standard_normal(tuple(weight.shape), dtype=np.float32)
            weight.copy_(torch.from_numpy(drawn) * 0.1)
            if "norm" in name and name.endswith("weight"):
                weight.add_(1)


@pytest.mark.parametrize(("kind", "attends"), [("plain", []), ("attention", [4])])
def test_codes_and_pixels_are_those_of_the_published_code(kind: str, attends: list[int]) -> None:
    sizes = {"resolution": 16, "channel_multiplier": [1, 1, 2], "attn_resolutions": attends}
    config = ChameleonVQVAEConfig(**CONFIG["vq_config"] | sizes)
    vision = ImageTokenizer(ChameleonVQVAE(config), Decoder(config))
    fill(vision.vq)
    fill(vision.decoder, "decoder")
    golden = load_file(GOLDEN)
    codes, decoded = golden[f"{kind}.codes"].long(), golden[f"{kind}.decoded"]
    assert codes.unique().numel() > 10 and decoded.std() > 0.5
    with torch.no_grad():
        latents = vision.vq.quant_conv(vision.vq.encoder(golden["pixels"]))
        shown = vision.show(codes)
    assert (latents - golden[f"{kind}.latents"]).abs().max() < 1e-5
    assert torch.equal(vision.encode(golden["pixels"]), codes)
    assert (shown - decoded).abs().max() < 1e-5
    pixels = ((decoded.clamp(-1, 1) + 1) / 2).permute(0, 2, 3, 1).numpy() * 255
    assert np.abs(vision.decode(codes) - np.floor(pixels)).max() <= 1
