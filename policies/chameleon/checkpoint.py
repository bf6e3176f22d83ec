"""The public checkpoint folder of a Chameleon, in transformers' layout, in and out.

Invariant: a folder is read whole or refused with one sentence that names the file; nothing is guessed,
and nothing is skipped but what `IGNORED` names. Memory for the weights is asked for once, and not
before the files are known to hold them, the image decoder's too: one that lacks it is refused, or takes
the decoder that the policy's option names, and has it from then on.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer
from torch import Tensor, nn
from transformers import ChameleonConfig, ChameleonForConditionalGeneration
from transformers.models.chameleon.modeling_chameleon import ChameleonRotaryEmbedding

from policies.chameleon import extras
from policies.chameleon.config import build, drawing_tokens, parse_config
from policies.chameleon.decoder import Decoder
from policies.chameleon.tokens import Special, parse
from policies.errors import describe
from policies.interface import CheckpointError
from policies.saving import save_net
from policies.small_files import ConfigFile, fields_of
from policies.stored_tensors import NAMES, Source, Stored, assembled, check, opened
from policies.tokenizer import TOKENIZER

MODEL_TYPES = ("chameleon", "anole")
"""The second is what a draft of transformers' called the same layout."""
VQ, DECODER = "model.vqmodel.", "model.vqmodel.decoder."
IGNORED = re.compile(r"model\.(img2bpe|bpe2img)_mapping_tensor$|.*rotary_emb\.inv_freq$")
SAME = ("quantize.embedding.weight", "post_quant_conv.weight", "post_quant_conv.bias")
"""Tensors of the image tokenizer that a named decoder must have been trained with."""


@dataclass(frozen=True)
class Loaded:
    """`net` is in eval mode, without its image tokenizer `vq`; `extras` are the small files as `save`
    writes them, by name; pixels are read times `scale`."""

    net: ChameleonForConditionalGeneration
    vq: Any
    decoder: Decoder
    tokenizer: Tokenizer
    special: Special
    extras: dict[str, bytes]
    scale: float


@dataclass(frozen=True)
class Small:
    """All but the weights."""

    config: ChameleonConfig
    tokenizer: Tokenizer
    special: Special
    extras: dict[str, bytes]
    scale: float


def read_small(folder: Path) -> Small:
    """All of a checkpoint but its weights. Raises CheckpointError."""
    files = extras.read(folder)
    file = folder / extras.CONFIG
    config = fields_of(file, files[extras.CONFIG])
    if (kind := config.get("model_type")) not in MODEL_TYPES:
        raise CheckpointError(
            f"{file} is of model_type {describe(kind)}; a Chameleon policy reads 'chameleon' "
            "(transformers' layout, as in leloy/Anole-7b-v0.1-hf)."
        )
    values = parse_config(file, config)
    vocabulary = config.get("vocabulary_map")
    tokenizer, special = parse(
        folder, files[TOKENIZER], vocabulary, values["vq_config.num_embeddings"]
    )
    ids = tokenizer.get_vocab().values()
    if (rows := values["vocab_size"]) <= max(ids):
        needed = f"tokenizer.json has tokens up to {max(ids)}"
        raise ConfigFile(file, config).wrong("vocab_size", rows, needed)
    assert isinstance(vocabulary, Mapping), "parse has looked at it"
    built = build(values, vocabulary, special)
    whole, scale = extras.completed(folder, files, special, built, drawing_tokens(built))
    return Small(built, tokenizer, special, whole, scale)


