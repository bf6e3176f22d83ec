"""The sizes of the toy and its small files, and a toy that begins with what the toy BAGEL knows.

Invariant: a new toy follows from its seed and from the BAGEL. The eyes are BAGEL's exactly; so is the expert
of words, for all words that both know.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer
from torch import Tensor, nn

from policies.bagel.policy import BagelPolicy
from policies.pretraining.scenes import vocabulary
from policies.pretraining.words import build_tokenizer, words_of
from policies.tiny.world.scene import SIDE
from policies.tokenizer import TOKENIZER
from policies.tools.layout import instruction
from policies.tools.policy import ToolsPolicy
from policies.vision_language.chat import TEMPLATE
from policies.vision_language.seeing import PREPROCESSOR, quiet

TOOLS = ("draw=python:policies.tools.toy:draw",)
CALL_TOKENS = 32
"""The fewest that a call may have, spelt in bytes; in words the longest prompt needs 17."""
END, PICTURE = "<|end|>", "<image>"
MARKS = {
    "<|user|>": "<|im_start|>",
    "<|assistant|>": "<|im_start|>",
    END: "<|im_end|>",
    PICTURE: "",
}
"""Each with the mark of BAGEL that it begins as."""
# Texts that follow each other are on lines of their own.
CHAT = (
    "{% for message in messages %}{{ '<|' + message['role'] + '|>' }}"
    "{% for part in message['content'] %}{% if part['type'] == 'image' %}<image>{% else %}"
    "{% if loop.previtem is defined and loop.previtem['type'] == 'text' %}{{ '\\n' }}{% endif %}"
    "{{ part['text'] }}{% endif %}{% endfor %}<|end|>{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
PATCH = 8
PIXELS = {
    "image_processor_type": "SiglipImageProcessor", "do_convert_rgb": True, "do_resize": True,
    "size": {"height": SIDE, "width": SIDE}, "resample": 3, "do_rescale": True, "rescale_factor": 1 / 255,
    "do_normalize": True, "image_mean": [0.5] * 3, "image_std": [0.5] * 3,
}  # fmt: skip
"""A picture of the tiny world has that size already, and is only normalised."""
VISION = {
    "model_type": "siglip_vision_model", "hidden_size": 96, "intermediate_size": 192, "num_hidden_layers": 4,
    "num_attention_heads": 4, "image_size": SIDE, "patch_size": PATCH, "layer_norm_eps": 1e-6,
    "vision_use_head": False,
}  # fmt: skip
TEXT = {
    "model_type": "qwen3", "hidden_size": 128, "intermediate_size": 256, "num_hidden_layers": 4,
    "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 32, "rms_norm_eps": 1e-6,
    "attention_bias": True, "max_position_embeddings": 512, "tie_word_embeddings": False,
    "rope_parameters": {"rope_type": "default", "rope_theta": 1e4}, "bos_token_id": None,
}  # fmt: skip


def loaded(folder: Path) -> ToolsPolicy:
    """A toy as family tools has it, with the tool that paints its world. Raises CheckpointError."""
    return ToolsPolicy.from_pretrained(folder, tools=TOOLS, turns=1, call_tokens=CALL_TOKENS)


def write(folder: Path, seed: int) -> None:
    """A toy that has learned nothing."""
    from transformers import LlavaConfig, LlavaForConditionalGeneration

    words = [*vocabulary(), *words_of(instruction(("draw",), ()))]
    tokenizer = build_tokenizer(words, MARKS)
    ids = tokenizer.get_vocab()
    config = LlavaConfig(
        vision_config=VISION,
        text_config=TEXT | {"vocab_size": max(ids.values()) + 1, "eos_token_id": ids[END]},
        image_token_index=ids[PICTURE], image_seq_length=(SIDE // PATCH) ** 2,
        vision_feature_layer=-1, vision_feature_select_strategy="full",
        projector_hidden_act="gelu_pytorch_tanh",
    )  # fmt: skip
    with torch.random.fork_rng(devices=[]), quiet():
        torch.manual_seed(seed)
        net: Any = LlavaForConditionalGeneration(config)
        nn.init.normal_(net.model.language_model.embed_tokens.weight, std=0.5)
        net.save_pretrained(folder)
    tokenizer.save(str(folder / TOKENIZER))
    (folder / TEMPLATE).write_text(CHAT)
    described = {"tokenizer_class": "PreTrainedTokenizerFast", "eos_token": END, "pad_token": END}
    for name, fields in {PREPROCESSOR: PIXELS, "tokenizer_config.json": described}.items():
        (folder / name).write_text(json.dumps(fields, indent=2) + "\n")


@torch.no_grad()
def begin(policy: ToolsPolicy, bagel: BagelPolicy) -> None:
    """Gives a new toy the eyes and the expert of words of a BAGEL of the same sizes."""
    net, given = policy.module, bagel.module.state_dict()
    _see(net.model.vision_tower.base_model, given)
    for name, weight in net.model.language_model.state_dict().items():
        if name.endswith("o_proj.bias"):
            weight.zero_()  # Qwen3 has biases of all four projections or of none, Qwen2 of three
        elif name != "embed_tokens.weight":
            weight.copy_(given[f"language_model.model.{name}"])
    rows, same = _same(policy.chat.tokenizer, bagel.layout.tokenizer)
    net.lm_head.weight[rows] = given["language_model.lm_head.weight"][same]
    embedded = given["language_model.model.embed_tokens.weight"]
    net.model.language_model.embed_tokens.weight[rows] = embedded[same]


def _same(tokenizer: Tokenizer, other: Tokenizer) -> tuple[list[int], list[int]]:
    """The ids of what both know, in the one and in the other."""
    known, both = other.get_vocab(), list[tuple[int, int]]()
    for name, id_ in tokenizer.get_vocab().items():
        if (theirs := known.get(MARKS.get(name, name))) is not None:
            both.append((id_, theirs))
    return [ours for ours, _ in both], [theirs for _, theirs in both]


def _see(tower: Any, given: Mapping[str, Tensor]) -> None:
    """BAGEL has the values of a patch in another order, and a linear map where transformers convolves."""
    prefix, patch = "vit_model.vision_model.", "embeddings.patch_embedding.weight"
    eyes = {
        name.removeprefix(prefix): each for name, each in given.items() if name.startswith(prefix)
    }
    eyes[patch] = eyes[patch].unflatten(1, (PATCH, PATCH, 3)).permute(0, 3, 1, 2)
    tower.load_state_dict(eyes)
