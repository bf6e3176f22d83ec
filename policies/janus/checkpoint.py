"""The public checkpoint folder of a Janus: transformers' layout, or read only, DeepSeek's own.

Invariant: a folder is read whole or refused with one sentence that names the file; nothing is
guessed, and nothing is skipped but what `original.IGNORED` names. Memory for the weights is asked
for once, and not before the files are known to hold them.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer
from transformers import JanusConfig, JanusForConditionalGeneration
from transformers.models.llama.modeling_llama import LlamaRotaryEmbedding

from policies.errors import describe
from policies.interface import CheckpointError
from policies.janus import extras, original
from policies.janus.config import build, parse_config
from policies.janus.tokens import Special, parse
from policies.saving import save_net
from policies.small_files import fields_of, read_files
from policies.stored_tensors import Source, assembled, check, opened
from policies.tokenizer import TOKENIZER

CONFIG = "config.json"


@dataclass(frozen=True)
class Loaded:
    """`net` is in eval mode and holds the image tokenizer (`net.model.vqmodel`) too; `extras` are
    the small files as `save` writes them, by name."""

    net: JanusForConditionalGeneration
    tokenizer: Tokenizer
    special: Special
    extras: dict[str, bytes]


@dataclass(frozen=True)
class Small:
    """All but the weights; `ours` says whether the layout is transformers'."""

    config: JanusConfig
    ours: bool
    tokenizer: Tokenizer
    special: Special
    extras: dict[str, bytes]


def read_small(folder: Path) -> Small:
    """All of a checkpoint but its weights. Raises CheckpointError."""
    found = read_files(folder, (CONFIG, *extras.NAMES), (CONFIG, TOKENIZER), "Janus")
    config = _read_config(folder / CONFIG, found[CONFIG])
    tokenizer, special = parse(folder / TOKENIZER, found[TOKENIZER])
    ours = config["model_type"] == "janus"
    if ours:
        described = parse_config(folder / CONFIG, config, special)
    else:
        described = original.parse_config(folder / CONFIG, config)
    built = build(described, special, tokens=max(tokenizer.get_vocab().values()) + 1)
    whole = extras.completed(folder, found, built, special, ours)
    return Small(built, ours, tokenizer, special, whole)


def load(folder: Path, dtype: torch.dtype = torch.float32) -> Loaded:
    """The checkpoint in `folder`, its weights in `dtype`, whatever they were. Raises
    CheckpointError."""
    small = read_small(folder)
    with torch.device("meta"):  # shapes alone, until the files are seen to hold them
        net = JanusForConditionalGeneration(small.config)
    blank = net.state_dict()
    named_alike = {name: Source(name, tuple(tensor.shape)) for name, tensor in blank.items()}
    sources = named_alike if small.ours else original.sources(blank)
    stored = opened(folder)
    check(stored, sources, None if small.ours else original.IGNORED)
    net.load_state_dict(assembled(stored, sources, blank, dtype), assign=True)
    _rebuild_buffers(net)
    return Loaded(net.eval(), small.tokenizer, small.special, small.extras)


def save(folder: Path, loaded: Loaded) -> None:
    """Writes transformers' layout; of the files that the folder has already, those of a checkpoint
    are replaced or removed. Raises OSError."""
    save_net(folder, loaded.net, loaded.net.state_dict(), extras.NAMES, loaded.extras)


def _read_config(file: Path, data: bytes) -> dict[str, Any]:
    config = fields_of(file, data)
    if (kind := config.get("model_type")) not in ("janus", "multi_modality"):
        raise CheckpointError(
            f"{file} is of model_type {describe(kind)}; a Janus policy reads 'janus' (transformers' "
            "layout, as in deepseek-community/Janus-Pro-1B) and 'multi_modality' (DeepSeek's own, "
            "as in deepseek-ai/Janus-Pro-1B)."
        )
    return config


def _rebuild_buffers(net: JanusForConditionalGeneration) -> None:
    """Puts the buffers, which no file holds because they follow from the configuration, into a net
    that was built without memory."""
    text: Any = net.config.text_config
    net.model.language_model.rotary_emb = LlamaRotaryEmbedding(text)
    embeddings = net.model.vision_model.embeddings
    embeddings.position_ids = torch.arange(embeddings.num_positions).expand((1, -1))
