"""The released layout gives the very model of transformers', and what cannot be is refused."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from pathlib import Path
from shutil import copytree, rmtree
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from policies.config import Emu3PolicyConfig
from policies.emu3 import tiktoken
from policies.emu3.checkpoint import load, save
from policies.emu3.policy import Emu3Policy
from policies.registry import footprint
from tests.policies import damage
from tests.policies.damage import Damage, lose, tensors, write
from tests.policies.emu3.small import picture, write_folder, write_original

CONFIG, MODEL, VISION = "config.json", "model.safetensors", "Emu3-VisionTokenizer"


def same(one: Any, other: Any) -> None:
    """To the last bit."""
    first, second = one.state_dict(), other.state_dict()
    assert first.keys() == second.keys()
    for name, tensor in first.items():
        assert tensor.dtype == second[name].dtype and torch.equal(tensor, second[name]), name


@pytest.fixture(scope="module")
def released(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("released")
    write_original(made, 0)
    return made


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("ours")
    write_folder(made, 0)
    return made


@pytest.fixture
def folder(released: Path, tmp_path: Path) -> Path:
    return copytree(released, tmp_path / "released")


@pytest.fixture
def ours(written: Path, tmp_path: Path) -> Path:
    return copytree(written, tmp_path / "ours")


def test_the_released_layout_is_the_same_model(folder: Path, ours: Path, tmp_path: Path) -> None:
    one, other = load(ours), load(folder)
    same(one.net, other.net)
    assert one.small.special == other.small.special
    assert one.net.config.to_dict() == other.net.config.to_dict()
    save(tmp_path / "saved", other)
    for file in ours.iterdir():
        assert file.read_bytes() == (tmp_path / "saved" / file.name).read_bytes(), file.name
    seen = [(picture(0), "What?")]
    scored = [
        Emu3Policy.from_pretrained(each).log_probs(seen, ["red"])[0]
        for each in (folder, tmp_path / "saved")
    ]
    assert (scored[0] == scored[1]).all()


def test_both_names_of_tensors_are_read(ours: Path) -> None:
    """Those of the hub, which transformers writes, and those of its net."""
    before, held = load(ours).net, load_file(ours / MODEL)
    assert {name.split(".")[0] for name in held} == {"text_model", "vqmodel"}
    save_file(before.state_dict(), ours / MODEL)
    same(load(ours).net, before)


def test_counts_of_batches_come_out_as_they_went_in(folder: Path) -> None:
    name = "encoder.time_res_stack.0.norm1.num_batches_tracked"
    tensors(f"{VISION}/{MODEL}", lambda held: held.update({name: torch.tensor(2**40)}))(folder)
    state = load(folder, torch.bfloat16).net.state_dict()
    assert state[f"model.vqmodel.{name}"] == 2**40
    kinds = {state[n].dtype for n in ("lm_head.weight", "model.vqmodel.quantize.embedding.weight")}
    assert kinds == {torch.bfloat16, torch.float32}


# What is wrong with a released folder.


def config(changes: dict[str, Any], within: str = "") -> Damage:
    def change(folder: Path) -> None:
        file = folder / within / CONFIG
        file.write_text(json.dumps(json.loads(file.read_text()) | changes))

    return change


def line(number: int, text: bytes) -> Damage:
    def change(folder: Path) -> None:
        lines = (folder / tiktoken.RANKS).read_bytes().split(b"\n")
        lines[number - 1] = text
        (folder / tiktoken.RANKS).write_bytes(b"\n".join(lines))

    return change


REFUSED: dict[str, tuple[Damage, str]] = {
    "no tokenizer": (lambda folder: rmtree(folder / VISION), "Emu3-VisionTokenizer cannot be read (No such"),
    "no words": (lose(tiktoken.RANKS), "emu3.tiktoken is missing"),
    "no marks": (lose(tiktoken.PICTURE_TOKENS), "emu3_vision_tokens.txt is missing"),
    "no pictures": (lose(f"{VISION}/{MODEL}"), "Emu3-VisionTokenizer has no weights"),
    "no sizes": (lose(f"{VISION}/{CONFIG}"), "Emu3-VisionTokenizer/config.json is missing"),
    "no preparing": (lose(f"{VISION}/preprocessor_config.json"), "preprocessor_config.json is missing"),
    "other pictures": (config({"model_type": "vq"}, VISION), "'vq', but the image tokenizer of an Emu3"),
    "other ids": (config({"eol_token_id": 7}), "eol_token_id=7, but <|extra_200|> is 459"),
    "other rope": (config({"rope_scaling": {"type": "linear", "factor": 2.0}}), "has rope_scaling={"),
    "other theta": (config({"rope_theta": -1.0}), "has text_config.rope_theta=-1.0, but"),
    "other width": (config({"hidden_size": 50}), "hidden_size=50, but it must be an even multiple of 4"),
    "other groups": (config({"num_key_value_heads": 3}), "num_key_value_heads=3, but 4 heads must"),
    "few tokens": (config({"vocab_size": 500}), "vocab_size=500, but tokenizer.json has 531 tokens"),
    "other act": (config({"hidden_act": "gelu"}), "has hidden_act='gelu', but Emu3 has 'silu'"),
    "dropout": (config({"attention_dropout": 1}), "attention_dropout=1, but it must be a number from 0"),
    "many codes": (config({"codebook_size": 65}, VISION), "has <|visual token 000064|> as None"),
    "no codes": (config({"codebook_size": 0}, VISION), "Emu3-VisionTokenizer/codebook_size=0, but it"),
    "channels": (config({"ch": 40}, VISION), "Emu3-VisionTokenizer/ch=40, but it must be a multiple"),
    "levels": (config({"ch_mult": []}, VISION), "ch_mult=[], but it must be 1 to 8 whole numbers"),
    "attending": (config({"attn_resolutions": [4]}, VISION), "attn_resolutions=[4], but it must be some"),
    "wide": (config({"ch_mult": [1, 2, 1, 1], "attn_resolutions": [1]}, VISION), "that attend are"),
    "latents": (config({"z_channels": 8}, VISION), "z_channels=8, but the decoder reads it beside"),
    "frames": (config({"temporal_downsample_factor": 3}, VISION), "=3, but it must be a power of two"),
    "double": (config({"double_z": True}, VISION), "double_z=True, but Emu3 has False"),
    "no word": (line(3, b"!!!! 2"), "has no word in base64 and its rank on line 3"),
    "no rank": (line(3, base64.b64encode(b"\x02")), "has no word in base64 and its rank on line 3"),
    "odd rank": (line(3, base64.b64encode(b"\x02") + b" 7"), "with rank 7 on line 3, which is not a new"),
    "no byte": (write(tiktoken.RANKS, b"AA== 0"), "has no word for the byte 1"),
    "marks twice": (write(tiktoken.PICTURE_TOKENS, b"<|image end|>\n<|image end|>"), "'<|image end|>' twice"),
    "no text": (write(tiktoken.PICTURE_TOKENS, b"\xff"), "emu3_vision_tokens.txt is no text"),
    "few marks": (write(tiktoken.PICTURE_TOKENS, b"<|image end|>"), "has no token <|image token|>"),
    "lost": (tensors(MODEL, lambda held: held.pop("lm_head.weight")), "lacks tensor lm_head.weight"),
    "lost pictures": (
        tensors(f"{VISION}/{MODEL}", lambda held: held.pop("encoder.mid.attn_1.q.weight")),
        "Emu3-VisionTokenizer/model.safetensors lacks tensor encoder.mid.attn_1.q.weight",
    ),
    "matrices": (
        tensors(f"{VISION}/{MODEL}", lambda held: held.update(
            {"encoder.mid.attn_1.q.weight": held["encoder.mid.attn_1.q.weight"][:, :, 0, 0].contiguous()})),
        "has encoder.mid.attn_1.q.weight of shape (32, 32)",
    ),
    "counts": (
        tensors(f"{VISION}/{MODEL}", lambda held: held.update(
            {"encoder.time_res_stack.0.norm1.num_batches_tracked": torch.tensor(1.0)})),
        "num_batches_tracked of shape () and dtype torch.float32, but config.json asks for () in int64",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_a_released_folder_that_cannot_be_is_refused_by_name(name: str, folder: Path) -> None:
    change, message = REFUSED[name]
    change(folder)
    damage.refused(load, folder, message)


def _stated(changes: dict[str, Any], name: str = "preprocessor_config.json") -> Damage:
    def change(folder: Path) -> None:
        file = folder / name
        told = json.loads(file.read_text()) if file.exists() else {}
        file.write_text(json.dumps(told | changes))

    return change


def _section(section: str, changes: dict[str, Any]) -> Damage:
    def change(folder: Path) -> None:
        told = json.loads((folder / CONFIG).read_text())
        told[section] |= changes
        (folder / CONFIG).write_text(json.dumps(told))

    return change


OURS: dict[str, tuple[Damage, str]] = {
    "no config": (lose(CONFIG), "config.json is missing"),
    "no tokenizer": (lose("tokenizer.json"), "tokenizer.json is missing"),
    "no weights": (lose(MODEL), "has no weights"),
    "no preparing": (lose("preprocessor_config.json"), "preprocessor_config.json is missing"),
    "no JSON": (write(CONFIG, b"{"), "config.json is not JSON"),
    "no object": (write(CONFIG, b"[]"), "config.json holds [], which is no object"),
    "other model": (config({"model_type": "janus"}), "is of model_type 'janus'; an Emu3 policy reads"),
    "no section": (config({"vq_config": 3}), "config.json has no section vq_config"),
    "no map": (config({"vocabulary_map": None}), "has None for <image> in vocabulary_map"),
    "other rope": (
        _section("text_config", {"rope_parameters": {"rope_type": "yarn"}}),
        "text_config.rope_type='yarn', but Emu3 has 'default'",
    ),
    "more rope": (_section("text_config", {"rope_scaling": {"factor": 2}}), "text_config.rope_scaling={"),
    "tied": (_section("text_config", {"tie_word_embeddings": True}), "tie_word_embeddings=True, but"),
    "heads": (_section("vq_config", {"num_attention_heads": 2}), "num_attention_heads=2, but Emu3 has 1"),
    "layers": (_section("text_config", {"num_hidden_layers": 3}), "lacks tensor text_model.model.layers.2"),
    "mean": (_stated({"image_mean": [0.48, 0.46, 0.41]}), "image_mean=[0.48, 0.46, 0.41], but this model's"),
    "no mean": (_stated({"image_mean": None}), "has image_mean=None, but this model's pictures"),
    "unscaled": (_stated({"rescale_factor": 1.0}), "rescale_factor=1.0, but"),
    "unnormed": (_stated({"do_normalize": False}), "do_normalize=False, but this model's"),
    "resampled": (_stated({"resample": 2}), "resample=2, but this model's pictures are prepared with 3"),
    "factor": (_stated({"spatial_factor": 16}), "spatial_factor=16, but this model's"),
    "tiny": (_stated({"min_pixels": 3}), "min_pixels=3, but it must be a whole number from 64 to"),
    "nested": (
        _stated({"image_processor": {"min_pixels": 3, "image_mean": [0.5] * 3, "image_std": [0.5] * 3}},
                "processor_config.json"),
        "processor_config.json has image_processor.min_pixels=3",
    ),
    "NaN": (
        tensors(MODEL, lambda held: held["vqmodel.quantize.embedding.weight"].fill_(float("nan"))),
        "has vqmodel.quantize.embedding.weight with NaN",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", OURS)
def test_a_folder_that_cannot_be_is_refused_by_name(name: str, ours: Path) -> None:
    change, message = OURS[name]
    change(ours)
    damage.refused(load, ours, message)


@pytest.mark.parametrize("write_it", [write_folder, write_original])
def test_a_footprint_is_that_of_the_folder(
    write_it: Callable[[Path, int], None], tmp_path: Path
) -> None:
    write_it(tmp_path, 0)
    policy = Emu3Policy.from_pretrained(tmp_path)
    for file in tmp_path.rglob("*.safetensors"):
        file.unlink()  # sizes need no weights
    size = footprint(Emu3PolicyConfig(path=str(tmp_path)))
    seeing = sum(weight.numel() for weight in policy.vision.vq.parameters())
    assert size.trained == sum(weight.numel() for weight in policy.module.parameters())
    assert size.parameters - size.trained == seeing > 0
    units = [sum(w.numel() for w in unit.parameters()) for unit in policy.fsdp_units()]
    assert size.active == sum(units)
    assert size.gathered == size.trained - sum(units) + 2 * units[0]
    assert size.drawing == policy.layout.drawn_tokens((4, 4)) == 4 * 5 + 3 + 4
