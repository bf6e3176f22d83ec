"""The folder of a checkpoint: the language model's public layout in `language`, the pipeline's in
`pipeline`, and the bridge between them beside both.

Invariant: a folder is read whole or refused with one sentence that names the file, and whether the
three fit each other is asked before any weight is read.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from policies.errors import describe
from policies.external import decoder, pipeline
from policies.external.bridge import Bridge
from policies.external.config import BRIDGE, FIX, BridgeConfig, read, written
from policies.external.decoder import Decoder
from policies.external.pipeline import INDEX, Described
from policies.interface import CheckpointError, Picture
from policies.saving import remove, save_tensors
from policies.stored_tensors import Source, assembled, check, opened
from policies.vision_language import checkpoint as vision_language
from policies.vision_language.checkpoint import CONFIG, Small
from policies.vision_language.seeing import Eye

LANGUAGE, PIPELINE, WEIGHTS = "language", "pipeline", "bridge.safetensors"
READ = ("llava", "qwen2_vl", "qwen2_5_vl")
"""Language models that are read, by model_type: pictures enter them as embeddings at one token of the text
and nowhere else, for that is what `policies.external.module` computes."""
PROJECT = "project."
"""Prefix of what maps embeddings to the pipeline's conditioning, which is frozen."""
HELD = ("*.safetensors", "*.safetensors.index.json")
"""The weights of a model, or of a component of a pipeline."""
UNREAD = (
    "*.bin", "*.bin.index.json", "*.ckpt", "*.pt", "*.pth", "*.msgpack", "*.h5", "*.onnx", "*.fp16.*",
    "*.non_ema*", ".*",
)  # fmt: skip
"""What public folders hold besides, in other formats, and what nobody here reads."""


@dataclass(frozen=True)
class Loaded:
    """`folder` is where it came from."""

    folder: Path
    config: BridgeConfig
    language: vision_language.Loaded
    bridge: Bridge
    decoder: Decoder


def read_small(folder: Path) -> tuple[BridgeConfig, Small, Described]:
    """All but the weights. Raises CheckpointError, ConfigError."""
    config, small = read(folder), read_language(folder / LANGUAGE)
    described = pipeline.described(folder / PIPELINE)
    require_fit(folder, config, small, described)
    return config, small, described


def read_language(folder: Path) -> Small:
    """Of a language model's own folder all but the weights. Raises CheckpointError."""
    language_config(folder)
    return vision_language.read_small(folder)


def language_config(folder: Path) -> Any:
    """Its configuration, of transformers. Raises CheckpointError."""
    stated = vision_language.fields_in(folder)
    if stated.get("model_type") not in READ:
        raise CheckpointError(
            f"{folder / CONFIG} is of model_type {describe(stated.get('model_type'))}; family external reads "
            f"vision-language models of {', '.join(READ)}."
        )
    return vision_language.config_of(folder / CONFIG, stated)


def features(eye: Eye, side: int) -> int:
    """How many a picture of so many pixels each way has."""
    return eye.count(Picture(np.zeros((side, side, 3), np.uint8)))


def require_fit(folder: Path, config: BridgeConfig, small: Small, described: Described) -> None:
    """Raises CheckpointError unless the bridge fits both of its ends."""
    hidden, width = small.config.get_text_config().hidden_size, described.width
    if config.hidden != hidden:
        raise CheckpointError(
            f"{folder / LANGUAGE} has hidden states of {hidden} numbers, but the bridge in "
            f"{folder / BRIDGE} reads {config.hidden}; use the language model that it was made for."
        )
    if config.width != width:
        raise CheckpointError(
            f"{folder / PIPELINE} is conditioned on embeddings of {width} numbers, but the bridge in "
            f"{folder / BRIDGE} gives {config.width}; use the pipeline that it was made for."
        )
    if config.kind == "embeddings":
        seen = features(small.eye, config.side)
        if seen != config.slots:
            raise CheckpointError(
                f"{folder / BRIDGE} has slots={config.slots}, but the encoder in {folder / LANGUAGE} has "
                f"{seen} features of a picture of side={config.side}; {FIX}."
            )


