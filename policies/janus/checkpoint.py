"""The public checkpoint folder of a Janus-Pro policy."""

from __future__ import annotations

import copy
import json
from dataclasses import dataclass
from pathlib import Path

import torch
from huggingface_hub import save_torch_state_dict
from safetensors.torch import load_file
from tokenizers import Tokenizer
from transformers import JanusConfig, JanusForConditionalGeneration
from transformers.models.llama.modeling_llama import LlamaRotaryEmbedding

from policies.janus.tokens import TOKENIZER, Special, parse

CONFIG = "config.json"
EXTRAS = (
    TOKENIZER,
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "preprocessor_config.json",
    "processor_config.json",
    "generation_config.json",
    "chat_template.json",
    "chat_template.jinja",
)


@dataclass(frozen=True)
class Loaded:
    """`net` is in eval mode and holds the image tokenizer (`net.model.vqmodel`) too; `extras` are
    the small files as they were, by name."""

    net: JanusForConditionalGeneration
    tokenizer: Tokenizer
    special: Special
    extras: dict[str, bytes]


def load(folder: Path, dtype: torch.dtype = torch.float32) -> Loaded:
    """Raises CheckpointError."""
    extras = {name: (folder / name).read_bytes() for name in EXTRAS if (folder / name).is_file()}
    tokenizer, special = parse(folder / TOKENIZER, extras[TOKENIZER])
    described = json.loads((folder / CONFIG).read_bytes())
    config = JanusConfig.from_dict(described | {"tie_word_embeddings": False})
    with torch.device("meta"):
        net = JanusForConditionalGeneration(config)
    tensors = load_file(folder / "model.safetensors")
    net.load_state_dict({k: v.to(dtype, copy=True) for k, v in tensors.items()}, assign=True)
    _rebuild_buffers(net)
    return Loaded(net.eval(), tokenizer, special, extras)


def _rebuild_buffers(net: JanusForConditionalGeneration) -> None:
    """What is in no file: it follows from the configuration."""
    net.model.language_model.rotary_emb = LlamaRotaryEmbedding(net.config.text_config)
    embeddings = net.model.vision_model.embeddings
    embeddings.position_ids = torch.arange(embeddings.num_positions).expand((1, -1))


def save(folder: Path, loaded: Loaded) -> None:
    """Writes the folder; files that it has already are replaced. Raises OSError."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, data in loaded.extras.items():
        (folder / name).write_bytes(data)
    config = copy.deepcopy(loaded.net.config)
    config.dtype, config.architectures = loaded.net.dtype, [type(loaded.net).__name__]
    config.save_pretrained(folder)
    save_torch_state_dict(loaded.net.state_dict(), folder, max_shard_size="5GB")
