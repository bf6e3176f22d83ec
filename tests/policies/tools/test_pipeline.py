"""A diffusers pipeline as a tool: a very small Stable Diffusion with random weights."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from policies.interface import PictureSampling, last_picture
from policies.tools.child import Lacking, drawer
from policies.tools.process import ToolProcess
from policies.tools.specs import parse_specs
from tests.policies.tools.small import SmallTools
from tests.policies.vision_language.small import write_model


def write_pipeline(folder: Path) -> Path:
    """In the layout of diffusers' `StableDiffusionPipeline`."""
    diffusers = pytest.importorskip("diffusers")
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

    words = ["<|startoftext|>", "<|endoftext|>", *map(chr, range(33, 127))]
    names = [*words, *(f"{word}</w>" for word in words[2:])]
    torch.manual_seed(0)
    pipeline = diffusers.StableDiffusionPipeline(
        vae=diffusers.AutoencoderKL(
            block_out_channels=(8, 8), down_block_types=("DownEncoderBlock2D",) * 2,
            up_block_types=("UpDecoderBlock2D",) * 2, norm_num_groups=4, latent_channels=4,
        ),
        unet=diffusers.UNet2DConditionModel(
            sample_size=8, in_channels=4, out_channels=4, block_out_channels=(8, 16),
            down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"), norm_num_groups=4, layers_per_block=1,
            up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"), cross_attention_dim=16, attention_head_dim=4,
        ),
        text_encoder=CLIPTextModel(
            CLIPTextConfig(vocab_size=len(names), hidden_size=16, intermediate_size=32, num_hidden_layers=1,
                           num_attention_heads=2, max_position_embeddings=77, bos_token_id=0, eos_token_id=1)
        ),
        tokenizer=CLIPTokenizer(
            vocab={name: i for i, name in enumerate(names)}, merges=[], model_max_length=77
        ),
        scheduler=diffusers.DDIMScheduler(), safety_checker=None, feature_extractor=None,
        requires_safety_checker=False,
    )  # fmt: skip
    pipeline.save_pretrained(folder / "pipeline")
    return folder / "pipeline"


@pytest.mark.slow
def test_a_pipeline_draws_what_is_called_for_by_its_seed(tmp_path: Path) -> None:
    pipeline = write_pipeline(tmp_path / "sd")
    spec = f"draw=diffusers:{pipeline}?num_inference_steps=2"
    (tool,) = (ToolProcess(each, 120.0) for each in parse_specs((spec,)))
    one, again = tool.draw("cat", 1, None), tool.draw("cat", 1, None)
    assert one.dtype == np.uint8 and one.shape == (16, 16, 3) and np.array_equal(one, again)
    assert not np.array_equal(one, tool.draw("cat", 2, None))
    assert not np.array_equal(one, tool.draw("a dog", 1, None))
    assert tool.draw("cat", 1, (24, 32)).shape == (24, 32, 3)
    assert tool.starts == 1
    tool.close()
    policy = SmallTools.from_pretrained(write_model(tmp_path / "model", 0), tools=(spec,))
    outputs = [policy.draw([("a",)], [PictureSampling()], [4])[0] for _ in range(2)]
    shown = [last_picture(made) for made in outputs]
    assert shown[0] is not None and shown[1] is not None
    assert np.array_equal(shown[0].pixels, shown[1].pixels)


def test_without_diffusers_it_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "diffusers", None)
    with pytest.raises(Lacking, match="pip install diffusers"):
        drawer("diffusers", "nowhere", {})
