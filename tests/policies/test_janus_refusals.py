"""What is wrong with the folder of a Janus is told in one sentence that names the file."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from policies import saving
from policies.interface import CheckpointError
from policies.janus.checkpoint import load, save
from policies.janus.tokens import REQUIRED
from tests.policies.damage import TOKENIZER, Damage, cut, lose, tensors, unmark, write
from tests.policies.janus import refused, tiny_folder

CONFIG, MODEL = "config.json", "model.safetensors"
INDEX = "model.safetensors.index.json"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tiny_folder(tmp_path / "tiny")


def _instead(name: str, make: Callable[[Path], object]) -> Damage:
    def change(folder: Path) -> None:
        (folder / name).unlink()
        make(folder / name)

    return change


def _config(path: str, value: object) -> Damage:
    def change(folder: Path) -> None:
        config = inner = json.loads((folder / CONFIG).read_text())
        *above, last = path.split(".")
        for name in above:
            inner = inner[name]
        inner[last] = value
        (folder / CONFIG).write_text(json.dumps(config))

    return change


def _dropout(folder: Path) -> None:
    described = json.loads((folder / TOKENIZER).read_text())
    described["model"]["dropout"] = 0.5
    (folder / TOKENIZER).write_text(json.dumps(described))


NORM = "model.language_model.norm.weight"
REFUSED: dict[str, tuple[Damage, str]] = {
    "no config": (lose(CONFIG), "config.json is missing"),
    "no weights": (lose(MODEL), "has no weights: none of model.safetensors"),
    "no tokenizer": (lose(TOKENIZER), "tokenizer.json is missing"),
    "a folder for a config": (_instead(CONFIG, Path.mkdir), "config.json is no file"),
    "a pipe for weights": (_instead(MODEL, os.mkfifo), "model.safetensors is no file"),
    "a link to nothing": (_instead(TOKENIZER, lambda f: f.symlink_to("x")), "tokenizer.json is no"),
    "bad config": (write(CONFIG, b"{"), "config.json is not JSON"),
    "no text": (write(CONFIG, b"\xff\xfe\xff"), "config.json is not JSON"),
    "deep config": (write(CONFIG, b"[" * 100_000), "config.json is not JSON"),
    "a list": (write(CONFIG, b"[]"), "config.json holds [], which is no object"),
    "other model": (_config("model_type", "llama"), "is of model_type 'llama'; a Janus policy reads"),
    "odd model": (_config("model_type", []), "is of model_type []; a Janus policy reads"),
    "no section": (_config("vq_config", None), "config.json has no section vq_config"),
    "other text model": (_config("text_config.model_type", "qwen2"), "model_type='qwen2', but Janus"),
    "other rope": (
        _config("text_config.rope_parameters.rope_type", "yarn"),
        "text_config.rope_type='yarn', but Janus has 'default'",
    ),
    "more rope": (_config("text_config.rope_parameters.factor", 2), "text_config.rope_parameters="),
    "rope before 5": (_config("text_config.rope_scaling", {}), "text_config.rope_scaling={}, but"),
    "other token": (_config("image_token_id", 7), "image_token_id=7, but <image_placeholder> is 261"),
    "vocabulary": (_config("text_config.vocab_size", 263), "but tokenizer.json has 264 tokens"),
    "text size": (_config("text_config.hidden_size", "64"), "text_config.hidden_size='64', but it"),
    "true": (_config("text_config.num_hidden_layers", True), "num_hidden_layers=True, but it must"),
    "part of one": (_config("text_config.hidden_size", 64.5), "text_config.hidden_size=64.5, but it"),
    "not a number": (_config("text_config.rms_norm_eps", float("nan")), "rms_norm_eps=nan, but it"),
    "no size": (_config("vision_config.mlp_ratio", float("nan")), "mlp_ratio=nan, but it must be"),
    "no rows": (_config("vision_config.mlp_ratio", 0.001), "mlp_ratio=0.001, but"),
    "many layers": (_config("text_config.num_hidden_layers", 10**12), "num_hidden_layers=1000000000000"),
    "more layers": (_config("text_config.num_hidden_layers", 256), "model.safetensors lacks tensor"),
    "wide layers": (_config("text_config.intermediate_size", 2**17), "asks for (131072, 64)"),
    "wide codes": (_config("vq_config.base_channels", 4096), "config.json asks for"),
    "long": (_config("text_config.max_position_embeddings", 10**400), "max_position_embeddings=1"),
    "uneven heads": (_config("text_config.num_attention_heads", 3), "must be a multiple of 3 heads"),
    "uneven groups": (_config("text_config.num_key_value_heads", 3), "4 heads must be a multiple"),
    "odd heads": (_config("text_config.head_dim", 15), "head_dim=15, but it must be even"),
    "other heads": (_config("text_config.head_dim", 32), "config.json asks for (128, 64)"),
    "uneven eyes": (_config("vision_config.num_attention_heads", 3), "multiple of 3 heads"),
    "patches": (_config("vision_config.image_size", 33), "must be a multiple of the patches of 8"),
    "pictures": (_config("vision_config.num_image_tokens", 9), "an image has 4 x 4 patches"),
    "larger": (_config("vision_config.image_size", 64), "an image has 8 x 8 patches"),
    "widths": (_config("vision_config.projection_dim", 32), "the language model is 64 wide"),
    "widths of codes": (_config("vq_config.image_token_embed_dim", 8), "the language model is 64"),
    "channels": (_config("vq_config.base_channels", 40), "must be a multiple of 32"),
    "levels": (_config("vq_config.channel_multiplier", [1, 1, 1]), "as many levels as halve"),
    "no levels": (_config("vq_config.channel_multiplier", 3), "must be a list of whole numbers"),
    "pixels": (_config("vq_config.out_channels", 4), "vq_config.out_channels=4, but Janus has 3"),
    "normed": (_config("vision_config.use_qk_norm", True), "use_qk_norm=True, but Janus has False"),
    "both ways": (_config("text_config.is_causal", False), "is_causal=False, but Janus has True"),
    "neither way": (_config("text_config.is_causal", None), "is_causal=None, but Janus has True"),
    "window": (_config("text_config.sliding_window", 8), "sliding_window=8, but Janus has None"),
    "chunks": (_config("text_config.attention_chunk_size", 8), "attention_chunk_size=8, but"),
    "layers": (_config("text_config.layer_types", ["sliding_attention"] * 2), "layer_types=['slid"),
    "part of rope": (_config("text_config.partial_rotary_factor", 0.5), "factor=0.5, but Janus"),
    "at random": (_dropout, "tokenizer.json has model.dropout=0.5, which spells a text at random"),
    "bad tokenizer": (write(TOKENIZER, b"{}"), "tokenizer.json is not a tokenizer"),
    **{f"no {mark}": (unmark(mark), f"has no token {mark}") for mark in REQUIRED.values()},
    "long header": (write(MODEL, (10**18).to_bytes(8, "little") + b"{}"), "truncated or damaged"),
    "cut weights": (cut(MODEL, -100), "model.safetensors is truncated or damaged"),
    "cut header": (cut(MODEL, 100), "model.safetensors is truncated or damaged"),
    "empty weights": (cut(MODEL, 0), "model.safetensors is truncated or damaged"),
    "tied": (tensors(MODEL, lambda t: t.pop("lm_head.weight")), "lacks tensor lm_head.weight; use"),
    "lost": (tensors(MODEL, lambda t: t.clear()), "lacks tensor lm_head.weight and"),
    "extra": (tensors(MODEL, lambda t: t.update({"a\nb": torch.ones(3)})), r"an unknown tensor 'a\nb';"),
    "shape": (tensors(MODEL, lambda t: t.update({NORM: torch.ones(3)})), f"has {NORM} of shape (3,)"),
    "dtype": (tensors(MODEL, lambda t: t.update({NORM: torch.ones(64).double()})), "dtype torch.float64"),
    "code dtype": (tensors(MODEL, lambda t: t.update({NORM: torch.ones(64).int()})), "dtype torch.int32"),
    "NaN": (tensors(MODEL, lambda t: t[NORM].__setitem__(3, float("nan"))),
            f"model.safetensors has {NORM} with NaN or infinite values in torch.float32; copy"),
    "infinite": (tensors(MODEL, lambda t: t[NORM].__setitem__(3, float("-inf"))), f"has {NORM} with NaN"),
    "infinite bfloat16": (tensors(MODEL, lambda t: t.update({NORM: torch.full((64,), float("inf")).bfloat16()})),
                          f"has {NORM} with NaN or infinite values"),
    "infinite codebook": (tensors(MODEL, lambda t: t["model.vqmodel.quantize.embedding.weight"].fill_(float("inf"))),
                          "has model.vqmodel.quantize.embedding.weight with NaN"),
    "hub names": (
        tensors(MODEL, lambda t: t.update({"language_model.norm.weight": t.pop(NORM)})),
        f"lacks tensor {NORM}",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_a_folder_that_cannot_be_is_refused_by_name(name: str, folder: Path) -> None:
    damage, message = REFUSED[name]
    damage(folder)
    refused(folder, message)


def test_no_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    refused(tmp_path / "nowhere", "nowhere cannot be read (No such file or directory)")
    refused(tmp_path / "file", "file cannot be read (Not a directory)")
    refused(tmp_path / ("x" * 300), "cannot be read (File name too long)")
    with pytest.raises(CheckpointError, match="embedded null byte"):
        load(Path("a\0b"))


def _index(change: Callable[[dict[str, Any]], object]) -> Damage:
    def apply(folder: Path) -> None:
        index = json.loads((folder / INDEX).read_text())
        change(index)
        (folder / INDEX).write_text(json.dumps(index))

    return apply


def _map(file: object) -> Damage:
    return _index(lambda index: index["weight_map"].update({NORM: file}))


def _same_shard(folder: Path) -> None:
    first, second, *_ = sorted(folder.glob("*.safetensors"))
    second.write_bytes(first.read_bytes())


SHARDED: dict[str, tuple[Damage, str]] = {
    "lost shard": (lambda f: next(f.glob("*-00002-*")).unlink(), ".safetensors is missing"),
    "cut shard": (lambda f: next(f.glob("*-00002-*")).write_bytes(b"x"), "truncated or damaged"),
    "shard twice": (_same_shard, "which model-00001-of-0000"),
    "no index": (write(INDEX, b"{"), f"{INDEX} is not the index of a checkpoint"),
    "a list": (write(INDEX, b"[]"), f"{INDEX} is not the index of a checkpoint"),
    "no map": (_index(lambda index: index.pop("weight_map")), "is not the index of a checkpoint"),
    "a number": (_map(3), "is not the index of a checkpoint"),
    "unhashable": (_map([]), "is not the index of a checkpoint"),
    "outside": (_map("../model.safetensors"), "which is no file of its own folder"),
    "elsewhere": (_map("/etc/passwd"), "has '/etc/passwd' in its weight_map, which is no file of"),
    "nothing": (_map(""), "which is no file of its own folder"),
    "above": (_map(".."), "which is no file of its own folder"),
    "lines": (_map("a\nb.safetensors"), "which is no file of its own folder"),
    "another": (_map("other.safetensors"), "other.safetensors is missing"),
}


@pytest.mark.parametrize("name", SHARDED)
def test_shards_that_cannot_be_are_refused_by_name(
    name: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(saving, "SHARD", "1MB")
    save(folder, load(folder))
    damage, message = SHARDED[name]
    damage(folder)
    refused(folder, message)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"image_mean": [0.48, 0.46, 0.41]}, "image_mean=[0.48, 0.46, 0.41]"),
        ({"size": {"height": 384, "width": 384}}, "size={'height': 384, 'width': 384}"),
        ({"min_size": 1}, "min_size=1"),
        ({"do_normalize": False}, "do_normalize=False"),
        ({"background_color": [0, 0, 0]}, "background_color=[0, 0, 0]"),
        ({"rescale_factor": 1.0}, "rescale_factor=1.0"),
        ({"rescale_factor": "1/255"}, "rescale_factor='1/255'"),
        ({"resample": 2}, "resample=2, but this model's pictures are prepared with 3"),
        ({"resample": None}, "resample=None"),
    ],
)
def test_pictures_that_are_to_be_prepared_otherwise_are_refused(
    tmp_path: Path, change: dict[str, Any], message: str
) -> None:
    folder = tiny_folder(tmp_path / "janus")
    file = folder / "preprocessor_config.json"
    file.write_text(json.dumps(json.loads(file.read_bytes()) | change))
    refused(folder, message)


@pytest.mark.parametrize(
    ("stated", "message"),
    [
        ({"image_processor": {"resample": 2}}, "has image_processor.resample=2, but this model's"),
        ({"image_processor": {"image_mean": [0.4] * 3}}, "image_processor.image_mean=[0.4, 0.4"),
        ({"image_processor": []}, "has image_processor=[], which is no object"),
        ({"num_image_tokens": 576}, "num_image_tokens=576, but config.json has 16"),
    ],
)
def test_a_processor_config_of_other_pictures_is_refused(
    tmp_path: Path, stated: dict[str, Any], message: str
) -> None:
    folder = tiny_folder(tmp_path / "janus")
    (folder / "processor_config.json").write_text(json.dumps(stated))
    refused(folder, message)


@pytest.mark.parametrize(
    ("text", "said"), [("{", "is not JSON"), ("[1]", "holds [1], which"), ("7", "holds 7, which")]
)
@pytest.mark.parametrize("name", ["preprocessor", "processor", "generation", "tokenizer"])
def test_a_damaged_small_file_is_refused(tmp_path: Path, name: str, text: str, said: str) -> None:
    folder = tiny_folder(tmp_path / "janus")
    (folder / f"{name}_config.json").write_text(text)
    refused(folder, f"{name}_config.json {said}")
