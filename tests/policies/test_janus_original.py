"""DeepSeek's own layout gives the very weights of transformers'."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from tokenizers import AddedToken, Tokenizer, models
from transformers import JanusForConditionalGeneration

from policies.janus.checkpoint import load, save
from policies.janus.config import build
from policies.janus.original import parse_config
from policies.janus.tokens import REQUIRED, Special
from tests.policies.janus import GOLDEN, golden, refused, same

Weights = dict[str, torch.Tensor]
IDS = {"pad": 0, "bos": 1, "eos": 2, "begin_image": 3, "end_image": 4, "image": 5}
CONFIG: dict[str, Any] = {
    "model_type": "multi_modality",
    "language_config": {
        "model_type": "llama", "vocab_size": 128, "hidden_size": 64, "intermediate_size": 128,
        "num_hidden_layers": 2, "num_attention_heads": 4, "max_position_embeddings": 256,
        "torch_dtype": "bfloat16",
    },
    "vision_config": {
        "cls": "CLIPVisionTower",
        "params": {
            "model_name": "siglip_large_patch16_384", "select_feature": "same", "select_layer": -1,
            "image_size": 32, "patch_size": 8, "width": 32, "layers": 2, "heads": 2, "mlp_ratio": 2,
        },
    },
    "aligner_config": {
        "cls": "MlpProjector",
        "params": {"depth": 2, "input_dim": 32, "n_embed": 64, "projector_type": "mlp_gelu"},
    },
    "gen_vision_config": {
        "cls": "VQ-16",
        "params": {
            "image_token_size": 64, "n_embed": 8, "ch": 32, "ch_mult": [1, 1, 1, 1],
            "z_channels": 32,
        },
    },
    "gen_aligner_config": {
        "cls": "MlpProjector",
        "params": {"depth": 2, "input_dim": 8, "n_embed": 64, "projector_type": "mlp_gelu"},
    },
    "gen_head_config": {
        "cls": "vision_head",
        "params": {"image_token_embed": 64, "image_token_size": 64, "n_embed": 64},
    },
}  # fmt: skip


def tokenizer() -> Tokenizer:
    """The golden ids; the golden vocabulary has no room for all bytes."""
    vocabulary = {REQUIRED[field]: i for field, i in IDS.items()}
    letters = {chr(32 + i): len(IDS) + i for i in range(95)}
    made = Tokenizer(models.BPE(vocabulary | letters, []))
    made.add_special_tokens([AddedToken(name, special=True) for name in REQUIRED.values()])
    return made


def as_one_bin(folder: Path, weights: Weights) -> None:
    torch.save(weights, folder / "pytorch_model.bin")


def as_safetensors(folder: Path, weights: Weights) -> None:
    save_file(weights, folder / "model.safetensors")


def as_shards(folder: Path, weights: Weights) -> None:
    names = sorted(weights)
    halves = {
        "pytorch_model-00001-of-00002.bin": names[::2],
        "pytorch_model-00002-of-00002.bin": names[1::2],
    }
    for file, held in halves.items():
        torch.save({name: weights[name] for name in held}, folder / file)
    index = {
        "metadata": {},
        "weight_map": {name: file for file, held in halves.items() for name in held},
    }
    (folder / "pytorch_model.bin.index.json").write_text(json.dumps(index))


def weights() -> Weights:
    """With the tensors that DeepSeek's net has and nobody needs."""
    unneeded = {
        "vision_model.vision_tower.attn_pool.latent": torch.ones(1, 1, 32),
        "gen_vision_model.quantize.codebook_used": torch.zeros(65536),
    }
    return load_file(GOLDEN / "janus_ref.safetensors") | unneeded


def original(folder: Path, write: Callable[[Path, Weights], None] = as_one_bin) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_text(json.dumps(CONFIG))
    (folder / "tokenizer.json").write_text(tokenizer().to_str())
    write(folder, weights())
    return folder


@pytest.mark.parametrize("write", (as_one_bin, as_safetensors, as_shards))
def test_every_bit_is_that_of_transformers_layout(
    tmp_path: Path, write: Callable[[Path, Weights], None]
) -> None:
    same(load(original(tmp_path, write)).net, golden()[0])