def load(folder: Path, dtype: torch.dtype = torch.float32, decoder: str = "") -> Loaded:
    """The checkpoint in `folder`, its weights in `dtype`, whatever they were, but the image tokenizer's
    in float32; `decoder` is as in `stored_decoder`. Raises CheckpointError."""
    small = read_small(folder)
    stored = opened(folder)
    drawn, prefix = stored_decoder(folder, stored, decoder)
    with torch.device("meta"):  # shapes alone, until the files are seen to hold them
        net, vq, drawing = parted(small.config)
    blank = {VQ + name: tensor for name, tensor in vq.state_dict().items()}
    wanted = [*net.state_dict().items(), *blank.items()]
    sources = {name: Source(name, tuple(tensor.shape)) for name, tensor in wanted}
    shapes = {name: tuple(tensor.shape) for name, tensor in drawing.state_dict().items()}
    shown = {name: Source(prefix + name, shape) for name, shape in shapes.items()}
    own = drawn is stored
    check(
        stored, {**sources, **({DECODER + n: s for n, s in shown.items()} if own else {})}, IGNORED
    )
    if not own:
        others = re.compile(rf"(?!{re.escape(prefix)})")
        check(drawn, shown, others)
        _require_same(stored, drawn, prefix)
    language = {name: sources[name] for name in net.state_dict()}
    net.load_state_dict(assembled(stored, language, net.state_dict(), dtype), assign=True)
    seeing = assembled(stored, {name: sources[name] for name in blank}, blank, torch.float32)
    vq.load_state_dict({n.removeprefix(VQ): t for n, t in seeing.items()}, assign=True)
    drawing.load_state_dict(
        assembled(drawn, shown, drawing.state_dict(), torch.float32), assign=True
    )
    # No file holds these buffers, because they follow from the configuration.
    net.model.rotary_emb = ChameleonRotaryEmbedding(small.config)
    return Loaded(
        net.eval(),
        vq.eval(),
        drawing.eval(),
        small.tokenizer,
        small.special,
        small.extras,
        small.scale,
    )


def parted(config: ChameleonConfig) -> tuple[ChameleonForConditionalGeneration, Any, Decoder]:
    """A net with random weights, the image tokenizer that was part of it, and a decoder for it."""
    net = ChameleonForConditionalGeneration(config)
    model: Any = net.model
    vq: nn.Module = model.vqmodel
    del model.vqmodel
    return net, vq, Decoder(config.vq_config)


def stored_decoder(folder: Path, stored: Stored, named: str) -> tuple[Stored, str]:
    """Where the image decoder is, and how the names of its tensors begin there: the checkpoint's own
    or, where `folder` has none, the one in `named`, a folder (as leloy/Anole-7b-v0.1-vqvae-hf) or a file
    (as Chameleon's vqgan.ckpt). Raises CheckpointError where there is none."""
    if any(name.startswith(DECODER) for name in stored.tensors):
        return stored, DECODER
    if not named:
        raise CheckpointError(
            f"{stored.where} has no image decoder ({DECODER}...), so this model reads and writes but "
            "cannot draw; name one in policy.decoder, such as a folder of leloy/Anole-7b-v0.1-vqvae-hf "
            "or Chameleon's vqgan.ckpt, or use leloy/Anole-7b-v0.1-hf."
        )
    path = Path(named)
    found = opened(path.parent, (path.name,)) if path.is_file() else opened(path, NAMES)
    for prefix in (DECODER, "vqmodel.decoder.", "decoder."):
        if any(name.startswith(prefix) for name in found.tensors):
            return found, prefix
    raise CheckpointError(
        f"{found.where}, which policy.decoder names, has no image decoder (no tensor decoder....); name "
        "a folder of leloy/Anole-7b-v0.1-vqvae-hf or Chameleon's vqgan.ckpt."
    )


def save(folder: Path, loaded: Loaded) -> None:
    """Writes transformers' layout; of the files that the folder has already, those of a checkpoint
    are replaced or removed. Raises OSError."""
    tensors: dict[str, Tensor] = dict(loaded.net.state_dict())
    for prefix, part in ((VQ, loaded.vq), (DECODER, loaded.decoder)):
        tensors |= {prefix + name: tensor for name, tensor in part.state_dict().items()}
    save_net(folder, loaded.net, tensors, extras.NAMES, loaded.extras)


def _require_same(stored: Stored, drawn: Stored, prefix: str) -> None:
    """Raises CheckpointError where the file with the decoder has another image tokenizer beside it."""
    beside = prefix.removesuffix("decoder.")
    for name in SAME:
        if (other := drawn.tensors.get(beside + name)) is None:
            continue
        own = stored.tensors[VQ + name][1].float()
        theirs = other[1].float()
        # One may be the other rounded to bfloat16.
        if own.shape != theirs.shape or not torch.allclose(own, theirs, rtol=0.01, atol=1e-6):
            raise CheckpointError(
                f"{other[0]}, which policy.decoder names, has another {name} than {stored.where}: it "
                "draws the codes of another image tokenizer; name the decoder of this one."
            )
