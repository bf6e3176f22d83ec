"""The public checkpoint folder of an Emu3: transformers' layout, or read only, the released one.

Invariant: a folder is read whole or refused with one sentence that names the file; nothing is
guessed and nothing is skipped. Memory for the weights is asked for once, and not before the files
are known to hold them. The image tokenizer is float32 whatever the rest is: its nearest codes are
others in bfloat16.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer
from transformers import Emu3ForConditionalGeneration
from transformers.models.emu3.modeling_emu3 import Emu3RotaryEmbedding

from policies.emu3 import config as ours
from policies.emu3 import files, original, tiktoken
from policies.emu3.files import CONFIG
from policies.emu3.tokens import Special, parse
from policies.errors import describe
from policies.interface import CheckpointError
from policies.saving import save_net
from policies.small_files import fields_of, read_files
from policies.stored_tensors import Source, assembled, check, opened
from policies.tokenizer import TOKENIZER

MODEL = "Emu3"
PICTURES = "model.vqmodel."
"""How the names of the image tokenizer's tensors begin."""
_STORED = {
    "model.text_model.": "text_model.model.",
    "lm_head.": "text_model.lm_head.",
    PICTURES: "vqmodel.",
}
"""How names begin in transformers' net, and in the files that it writes and that are on the hub."""
_COUNTER = "num_batches_tracked"


@dataclass(frozen=True)
class Small:
    """All but the weights; `ours` says whether the layout is transformers', `extras` are the small
    files as `save` writes them, by name, and `area` is that of drawings, in pixels."""

    config: Any  # an Emu3Config, whose sections are typed as what they may be made from
    ours: bool
    tokenizer: Tokenizer
    special: Special
    extras: dict[str, bytes]
    area: int


@dataclass(frozen=True)
class Loaded:
    """`net` is in eval mode and holds the image tokenizer (`net.model.vqmodel`) too."""

    net: Emu3ForConditionalGeneration
    small: Small


def read_small(folder: Path) -> Small:
    """All of a checkpoint but its weights. Raises CheckpointError."""
    config = fields_of(folder / CONFIG, _files(folder, CONFIG)[CONFIG])
    kind = config.get("model_type")
    if kind == "emu3":
        return _read_ours(folder, config)
    if kind == "Emu3":
        return _read_original(folder, config)
    raise CheckpointError(
        f"{folder / CONFIG} is of model_type {describe(kind)}; an Emu3 policy reads 'emu3' "
        "(transformers' layout, as in BAAI/Emu3-Chat-hf) and 'Emu3' (the released one, as in "
        "BAAI/Emu3-Stage1)."
    )


def _read_ours(folder: Path, config: Mapping[str, Any]) -> Small:
    extras = read_files(folder, files.NAMES, [TOKENIZER], MODEL)
    described = ours.parse_config(folder / CONFIG, config)
    tokenizer, special = parse(folder / TOKENIZER, extras[TOKENIZER], ours.codes_of(described))
    built = ours.build(described, special, tokenizer.get_vocab())
    ours.require_same_ids(folder / CONFIG, config, special)
    return Small(built, True, tokenizer, special, extras, files.area(folder, extras, factor(built)))


def _read_original(folder: Path, config: Mapping[str, Any]) -> Small:
    within = folder / original.VISION
    words = _files(folder, tiktoken.RANKS, tiktoken.PICTURE_TOKENS)
    seeing = _files(within, CONFIG, files.PREPROCESSOR)
    pictures = fields_of(within / CONFIG, seeing[CONFIG])
    described = original.parse_config(folder / CONFIG, config, within / CONFIG, pictures)
    made = tiktoken.tokenizer(folder, words).to_str().encode()
    file = folder / tiktoken.PICTURE_TOKENS
    tokenizer, special = parse(file, made, ours.codes_of(described))
    original.require_same_ids(folder / CONFIG, config, special)
    built: Any = ours.build(described, special, tokenizer.get_vocab())
    each = factor(built)
    area = files.area(within, seeing, each)
    most = built.text_config.max_position_embeddings
    extras = files.made(made, special, area, each, most)
    return Small(built, False, tokenizer, special, extras, area)


def _files(folder: Path, *names: str) -> dict[str, bytes]:
    return read_files(folder, names, names, MODEL)


def factor(config: Any) -> int:
    """How many pixels a code stands for, each way."""
    power: int = len(config.vq_config.channel_multiplier) - 1
    return 2**power


def load(folder: Path, dtype: torch.dtype = torch.float32) -> Loaded:
    """The checkpoint in `folder`, its language model in `dtype`, whatever it was. Raises
    CheckpointError."""
    small = read_small(folder)
    with torch.device("meta"):  # shapes alone, until the files are seen to hold them
        net = Emu3ForConditionalGeneration(small.config)
    state = _weights(folder, small, net.state_dict(), dtype)
    net.load_state_dict(state, assign=True)
    rotary: Any = Emu3RotaryEmbedding(small.config.text_config)  # which no file holds
    net.model.text_model.rotary_emb = rotary
    return Loaded(net.eval(), small)


def _weights(
    folder: Path, small: Small, blank: Mapping[str, torch.Tensor], dtype: torch.dtype
) -> dict[str, torch.Tensor]:
    """The tensors of the net by name, with the shapes of `blank`."""
    written = opened(folder)
    shapes = {name: tuple(tensor.shape) for name, tensor in blank.items()}
    seeing = [name for name in blank if name.startswith(PICTURES)]
    text = [name for name in blank if not name.startswith(PICTURES)]
    if small.ours:
        alike = any(name.startswith("model.") for name in written.tensors)
        named = {name: name if alike else stored_name(name) for name in blank}
        parts = [(written, {name: Source(named[name], shapes[name]) for name in blank})]
    else:
        beside = opened(folder / original.VISION)
        parts = [
            (written, {name: original.text_source(name, shapes[name]) for name in text}),
            (beside, {name: original.picture_source(name, shapes[name]) for name in seeing}),
        ]
    for stored, sources in parts:
        for name in sources:
            if name.endswith(_COUNTER):
                sources[name] = replace(sources[name], count=True)
        check(stored, sources, None)
    made: dict[str, torch.Tensor] = {}
    for stored, sources in parts:
        for names, kind in ((text, dtype), (seeing, torch.float32)):
            some = {name: sources[name] for name in names if name in sources}
            made |= assembled(stored, some, blank, kind)
    return made


def stored_name(name: str) -> str:
    """What a tensor of transformers' net is called in the files that transformers writes."""
    start = next(start for start in _STORED if name.startswith(start))
    return _STORED[start] + name.removeprefix(start)


def save(folder: Path, loaded: Loaded) -> None:
    """Writes transformers' layout; of the files that the folder has already, those of a checkpoint
    are replaced or removed. Raises OSError."""
    state = {stored_name(name): tensor for name, tensor in loaded.net.state_dict().items()}
    save_net(folder, loaded.net, state, files.NAMES, loaded.small.extras)