def test_pickled_parameters_are_tensors_too(tmp_path: Path) -> None:
    folder = original(tmp_path)
    parameters = {name: torch.nn.Parameter(tensor) for name, tensor in weights().items()}
    torch.save(parameters, folder / "pytorch_model.bin")
    net = load(folder).net
    assert all(weight.is_leaf and weight.grad_fn is None for weight in net.parameters())
    same(net, golden()[0])


def test_it_computes_what_the_golden_one_does_and_is_saved_in_transformers_layout(
    tmp_path: Path,
) -> None:
    save(tmp_path / "saved", load(original(tmp_path / "own")))
    net, tensors = load(tmp_path / "saved").net, golden()[1]
    ids, pixels = tensors["und_input_ids"], tensors["pixel_values"]
    with torch.no_grad():
        logits = net(input_ids=ids, pixel_values=pixels).logits
    assert torch.allclose(logits, tensors["out_und_logits"], atol=1e-5)


def test_the_released_sizes_are_known_by_name(tmp_path: Path) -> None:
    """Those of Janus-Pro-7B, whose config.json states what is not said elsewhere."""
    projector = {"depth": 2, "n_embed": 4096, "projector_type": "mlp_gelu"}
    config = CONFIG | {
        "language_config": {"model_type": "llama", "num_hidden_layers": 30, "vocab_size": 102400,
                            "max_position_embeddings": 16384},
        "vision_config": {"cls": "CLIPVisionTower", "params": {
            "image_size": 384, "model_name": "siglip_large_patch16_384", "select_feature": "same",
            "select_layer": -1}},
        "aligner_config": {"cls": "MlpProjector", "params": projector | {"input_dim": 1024}},
        "gen_vision_config": {"cls": "VQ-16", "params": {"image_token_size": 16384, "n_embed": 8}},
        "gen_aligner_config": {"cls": "MlpProjector", "params": projector | {"input_dim": 8}},
        "gen_head_config": {"cls": "vision_head", "params": {
            "image_token_embed": 4096, "image_token_size": 16384, "n_embed": 4096}},
    }  # fmt: skip
    special = Special(0, 1, 2, 3, 4, 5, None, None)
    built = build(parse_config(tmp_path / "config.json", config), special, tokens=102400)
    text, vision, vq = built.text_config, built.vision_config, built.vq_config
    assert (text.hidden_size, text.intermediate_size, text.num_attention_heads) == (4096, 11008, 32)
    assert (vision.hidden_size, vision.num_hidden_layers, vision.num_image_tokens) == (
        1024,
        24,
        576,
    )
    assert (vq.base_channels, vq.channel_multiplier, vq.num_patches) == (128, [1, 1, 2, 2, 4], 24)
    with torch.device("meta"):
        net = JanusForConditionalGeneration(built)
    assert round(sum(weight.numel() for weight in net.parameters()) / 1e6) == 7408


def changed(path: str, value: object) -> dict[str, Any]:
    config = json.loads(json.dumps(CONFIG))
    *above, last = path.split(".")
    inner = config
    for name in above:
        inner = inner[name]
    inner[last] = value
    return config


