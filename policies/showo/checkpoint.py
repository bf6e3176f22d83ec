"""The public checkpoint of a Show-o, in and out, with those of the two models that it was made from:

    config.json, pytorch_model.bin or .safetensors   showlab/show-o-512x512, or another Show-o
    tokenizer.json, llm_config.json (its config)     microsoft/phi-1_5
    magvitv2.bin or .safetensors (its weights)       showlab/magvitv2

Invariant: a folder is read whole or refused with one sentence that names the file; nothing is
guessed, and nothing is skipped but the two tables that follow from the bits of a code. Memory for
the weights is asked for once, after the files are known to hold them. There are files alone in it,
for versions of a run are stored so.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from transformers.models.phi.modeling_phi import PhiRotaryEmbedding

from policies.convolutions import pass_over_idle
from policies.saving import save_small, save_tensors
from policies.showo.config import ShowoConfig
from policies.showo.magvit import Magvit
from policies.showo.module import ShowoModule
from policies.showo.released import FIXED, PHI, magvit_sizes, read_sizes
from policies.showo.tokens import Words, parse
from policies.small_files import opened_config, read_files
from policies.stored_tensors import Stored, opened, shapes_of, weights_for
from policies.tokenizer import TOKENIZER

CONFIG, MODEL = "config.json", "pytorch_model.safetensors"
NAMES = (
    MODEL,
    f"{MODEL}.index.json",
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
    "model.safetensors",
    "model.safetensors.index.json",
)
"""The first that there is holds the weights, as the public code looks for them."""
MAGVITS = ("magvitv2.safetensors", "magvitv2.bin")
NEEDED = (CONFIG, PHI, TOKENIZER)
SMALL = (
    *NEEDED,
    "tokenizer_config.json",
    "vocab.json",
    "merges.txt",
    "special_tokens_map.json",
    "added_tokens.json",
    "generation_config.json",
)
TABLES = re.compile(r"quantize\.(embedding|power_vals)$")


@dataclass(frozen=True)
class Small:
    """All but the weights; `stored` are those of Show-o and of MAGVIT-v2, mapped but not read."""

    config: ShowoConfig
    words: Words
    files: Mapping[str, bytes]
    stored: tuple[Stored, Stored]


@dataclass(frozen=True)
class Loaded:
    """`module` and `magvit` are in eval mode; `files` are the small ones, by name."""

    module: ShowoModule
    magvit: Magvit
    words: Words
    files: Mapping[str, bytes]


def read_small(folder: Path) -> Small:
    """All of a checkpoint but its weights. Raises CheckpointError."""
    files = read_files(folder, SMALL, NEEDED, "Show-o")
    model, magvit = opened(folder, NAMES), opened(folder, MAGVITS)
    showo, phi = (
        opened_config(folder / name, fixed, "Show-o")
        for name, fixed in zip((CONFIG, PHI), FIXED, strict=True)
    )
    config = read_sizes(showo, phi, magvit_sizes(magvit.where, shapes_of(magvit)))
    words = parse(folder / TOKENIZER, files[TOKENIZER])
    same, needed = words.count == config.words, f"{TOKENIZER} has {words.count} tokens"
    showo.require("llm_vocab_size", config.words, same, needed)
    return Small(config, words, files, (model, magvit))


def load(folder: Path, dtype: torch.dtype = torch.float32) -> Loaded:
    """The checkpoint in `folder`, its weights in `dtype`, whatever they were, but for the tokenizer
    of pictures, whose are float32. Raises CheckpointError."""
    small = read_small(folder)
    with torch.device("meta"):  # shapes alone, until the files are seen to hold them
        module, magvit = ShowoModule(small.config), Magvit(small.config.magvit)
    model, tables = small.stored
    module.load_state_dict(weights_for(model, module, dtype), assign=True)
    magvit.load_state_dict(weights_for(tables, magvit, torch.float32, ignored=TABLES), assign=True)
    pass_over_idle(magvit)
    # No file holds the angles, which follow from the configuration.
    module.showo.model.rotary_emb = PhiRotaryEmbedding(module.showo.config)
    return Loaded(module.eval(), magvit.requires_grad_(False).eval(), small.words, small.files)


def save(folder: Path, loaded: Loaded) -> None:
    """Writes the released layout; of the files that the folder has already, those of a checkpoint
    are replaced or removed. Raises OSError."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in (*NAMES[1:], MAGVITS[1], "model-*.safetensors", "pytorch_model-*"):
        for other in folder.glob(name):  # of another checkpoint
            other.unlink()
    save_tensors(folder / MODEL, loaded.module.state_dict())
    magvit = loaded.magvit
    save_tensors(folder / MAGVITS[0], magvit.state_dict() | magvit.released_tables())
    save_small(folder, SMALL, loaded.files)