def load(folder: Path, dtype: torch.dtype = torch.float32) -> Loaded:
    """The checkpoint in `folder`, its weights in `dtype`, whatever they were. Raises
    CheckpointError, ConfigError."""
    config, _, described = read_small(folder)
    bridge, project = _bridge(folder, config, dtype)
    told = vision_language.load(folder / LANGUAGE, dtype)
    drawing = decoder.load(described, config, dtype, project)
    return Loaded(folder, config, told, bridge, drawing)


def save(folder: Path, loaded: Loaded) -> None:
    """Raises OSError."""
    folder.mkdir(parents=True, exist_ok=True)
    vision_language.save(folder / LANGUAGE, loaded.language)
    learned = loaded.config.decoder == "learned"
    component = loaded.decoder.described.denoiser
    copied(loaded.folder / PIPELINE, folder / PIPELINE)
    if learned:
        remove(folder / PIPELINE / component, *HELD)
        loaded.decoder.denoiser.save_pretrained(folder / PIPELINE / component)
    save_bridge(folder, loaded.config, loaded.bridge, loaded.decoder.project)


def save_bridge(
    folder: Path, config: BridgeConfig, bridge: Bridge, project: nn.Linear | None
) -> None:
    save_tensors(folder / WEIGHTS, dict(_named(bridge, project)))
    (folder / BRIDGE).write_text(written(config))


def copied(source: Path, folder: Path) -> None:
    """A public folder of transformers or diffusers without what nobody here reads: other formats of
    weights that are there in safetensors, and whole pipelines in one file."""
    if source.resolve() == folder.resolve():
        return
    of_pipeline, other = (source / INDEX).exists(), shutil.ignore_patterns(*UNREAD)

    def unread(inside: str, names: list[str]) -> set[str]:
        held = {name for name in names if name.endswith(".safetensors")}
        skipped = set(other(inside, names))
        if not held - skipped:
            return {name for name in skipped if name.startswith(".")}
        return skipped | (held if of_pipeline and Path(inside) == source else set())

    remove(folder, *(f"**/{pattern}" for pattern in HELD))
    shutil.copytree(source, folder, ignore=unread, copy_function=_anew, dirs_exist_ok=True)


def _anew(source: str, target: str) -> None:
    """Not into the file that is there: a policy of that folder may have it mapped as its weights."""
    Path(target).unlink(missing_ok=True)
    shutil.copy2(source, target)


def fresh(config: BridgeConfig) -> tuple[Bridge, nn.Linear | None]:
    """A bridge that has learned nothing, and what maps its embeddings, if it writes some."""
    project = None if config.denoises else nn.Linear(config.hidden, config.width)
    return Bridge(config), project


def _bridge(
    folder: Path, config: BridgeConfig, dtype: torch.dtype
) -> tuple[Bridge, nn.Linear | None]:
    with torch.device("meta"):  # shapes alone, until the file is seen to hold them
        bridge, project = fresh(config)
    blank = dict(_named(bridge, project))
    sources = {name: Source(name, tuple(tensor.shape)) for name, tensor in blank.items()}
    stored = opened(folder, (WEIGHTS,))
    check(stored, sources, None, BRIDGE)
    made = assembled(stored, sources, blank, dtype)
    bridge.load_state_dict(
        {n: t for n, t in made.items() if not n.startswith(PROJECT)}, assign=True
    )
    if project is not None:
        own = {n.removeprefix(PROJECT): t for n, t in made.items() if n.startswith(PROJECT)}
        project.load_state_dict(own, assign=True)
    return bridge, project


def _named(bridge: Bridge, project: nn.Linear | None) -> Iterable[tuple[str, Tensor]]:
    yield from bridge.state_dict().items()
    if project is not None:
        yield from ((PROJECT + name, tensor) for name, tensor in project.state_dict().items())
