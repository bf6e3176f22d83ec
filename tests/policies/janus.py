"""A tiny Janus with random weights as a folder, and the golden one with what it must compute."""

from __future__ import annotations

import copy
import json
from functools import cache
from pathlib import Path

import torch
from safetensors.torch import load_file
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, processors
from transformers import JanusConfig, JanusForConditionalGeneration

from policies.janus.checkpoint import Loaded, load, save
from policies.janus.tokens import OPTIONAL, REQUIRED, parse
from tests.policies import damage

torch.set_num_threads(1)
GOLDEN = Path(__file__).resolve().parents[1] / "golden" / "janus_tiny"
SIZE, VOCABULARY = 32, 320
PREPROCESSOR = {
    "do_normalize": True,
    "do_pad": True,
    "do_rescale": True,
    "do_resize": True,
    "image_mean": [0.5, 0.5, 0.5],
    "image_processor_type": "JanusImageProcessor",
    "image_size": SIZE,
    "image_std": [0.5, 0.5, 0.5],
    "min_size": 14,
    "resample": 3,
    "rescale_factor": 1 / 255,
    "size": {"height": SIZE, "width": SIZE},
}


def tokenizer() -> Tokenizer:
    """All 256 bytes, then the names that the real one has for structure; a text begins with one."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    made = Tokenizer(models.BPE({letter: i for i, letter in enumerate(alphabet)}, []))
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    made.decoder = decoders.ByteLevel()
    made.add_special_tokens([AddedToken(name, special=True) for name in REQUIRED.values()])
    made.add_tokens([AddedToken(name, normalized=False) for name in OPTIONAL.values()])
    bos = REQUIRED["bos"]
    made.post_processor = processors.TemplateProcessing(
        single=f"{bos} $A", pair=f"{bos} $A $B", special_tokens=[(bos, made.token_to_id(bos))]
    )
    return made


def tiny_folder(folder: Path, seed: int = 0) -> Path:
    """Writes a Janus of the golden one's sizes, but with `VOCABULARY` tokens and 512 positions,
    and weights that follow from `seed`."""
    extras = {
        "tokenizer.json": tokenizer().to_str().encode(),
        "preprocessor_config.json": json.dumps(PREPROCESSOR, indent=2).encode(),
    }
    read, special = parse(folder / "tokenizer.json", extras["tokenizer.json"])
    described = json.loads((GOLDEN / "hf_config.json").read_text())
    described["image_token_id"] = special.image
    described["text_config"] |= {
        "vocab_size": VOCABULARY,
        "max_position_embeddings": 512,
        "bos_token_id": special.bos,
        "eos_token_id": special.eos,
        "pad_token_id": special.pad,
    }
    save(folder, Loaded(_net(json.dumps(described), seed), read, special, extras))
    return folder


@cache
def _net(described: str, seed: int) -> JanusForConditionalGeneration:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return JanusForConditionalGeneration(JanusConfig.from_dict(json.loads(described))).eval()


@cache
def _golden() -> tuple[JanusForConditionalGeneration, dict[str, torch.Tensor]]:
    config = JanusConfig.from_dict(json.loads((GOLDEN / "hf_config.json").read_text()))
    net = JanusForConditionalGeneration(config).eval()
    net.load_state_dict(load_file(GOLDEN / "janus_hf.safetensors"))
    return net, load_file(GOLDEN / "io.safetensors")


def golden() -> tuple[JanusForConditionalGeneration, dict[str, torch.Tensor]]:
    """The net of the golden folder, in eval mode, and its tensors in and out by name."""
    net, tensors = _golden()
    return copy.deepcopy(net), dict(tensors)


def same(one: JanusForConditionalGeneration, other: JanusForConditionalGeneration) -> None:
    """To the last bit."""
    first, second = one.state_dict(), other.state_dict()
    assert first.keys() == second.keys()
    for name, tensor in first.items():
        assert tensor.dtype == second[name].dtype and torch.equal(tensor, second[name]), name


def refused(folder: Path, message: str) -> None:
    damage.refused(load, folder, message)
