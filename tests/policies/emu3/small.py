"""A very small Emu3 with random weights as a folder, in transformers' layout or the released one."""

from __future__ import annotations

import base64
import json
from functools import cache
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from transformers import Emu3Config, Emu3ForConditionalGeneration, Emu3TextConfig, Emu3VQVAEConfig

from policies.emu3 import files, tiktoken
from policies.emu3.checkpoint import Loaded, Small, load, save
from policies.emu3.tokens import REQUIRED, code_name, parse
from policies.interface import Picture
from policies.seeds import generator

SIZE, CODES, POSITIONS = 32, 64, 512
WORDS = [bytes([i]) for i in range(256)]
PICTURE_TOKENS = [
    REQUIRED["image"],
    REQUIRED["begin_image"],
    REQUIRED["end_image"],
    *map(code_name, range(CODES)),
]
VOCABULARY = len(WORDS) + len(tiktoken.RESERVED) + len(PICTURE_TOKENS)
TEXT: dict[str, Any] = {
    "vocab_size": VOCABULARY,
    "hidden_size": 48,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": POSITIONS,
    "attention_dropout": 0.1,  # the released value, which nothing here may feel
}
VQ: dict[str, Any] = {
    "codebook_size": CODES,
    "embed_dim": 4,
    "latent_channels": 4,
    "base_channels": 32,
    "channel_multiplier": [1, 1, 1, 1],
    "num_res_blocks": 1,
    "attn_resolutions": [3],
    "hidden_size": 32,
}


def vocabulary() -> dict[str, bytes]:
    """The two files of a released vocabulary that knows all bytes and no longer word."""
    ranks = b"".join(base64.b64encode(word) + b" %d\n" % i for i, word in enumerate(WORDS))
    names = "\n".join(PICTURE_TOKENS) + "\n"
    return {tiktoken.RANKS: ranks, tiktoken.PICTURE_TOKENS: names.encode()}


@cache
def tokenizer_json() -> bytes:
    return tiktoken.tokenizer(Path(), vocabulary()).to_str().encode()


def write_folder(folder: Path, seed: int) -> None:
    """In transformers' layout, with weights that follow from `seed`."""
    save(folder, made(seed))


def made(seed: int) -> Loaded:
    tokenizer, special = parse(Path("tokenizer.json"), tokenizer_json(), CODES)
    net = _net(seed)
    extras = files.made(tokenizer_json(), special, SIZE * SIZE, 8, POSITIONS)
    return Loaded(net, Small(net.config, True, tokenizer, special, extras, SIZE * SIZE))