REFUSED: tuple[tuple[tuple[str, object], str], ...] = (
    (("vision_config.cls", "Other"), "has vision_config.cls='Other', but Janus has 'CLIPVisionTower'"),
    (("vision_config.params.model_name", "siglip_so400m_patch14_384"), "but Janus has 'siglip_large"),
    (("vision_config.params.select_layer", -2), "select_layer=-2, but Janus has -1"),
    (("vision_config.params.pixel_mean", [0.5] * 3), "pixel_mean=[0.5, 0.5, 0.5], but Janus has None"),
    (("vision_config.params.image_size", None), "lacks the field vision_config.params.image_size"),
    (("vision_config.params.width", "32"), "aligner_config.params.input_dim=32 and vision_config"),
    (("vision_config.params.layers", 0), "has vision_config.params.layers=0, but it must be a whole"),
    (("vision_config", []), "has vision_config.cls=None"),
    (("aligner_config.params.projector_type", "linear"), "projector_type='linear'"),
    (("aligner_config.params.n_embed", 32), "aligner_config.params.n_embed=32, but the language model"),
    (("aligner_config.params.depth", 3), "lacks tensor aligner.layers.4.bias and 1 more"),
    (("gen_head_config.params.image_token_size", 65), "but they are one size"),
    (("gen_vision_config.params.ch_mult", [1, 1, 1]), "ch_mult=[1, 1, 1], but as many levels"),
    (("language_config.hidden_size", 65), "language_config.hidden_size=65, but it must be a multiple"),
    (("language_config.vocab_size", 64), "language_config.vocab_size=64, but tokenizer.json has"),
    (("language_config.is_causal", False), "language_config.is_causal=False, but Janus has True"),
    (("language_config.sliding_window", 64), "language_config.sliding_window=64, but Janus has None"),
    (("language_config.rope_scaling", {"type": "linear"}), "language_config.rope_scaling="),
    (("language_config.intermediate_size", 100), "config.json asks for (100, 64)"),
)  # fmt: skip


def test_another_config_is_refused_by_its_own_names(tmp_path: Path) -> None:
    folder = original(tmp_path)
    for (path, value), message in REFUSED:
        (folder / "config.json").write_text(json.dumps(changed(path, value)))
        refused(folder, message)


def test_other_tensors_are_refused_by_their_own_names(tmp_path: Path) -> None:
    folder, whole = original(tmp_path), weights()
    qkv = "vision_model.vision_tower.blocks.0.attn.qkv.weight"
    for changes, message in (
        ({qkv: torch.ones(95, 32)}, f"pytorch_model.bin has {qkv} of shape (95, 32)"),
        ({"gen_embed.weight": torch.ones(64, 8).int()}, "dtype torch.int32, but config.json asks"),
        (
            {"gen_embed.weight": torch.full((64, 8), float("nan"))},
            "has gen_embed.weight with NaN or",
        ),
        (
            {qkv: torch.full((96, 32), -float("inf"), dtype=torch.bfloat16)},
            f"bin has {qkv} with NaN",
        ),
        ({"gen_head.bias": torch.ones(3)}, "has an unknown tensor gen_head.bias;"),
        ({"vision_model.vision_tower.pos_embed": None}, "something else than named tensors"),
        ({3: torch.ones(3)}, "something else than named tensors"),
        ({"gen_embed.weight": torch.ones(64, 8, device="meta")}, "something else than named"),
        ({"gen_embed.weight": torch.ones(1, 1).expand(2**20, 2**16)}, "something else than named"),
        ({"gen_embed.weight": torch.eye(8).to_sparse()}, "something else than named tensors"),
    ):
        torch.save(whole | changes, folder / "pytorch_model.bin")
        refused(folder, message)
    del whole["gen_embed.weight"]
    torch.save(whole, folder / "pytorch_model.bin")
    refused(folder, "pytorch_model.bin lacks tensor gen_embed.weight; use the weights")


def test_a_shard_with_a_value_that_is_no_number_is_named(tmp_path: Path) -> None:
    folder = original(tmp_path, as_shards)
    shard = folder / "pytorch_model-00002-of-00002.bin"
    held = torch.load(shard, weights_only=True)
    name = sorted(held)[0]
    held[name].view(-1)[0] = float("nan")
    torch.save(held, shard)
    refused(folder, f"{shard.name} has {name} with NaN or infinite values")


def test_a_damaged_archive_is_refused(tmp_path: Path) -> None:
    folder = original(tmp_path)
    whole = (folder / "pytorch_model.bin").read_bytes()
    for data in (
        b"",
        whole[:-1000],
        whole[: len(whole) // 2],
        b"\x80\x02K\x01.",
        b"PK\x03\x04" * 9,
    ):
        (folder / "pytorch_model.bin").write_bytes(data)
        refused(folder, "pytorch_model.bin is truncated or damaged")


def test_a_pickle_runs_no_code(tmp_path: Path) -> None:
    folder = original(tmp_path)
    torch.save({"a": re.compile("x"), "b": Path("x")}, folder / "pytorch_model.bin")
    refused(folder, "pytorch_model.bin is truncated or damaged")
