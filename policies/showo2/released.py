"""The sizes that the small files and the shapes of the tensors of a released folder say.

Invariant: a Showo2Config that is given out can be built, and what would be computed otherwise than
Show-o2 does is refused. Where both say something, the tensors decide.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from policies.flowing.config import LanguageConfig, VisionConfig, read_language
from policies.interface import CheckpointError
from policies.showo2.config import LATENTS, LEVELS, AutoencoderConfig, HeadConfig, Showo2Config
from policies.small_files import PUBLISHED, ConfigFile, opened_config

LANGUAGE, WHOLE = "llm_config.json", "config.json"
AUTOENCODER = "Wan2.1_VAE.pth"
OURS, SEMANTIC_HEADS = "unicorn_ray", 16
"""A model whose semantic layers have other heads than SigLIP's says so under OURS in config.json."""

Shapes = Mapping[str, tuple[int, ...]]

FIXED: dict[str, dict[str, object]] = {
    LANGUAGE: {
        "model_type": "qwen2",
        "hidden_act": "silu",
        "rope_scaling": None,
        "use_sliding_window": False,
        "attention_dropout": 0,
    },
    WHOLE: {"add_time_embeds": True, "image_latent_dim": LATENTS},
}


@dataclass(frozen=True)
class _Tensors:
    file: Path
    shapes: Shapes

    def side(self, name: str, place: int, sides: int) -> int:
        """A side of a tensor that has so many. Raises CheckpointError."""
        shape = self.shapes.get(name, ())
        if len(shape) != sides or 0 in shape:
            raise CheckpointError(
                f"{self.file} has no tensor {name} of {sides} sides; {PUBLISHED}."
            )
        return shape[place]

    def numbered(self, pattern: str) -> int:
        """How many numbers the names have where the pattern's group is."""
        return len({found[1] for name in self.shapes if (found := re.match(pattern, name))})

    def ratio(self, sides: tuple[int, int], what: str) -> int:
        whole, part = sides
        if whole % part:
            raise CheckpointError(
                f"{self.file} has {what} of {whole} rows, no multiple of {part}; {PUBLISHED}."
            )
        return whole // part


def read_config(
    folder: Path, model: tuple[Path, Shapes], autoencoder: tuple[Path, Shapes]
) -> Showo2Config:
    """The configuration of a folder whose files of weights have tensors of these shapes. Raises
    CheckpointError."""
    spoken = opened_config(folder / LANGUAGE, FIXED[LANGUAGE], "Show-o2")
    whole = opened_config(folder / WHOLE, FIXED[WHOLE], "Show-o2")
    tensors = _Tensors(*model)
    language = _language(spoken, whole, tensors)
    patch = whole.size("patch_size", 2, 64)
    sides = [whole.size(f"image_latent_{name}", None, 1024) for name in ("height", "width")]
    whole.require("image_latent_width", sides[1], sides[0] == sides[1], "drawings are squares")
    tied = spoken.fields.get("tie_word_embeddings", False)
    spoken.require("tie_word_embeddings", tied, isinstance(tied, bool), "it must be true or false")
    return Showo2Config(
        language=language,
        semantic=_semantic(whole, tensors),
        head=_head(whole, tensors),
        autoencoder=_autoencoder(_Tensors(*autoencoder)),
        latent_patch=patch,
        own_side=sides[0],
        tied=tied,
    )


def _language(spoken: ConfigFile, whole: ConfigFile, tensors: _Tensors) -> LanguageConfig:
    read = read_language(spoken)
    rows = tensors.side("showo.model.embed_tokens.weight", 0, 2)
    width = whole.size("hidden_size", read.hidden_size)
    needed = f"{LANGUAGE} has hidden_size={read.hidden_size}"
    whole.require("hidden_size", width, width == read.hidden_size, needed)
    return replace(read, vocab_size=rows, experts=("",), qk_norm=False)


def _semantic(whole: ConfigFile, tensors: _Tensors) -> VisionConfig | None:
    """None where neither the file nor the tensors have any."""
    layers = tensors.numbered(r"und_trans\.layers\.(\d+)\.")
    if whole.fields.get("clip_latent_dim", 1152) == 0:
        return None
    width, places = (
        tensors.side("position_embedding.weight", 1, 2),
        tensors.side("position_embedding.weight", 0, 2),
    )
    said = whole.size("clip_latent_dim", 1152)
    whole.require("clip_latent_dim", said, said == width, f"{tensors.file.name} has {width}")
    own = whole.fields.get(OURS, {})
    heads = own.get("semantic_heads", SEMANTIC_HEADS) if isinstance(own, dict) else None
    fits = type(heads) is int and heads > 0 and width % heads == 0
    whole.require(f"{OURS}.semantic_heads", heads, fits, f"it must divide the width {width}")
    side = round(places**0.5)
    if side**2 != places:
        raise CheckpointError(
            f"{tensors.file} has a position_embedding of {places} rows, which is no square; {PUBLISHED}."
        )
    assert isinstance(heads, int)
    return VisionConfig(
        hidden_size=width,
        intermediate_size=tensors.side("und_trans.layers.0.mlp.fc1.weight", 0, 2),
        layers=layers, heads=heads, patch=1, side=side, norm_eps=1e-6,
    )  # fmt: skip


def _head(whole: ConfigFile, tensors: _Tensors) -> HeadConfig:
    width = tensors.side("diffusion_head_b.linear.weight", 1, 2)
    layers = tensors.numbered(r"diffusion_head_a\.(\d+)\.")
    said = whole.fields.get("num_diffusion_layers", 10)
    whole.require("num_diffusion_layers", said, said == layers, f"{tensors.file.name} has {layers}")
    if not layers:
        return HeadConfig(width, 0, 0, 0, 0, 0)
    first = "diffusion_head_a.0."
    wide = tensors.side(f"{first}self_attn.q_norm.weight", 0, 1)
    heads, kv_heads = (
        tensors.ratio((tensors.side(f"{first}self_attn.{n}_proj.weight", 0, 2), wide), f"{n}_proj")
        for n in "qk"
    )
    tensors.ratio((heads, kv_heads), "the flow head's queries")
    tensors.ratio((wide, 2), "the flow head's q_norm")
    inner = tensors.side(f"{first}mlp.gate_proj.weight", 0, 2)
    return HeadConfig(width, inner, layers, heads, kv_heads, wide)


def _autoencoder(tensors: _Tensors) -> AutoencoderConfig:
    """What the shapes of its tensors say: no released file says it."""
    parts = tensors.numbered(r"encoder\.downsamples\.(\d+)\.")
    blocks = (parts - (len(LEVELS) - 1)) // len(LEVELS)
    if blocks < 1 or parts > 256:
        raise CheckpointError(
            f"{tensors.file} has {parts} parts in encoder.downsamples, too few or too many for the "
            f"{len(LEVELS)} levels of Wan2.1; {PUBLISHED}."
        )
    width = tensors.side("encoder.conv1.weight", 0, 5)
    tensors.ratio((width, 2), "encoder.conv1.weight")
    return AutoencoderConfig(width, blocks)