@cache
def _net(seed: int) -> Emu3ForConditionalGeneration:
    tokenizer, special = parse(Path("tokenizer.json"), tokenizer_json(), CODES)
    ids = {"bos_token_id": special.bos, "eos_token_id": special.eos, "pad_token_id": special.pad}
    config = Emu3Config(
        text_config=Emu3TextConfig(**TEXT, **ids),
        vq_config=Emu3VQVAEConfig(**VQ),
        vocabulary_map=tokenizer.get_vocab(),
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        net = Emu3ForConditionalGeneration(config).eval()
        for name, tensor in net.model.vqmodel.named_buffers():
            if "running" in name:  # as after training; a variance is above 0
                tensor.uniform_(0.5, 1.5)
    return net


def write_original(folder: Path, seed: int) -> None:
    """The very model of `write_folder` in the released layout."""
    write_folder(folder / "ours", seed)
    net = load(folder / "ours").net
    (folder / "ours" / "config.json").unlink()
    for file in (folder / "ours").iterdir():
        file.unlink()
    (folder / "ours").rmdir()
    state = net.state_dict()
    text = {
        name.replace("model.text_model.", "model."): tensor.clone()
        for name, tensor in state.items()
        if not name.startswith("model.vqmodel.")
    }
    seeing = {
        released_name(name.removeprefix("model.vqmodel.")): released_shape(name, tensor)
        for name, tensor in state.items()
        if name.startswith("model.vqmodel.")
    }
    within = folder / "Emu3-VisionTokenizer"
    within.mkdir()
    save_file(text, folder / "model.safetensors")
    save_file(seeing, within / "model.safetensors")
    (folder / "config.json").write_text(json.dumps(released_config()))
    (within / "config.json").write_text(json.dumps(RELEASED_VQ))
    prepared = files.prepared(SIZE * SIZE, 1024 * 1024, 8) | {
        "image_processor_type": "Emu3VisionVQImageProcessor"
    }
    (within / "preprocessor_config.json").write_text(json.dumps(prepared))
    for name, data in vocabulary().items():
        (folder / name).write_bytes(data)


def released_config() -> dict[str, Any]:
    """The fields of BAAI/Emu3-Chat's config.json, with the sizes and ids of the small one."""
    _, special = parse(Path("tokenizer.json"), tokenizer_json(), CODES)
    return TEXT | {
        "architectures": ["Emu3ForCausalLM"],
        "auto_map": {"AutoConfig": "configuration_emu3.Emu3Config"},
        "boi_token_id": special.begin_image,
        "bos_token_id": special.bos,
        "eof_token_id": special.end_frame,
        "eoi_token_id": special.end_image,
        "eol_token_id": special.end_row,
        "eos_token_id": special.eos,
        "hidden_act": "silu",
        "image_area": SIZE * SIZE,
        "img_token_id": special.image,
        "initializer_range": 0.02,
        "model_type": "Emu3",
        "pad_token_id": special.pad,
        "pretraining_tp": 1,
        "rms_norm_eps": 1e-05,
        "rope_scaling": None,
        "rope_theta": 1000000.0,
        "tie_word_embeddings": False,
        "torch_dtype": "float32",
        "transformers_version": "4.44.0",
        "use_cache": True,
    }


RELEASED_VQ: dict[str, Any] = {
    "architectures": ["Emu3VisionVQModel"],
    "attn_resolutions": [3],
    "ch": 32,
    "ch_mult": [1, 1, 1, 1],
    "codebook_size": CODES,
    "double_z": False,
    "dropout": 0.0,
    "embed_dim": 4,
    "in_channels": 3,
    "model_type": "Emu3VisionVQ",
    "num_res_blocks": 1,
    "out_channels": 3,
    "temporal_downsample_factor": 4,
    "z_channels": 4,
}
"""The fields of BAAI/Emu3-VisionTokenizer's config.json, with the sizes of the small one."""


def released_name(name: str) -> str:
    """The name in baaivision/Emu3's modeling_emu3visionvq.py of a tensor of transformers' Emu3VQVAE,
    cut into its parts: tests compare it with a list of the released class's own names."""
    coder, _, rest = name.partition(".")
    parts = rest.split(".")
    if parts[0] in ("down_block", "up_block"):
        parts = parts[1:]
    if parts[0] == "middle_block":
        parts[0] = "mid"
        if parts[1] == "attn_norm":
            parts[1:2] = ["attn_1", "norm"]
    if "attn_norms" in parts:
        at = parts.index("attn_norms")
        parts[at : at + 2] = ["attn", parts[at + 1], "norm"]
    short = {"q_proj": "q", "k_proj": "k", "v_proj": "v", "out_proj": "proj_out"}
    return ".".join([coder, *(short.get(part, part) for part in parts)])


def released_shape(name: str, tensor: torch.Tensor) -> torch.Tensor:
    """The released attention is of convolutions."""
    projects = name.endswith("_proj.weight")
    return (tensor[:, :, None, None] if projects else tensor).clone()


def picture(seed: int, side: int = SIZE) -> Picture:
    """One whose codes say nothing of its pixels."""
    chance = generator("picture", seed)
    pixels = chance.integers(0, 256, (side, side, 3), dtype="uint8")
    return Picture(pixels, chance.integers(0, CODES, (side // 8) ** 2, dtype="int32"))
