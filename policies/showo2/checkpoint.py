"""The public checkpoint folder of a Show-o2, in and out: the released weights with, beside them, what the
released scripts take from elsewhere (Wan2.1's autoencoder, and Qwen2.5's configuration and tokenizer).

Invariant: a folder is read whole or refused with one sentence that names the file; nothing is guessed or
filled in. Memory for the weights is asked for once, in the dtype that is wanted.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from policies.interface import CheckpointError
from policies.saving import remove, save_small
from policies.showo2.autoencoder import Autoencoder
from policies.showo2.config import Showo2Config
from policies.showo2.module import Showo2Module
from policies.showo2.released import AUTOENCODER, LANGUAGE, OURS, WHOLE, read_config
from policies.showo2.samples import Form
from policies.small_files import read_files
from policies.stored_tensors import AGAIN, Stored, opened, shapes_of, weights_for
from policies.tokenizer import TOKENIZER, parse_tokenizer

MODEL = "pytorch_model.bin"
# As the released code's base class names them.
MODELS = (
    MODEL,
    "pytorch_model.bin.index.json",
    "diffusion_pytorch_model.bin.index.json",
    "pytorch_model.safetensors",
    "diffusion_pytorch_model.safetensors.index.json",
)
MARKS = {"start": "<|im_start|>", "eos": "<|im_end|>", "boi": "<|vision_start|>",
         "eoi": "<|vision_end|>"}  # fmt: skip
SYSTEM, USER, ASSISTANT = "system\nYou are a helpful assistant.", "user\n", "assistant\n"
SMALL = (
    WHOLE,
    LANGUAGE,
    TOKENIZER,
    "tokenizer_config.json",
    "vocab.json",
    "merges.txt",
    "generation_config.json",
)
NEEDED = (WHOLE, LANGUAGE, TOKENIZER)
EMBEDDED, WRITTEN = "showo.model.embed_tokens.weight", "showo.lm_head.weight"


@dataclass(frozen=True)
class Small:
    """All but the weights; `stored` are those, mapped from their files but not read."""

    config: Showo2Config
    tokenizer: Any
    form: Form
    files: Mapping[str, bytes]
    stored: tuple[Stored, Stored]


@dataclass(frozen=True)
class Loaded:
    """`module` and `autoencoder` are in eval mode; `files` are the small ones, by name."""

    module: Showo2Module
    autoencoder: Autoencoder
    tokenizer: Any
    form: Form
    files: Mapping[str, bytes]


def read_small(folder: Path) -> Small:
    """All of a checkpoint but its weights. Raises CheckpointError."""
    files = read_files(folder, SMALL, NEEDED, "Show-o2")
    model, autoencoder = opened(folder, MODELS), opened(folder, (AUTOENCODER,))
    config = read_config(
        folder, (model.where, shapes_of(model)), (autoencoder.where, shapes_of(autoencoder))
    )
    tokenizer, ids = parse_tokenizer(
        folder / TOKENIZER, files[TOKENIZER], "Show-o2", MARKS.values()
    )
    most = max(tokenizer.get_vocab().values())
    if most >= config.language.vocab_size:
        raise CheckpointError(
            f"{folder / TOKENIZER} has a token {most}, but {model.where.name} only "
            f"{config.language.vocab_size} rows in {EMBEDDED}; {AGAIN}."
        )
    form = form_of(config, tokenizer, ids)
    return Small(config, tokenizer, form, files, (model, autoencoder))


def form_of(config: Showo2Config, tokenizer: Any, ids: Mapping[str, Any]) -> Form:
    """The public conversation, in the tokenizer's ids."""
    mark = {field: ids[name] for field, name in MARKS.items()}

    def words(text: str) -> list[int]:
        return list(tokenizer.encode(text, add_special_tokens=False).ids)

    line, start, eos = words("\n"), mark["start"], mark["eos"]
    before = (start, *words(SYSTEM), eos, *line, start, *words(USER))
    asked = (*line, start, *words(ASSISTANT))
    values = config.latent_values
    return Form(**mark, before=before, after=asked[:-1], begin=asked[-1], latent_values=values)


def load(folder: Path, dtype: torch.dtype = torch.float32) -> Loaded:
    """The checkpoint in `folder`, its weights in `dtype`, whatever they were, but for the autoencoder's,
    which are float32. Raises CheckpointError."""
    small = read_small(folder)
    model, pixels = small.stored
    with torch.device("meta"):  # shapes alone, until the files are seen to hold them
        module, autoencoder = Showo2Module(small.config), Autoencoder(small.config.autoencoder)
    optional = (WRITTEN,) if small.config.tied else ()
    made = weights_for(model, module, dtype, optional)
    _require_tied(model, made, small.config)
    module.load_state_dict({WRITTEN: made[EMBEDDED]} | made, assign=True)
    if small.config.tied:
        module.tie()
    autoencoder.load_state_dict(weights_for(pixels, autoencoder, torch.float32), assign=True)
    autoencoder.requires_grad_(False)
    return Loaded(module.eval(), autoencoder.eval(), small.tokenizer, small.form, small.files)


def _require_tied(stored: Stored, made: Mapping[str, torch.Tensor], config: Showo2Config) -> None:
    if config.tied and WRITTEN in made and not torch.equal(made[WRITTEN], made[EMBEDDED]):
        raise CheckpointError(
            f"{stored.where} has {WRITTEN} and {EMBEDDED} of different values, but {LANGUAGE} has "
            f"tie_word_embeddings=True; use the file that belongs to these weights."
        )


def save(folder: Path, loaded: Loaded) -> None:
    """Writes the released layout; of the files that the folder has already, those of a checkpoint are
    replaced or removed. Raises OSError."""
    folder.mkdir(parents=True, exist_ok=True)
    remove(folder, "*pytorch_model-*-of-*")
    for name, module in ((MODEL, loaded.module), (AUTOENCODER, loaded.autoencoder)):
        kept = {n: t.detach().cpu() for n, t in module.state_dict().items()}
        torch.save(kept, folder / name)
    save_small(folder, (*SMALL, *MODELS[1:]), loaded.files)


def describe_sizes(config: Showo2Config) -> dict[str, bytes]:
    """The small files that say these sizes, for a model that is made anew."""
    language, semantic = config.language, config.semantic
    said: dict[str, dict[str, object]] = {
        LANGUAGE: {
            "architectures": ["Qwen2ForCausalLM"],
            "model_type": "qwen2",
            "hidden_act": "silu",
            "tie_word_embeddings": config.tied,
            "vocab_size": language.vocab_size,
            "hidden_size": language.hidden_size,
            "intermediate_size": language.intermediate_size,
            "num_hidden_layers": language.layers,
            "num_attention_heads": language.heads,
            "num_key_value_heads": language.kv_heads,
            "max_position_embeddings": language.max_positions,
            "rms_norm_eps": language.norm_eps,
            "rope_theta": language.rope_theta,
        },
        WHOLE: {
            "_class_name": "Showo2Qwen2_5",
            "add_time_embeds": True,
            "llm_vocab_size": language.vocab_size,
            "hidden_size": language.hidden_size,
            "image_latent_dim": config.autoencoder.latents,
            "image_latent_height": config.own_side,
            "image_latent_width": config.own_side,
            "patch_size": config.latent_patch,
            "clip_latent_dim": semantic.hidden_size if semantic else 0,
            "num_diffusion_layers": config.head.layers,
            **({OURS: {"semantic_heads": semantic.heads}} if semantic else {}),
        },
    }
    return {name: json.dumps(fields, indent=2).encode() + b"\n" for name, fields in said.items()}
