"""The golden Show-o2: its sizes, the weights that both sides were given, and what the public code made
of them.

`golden.safetensors` was made by the public code (github.com/showlab/Show-o at 45a5a2d, folder show-o2)
run on a CPU in float32: `Showo2Qwen2_5`, `omni_attn_mask_naive`, `prepare_gen_input`, `WanVAE_` and the
transport's path and Euler sampler, unchanged. Replaced was what could not run here: transformers' base
classes (of which it uses names alone; the rotary frequencies of "llama3" are transformers' own),
einops' five rearrangements, torchdiffeq's Euler, timm's `to_2tuple`, and the loading of Qwen2.5, SigLIP
and the flow head's sizes, which are tiny ones here. Their weights are not stored: `filled` makes them
from their names, there and here.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor

from policies.flowing.config import LanguageConfig, VisionConfig
from policies.seeds import generator
from policies.showo2.autoencoder import Autoencoder
from policies.showo2.checkpoint import MARKS, form_of
from policies.showo2.config import AutoencoderConfig, HeadConfig, Showo2Config
from policies.showo2.layout import Layout
from policies.showo2.module import Showo2Module
from tests.policies.showo2 import small

FILE = Path(__file__).parent / "golden.safetensors"
WORDS, HIDDEN, CHANNELS, PATCH = 272, 24, 16, 2
LANGUAGE = {
    "vocab_size": WORDS,
    "hidden_size": HIDDEN,
    "intermediate_size": 40,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 512,
    "rms_norm_eps": 1e-6,
    "rope_theta": 1e6,
    "tie_word_embeddings": False,
}
SEMANTIC = {"hidden_size": 16, "intermediate_size": 28, "layers": 2, "heads": 2, "side": 3}
HEAD = {"hidden_size": 32, "intermediate_size": 48, "layers": 2, "heads": 4, "kv_heads": 2}
AUTOENCODER = {"dim": 8, "blocks": 1}
PROMPTS = ("a red circle", "ö→猫")
QUESTION, ANSWER = "What is it?", "a cat"


def filled(shapes: Mapping[str, tuple[int, ...]]) -> dict[str, Tensor]:
    """Weights that follow from their names: matrices of about unit gain, norms around 1."""
    made = {}
    for name, shape in shapes.items():
        noise = generator("showo2 golden", name).standard_normal(shape, dtype=np.float32)
        if len(shape) > 1 and not name.endswith("gamma"):
            noise /= np.sqrt(np.prod(shape[1:], dtype=np.float32))
        elif name.endswith(("gamma", "norm.weight", "norm1.weight", "norm2.weight", "norm_final.weight",
                            "fusion_proj.0.weight")):  # fmt: skip
            noise = 1 + noise / 8
        else:
            noise /= 8
        made[name] = torch.from_numpy(noise)
    return made


def normal(name: str, *shape: int) -> Tensor:
    """Latents, noise and pixels, the same there and here."""
    drawn = generator("showo2 golden", name).standard_normal(shape, dtype=np.float32)
    return torch.from_numpy(drawn)


@cache
def tensors() -> dict[str, Tensor]:
    return load_file(FILE)


def close(found: Tensor, wanted: Tensor, atol: float = 1e-4) -> None:
    assert found.shape == wanted.shape
    assert (worst := (found - wanted).abs().max().item()) <= atol, worst


def config(side: int = 3) -> Showo2Config:
    """Of the model whose own drawings have side x side tokens."""
    spoken = LANGUAGE
    return Showo2Config(
        language=LanguageConfig(
            vocab_size=WORDS, hidden_size=HIDDEN, intermediate_size=int(spoken["intermediate_size"]),
            layers=2, heads=4, kv_heads=2, head_dim=HIDDEN // 4, norm_eps=1e-6, rope_theta=1e6,
            max_positions=512, experts=("",), qk_norm=False,
        ),
        semantic=VisionConfig(**SEMANTIC, patch=1, norm_eps=1e-6),
        head=HeadConfig(HEAD["hidden_size"], HEAD["intermediate_size"], 2, 4, 2, 8),
        autoencoder=AutoencoderConfig(AUTOENCODER["dim"], AUTOENCODER["blocks"]),
        latent_patch=PATCH,
        own_side=side,
        tied=False,
    )  # fmt: skip


@cache
@torch.inference_mode(False)
def module() -> Showo2Module:
    made = Showo2Module(config())
    made.load_state_dict(filled({n: tuple(t.shape) for n, t in made.state_dict().items()}))
    return made.eval()


@cache
def autoencoder() -> Autoencoder:
    made = Autoencoder(config().autoencoder)
    made.load_state_dict(filled({n: tuple(t.shape) for n, t in made.state_dict().items()}))
    return made.eval().requires_grad_(False)


@cache
def layout() -> Layout:
    words = small.tokenizer()
    ids = {name: words.token_to_id(name) for name in MARKS.values()}
    return Layout(config(), form_of(config(), words, ids), words, autoencoder(), None)
