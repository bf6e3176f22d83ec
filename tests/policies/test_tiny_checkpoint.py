"""The public folder: read by transformers as by us, and refused when anything is wrong."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from policies.interface import (
    CheckpointError,
    Context,
    PictureSampling,
    TextSampling,
)
from policies.seeds import generator
from policies.tiny.checkpoint import seal
from policies.tiny.policy import TinyPolicy
from policies.tiny.text import BOS, EOS
from tests.policies.tiny import PROMPTS


def test_transformers_computes_the_same_logits(policy: TinyPolicy, folder: Path) -> None:
    from transformers import LlamaForCausalLM

    model = LlamaForCausalLM.from_pretrained(folder)
    ids = torch.from_numpy(generator("ids").integers(0, policy.text.size, (3, 50)))
    with torch.no_grad():
        assert torch.allclose(model(ids).logits, policy.module(ids), atol=1e-5)


def test_transformers_reads_the_same_tokens(policy: TinyPolicy, folder: Path) -> None:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    for text in (*PROMPTS, '{"analysis": "circle yes , red no", "score": 4}'):
        ids = policy.text.encode(text)
        assert tokenizer(text).input_ids == ids
        assert tokenizer.decode([BOS, *ids, EOS], skip_special_tokens=True) == text
    assert (tokenizer.bos_token_id, tokenizer.eos_token_id) == (BOS, EOS)


def test_saved_and_loaded_policy_is_the_same(policy: TinyPolicy, folder: Path) -> None:
    loaded = TinyPolicy.from_pretrained(folder)
    for name, weight in policy.weights().items():
        assert np.array_equal(weight, loaded.weights()[name]), name
    contexts: list[Context] = [(prompt,) for prompt in PROMPTS]
    how, seeds = [PictureSampling(guidance=2.0)] * 4, range(4)
    for (own,), (other,) in zip(
        policy.draw(contexts, how, seeds), loaded.draw(contexts, how, seeds), strict=True
    ):
        one, two = own.segment, other.segment
        assert np.array_equal(one.pixels, two.pixels)
    texts = [TextSampling()] * 4
    assert policy.write(contexts, texts, seeds) == loaded.write(contexts, texts, seeds)


def test_import_needs_no_transformers() -> None:
    code = "import sys, policies.tiny; sys.exit('transformers' in sys.modules)"
    root = Path(__file__).resolve().parents[2]
    assert subprocess.run([sys.executable, "-c", code], cwd=root, check=False).returncode == 0


def _write(name: str, content: bytes):
    return lambda folder: (folder / name).write_bytes(content)


def _cut(name: str):
    return lambda folder: (folder / name).write_bytes((folder / name).read_bytes()[:-100])


def _flip(name: str):
    def change(folder: Path) -> None:
        data = bytearray((folder / name).read_bytes())
        data[len(data) // 2] ^= 1
        (folder / name).write_bytes(data)

    return change


def _folder(name: str):
    def change(folder: Path) -> None:
        (folder / name).unlink()
        (folder / name).mkdir()

    return change


def _vision(**fields: object):
    def change(folder: Path) -> None:
        config = json.loads((folder / "config.json").read_text())
        config["unicorn_tiny"]["vision"] |= fields
        (folder / "config.json").write_text(json.dumps(config))

    return change


def _config(**fields: object):
    def change(folder: Path) -> None:
        config = json.loads((folder / "config.json").read_text()) | fields
        (folder / "config.json").write_text(json.dumps(config))

    return change


def _tensors(name: str, change):
    def apply(folder: Path) -> None:
        from safetensors.torch import load_file, save_file

        tensors = load_file(folder / name)
        change(tensors)
        save_file(tensors, folder / name)

    return apply


DAMAGE = {
    "no config": (lambda f: (f / "config.json").unlink(), "config.json is missing"),
    "no weights": (lambda f: (f / "model.safetensors").unlink(), "model.safetensors is missing"),
    "no vision": (lambda f: (f / "vision.safetensors").unlink(), "vision.safetensors is missing"),
    "no tokenizer": (lambda f: (f / "tokenizer.json").unlink(), "tokenizer.json is missing"),
    "no sums": (lambda f: (f / "SHA256SUMS").unlink(), "SHA256SUMS cannot be read"),
    "a folder for a file": (_folder("config.json"), "config.json cannot be read (Is a directory)"),
    "flipped weight": (_flip("model.safetensors"), "model.safetensors is damaged (its checksum"),
    "flipped vision": (_flip("vision.safetensors"), "vision.safetensors is damaged (its checksum"),
    "flipped config": (_flip("config.json"), "config.json is damaged (its checksum"),
    "flipped tokenizer": (_flip("tokenizer.json"), "tokenizer.json is damaged (its checksum"),
    "flipped sum": (_flip("SHA256SUMS"), "is damaged (its checksum"),
}
SEALED = {
    "NaN weight": (
        _tensors(
            "model.safetensors", lambda t: t["lm_head.weight"].view(-1)[:1].fill_(float("nan"))
        ),
        "model.safetensors has lm_head.weight with NaN or infinite values",
    ),
    "infinite weight": (
        _tensors("vision.safetensors", lambda t: next(iter(t.values())).fill_(float("inf"))),
        "with NaN or infinite values in torch.float32",
    ),
    "bad config": (_write("config.json", b"{"), "config.json is not JSON"),
    "deep config": (_write("config.json", b"[" * 100_000), "config.json is not JSON"),
    "long number": (_write("config.json", b"9" * 5000), "config.json is not JSON"),
    "odd tokenizer": (
        _write("tokenizer.json", b'{"version": "%s"}' % (b"x\\n" * 5000)),
        "tokenizer.json is not the tokenizer of a tiny policy (Unknown tokenizer version",
    ),
    "bad tokenizer": (_write("tokenizer.json", b"{}"), "tokenizer.json is not the tokenizer"),
    "other model": (_config(model_type="qwen2"), "model_type 'qwen2'"),
    "other rope": (
        _config(rope_parameters={"rope_theta": 1e4, "rope_type": "yarn"}),
        "has rope_parameters={'rope_theta': 10000.0, 'rope_type': 'yarn'}",
    ),
    "other rope before 5": (_config(rope_theta=5.0), "has rope_theta=5.0, but a tiny policy needs"),
    "other end": (_config(eos_token_id=7), "has eos_token_id=7, but a tiny policy needs 5"),
    "unknown field": (_config(sliding_window=8), "has the field sliding_window, which a tiny"),
    "unknown name": (
        _config(**{"x\n": 0}),
        r"has the field 'x\n', which a tiny policy does not know",
    ),
    "not a number": (_config(rms_norm_eps=float("nan")), "norm_eps=nan must be a number above 0"),
    "many layers": (_config(num_hidden_layers=10**12), "layers=1000000000000 must be a number"),
    "wide layers": (_config(hidden_size=2**20), "model.safetensors has "),
    "long tables": (_config(max_position_embeddings=10**9), "max_positions=1000000000 must be a"),
    "many blocks": (_vision(blocks=10**12), "1000000000000 must be a whole number from 0 to"),
    "wide vision": (_vision(channels=[1024, 1024, 1024]), "vision.safetensors has "),
    "half a pixel": (_vision(size=48.0), "48.0 must be a whole number"),
    "plain llama": (_config(unicorn_tiny=None), "unicorn_tiny"),
    "tied head": (_config(tie_word_embeddings=True), "tie_word_embeddings=True"),
    "text size": (_config(hidden_size="32"), "hidden_size='32'"),
    "uneven heads": (_config(num_attention_heads=3), "multiple of kv_heads=2"),
    "no rope": (_config(rope_parameters={}), "config.json lacks the field 'rope_theta'"),
    "vocabulary": (_config(vocab_size=50), "tokenizer.json has"),
    "long header": (
        _write("model.safetensors", (10**18).to_bytes(8, "little") + b"{}"),
        "model.safetensors is truncated or damaged",
    ),
    "cut weights": (_cut("model.safetensors"), "model.safetensors is truncated"),
    "cut vision": (_cut("vision.safetensors"), "vision.safetensors is truncated"),
    "empty weights": (_write("model.safetensors", b""), "model.safetensors is truncated"),
    "lost tensor": (
        _tensors("model.safetensors", lambda t: t.pop("lm_head.weight")),
        "lacks tensor lm_head.weight",
    ),
    "extra tensor": (
        _tensors("model.safetensors", lambda t: t.update(bias=torch.ones(3))),
        "unknown tensor bias",
    ),
    "wrong shape": (
        _tensors("model.safetensors", lambda t: t.update({"model.norm.weight": torch.ones(3)})),
        "model.norm.weight of shape",
    ),
    "wrong dtype": (
        _tensors("vision.safetensors", lambda t: t.update({k: v.half() for k, v in t.items()})),
        "float16",
    ),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_damaged_checkpoint_is_refused_by_name(name: str, folder: Path) -> None:
    damage, message = DAMAGE[name]
    damage(folder)
    refused(folder, message)


@pytest.mark.parametrize("name", SEALED)
def test_a_sealed_checkpoint_that_cannot_be_is_refused_by_name(name: str, folder: Path) -> None:
    damage, message = SEALED[name]
    damage(folder)
    refused(folder, "is damaged (its checksum")
    seal(folder)
    refused(folder, message)


def refused(folder: Path, message: str) -> None:
    with pytest.raises(CheckpointError) as caught:
        TinyPolicy.from_pretrained(folder)
    assert message in str(caught.value)
    assert str(folder) in str(caught.value) and "\n" not in str(caught.value)
    assert len(str(caught.value)) < 1000


def test_sha256sum_agrees_and_can_seal(folder: Path) -> None:
    subprocess.run(["sha256sum", "--quiet", "-c", "SHA256SUMS"], cwd=folder, check=True)
    (folder / "SHA256SUMS").unlink()
    with pytest.raises(CheckpointError) as caught:
        TinyPolicy.from_pretrained(folder)
    subprocess.run(str(caught.value).split("seal it: ")[1], shell=True, check=True)
    TinyPolicy.from_pretrained(folder)


def test_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="nowhere does not exist"):
        TinyPolicy.from_pretrained(tmp_path / "nowhere")
