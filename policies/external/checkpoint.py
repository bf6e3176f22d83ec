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

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from policies.external import decoder, language, pipeline
from policies.external.bridge import Bridge
from policies.external.config import BRIDGE, FIX, BridgeConfig, read, written
from policies.external.decoder import Decoder
from policies.external.language import Small
from policies.external.pipeline import INDEX, Described
from policies.external.vision import Vision, measured
from policies.external.wording import Wording
from policies.interface import CheckpointError
from policies.stored_tensors import Source, assembled, check, opened

LANGUAGE, PIPELINE, WEIGHTS = "language", "pipeline", "bridge.safetensors"
PROJECT = "project."
"""Prefix of what maps embeddings to the pipeline's conditioning, which is frozen."""
HELD = ("*.safetensors", "*.safetensors.index.json")
"""The weights of a component, as they are read."""
UNREAD = (
    "*.bin", "*.bin.index.json", "*.ckpt", "*.pt", "*.pth", "*.msgpack", "*.h5", "*.onnx", "*.fp16.*",
    "*.non_ema*", ".*",
)  # fmt: skip
"""What public folders hold besides, in other formats, and what nobody here reads."""


@dataclass(frozen=True)
class Loaded:
    """`folder` is where it came from; `net` is transformers' model, in eval mode, of which `vision`
    holds the frozen part."""

    folder: Path
    config: BridgeConfig
    net: Any
    bridge: Bridge
    vision: Vision
    decoder: Decoder
    wording: Wording


def read_small(folder: Path) -> tuple[BridgeConfig, Small, Described]:
    """All but the weights. Raises CheckpointError, ConfigError."""
    config = read(folder)
    small = language.read_small(folder / LANGUAGE)
    described = pipeline.described(folder / PIPELINE)
    require_fit(folder, config, small, described)
    return config, small, described


def require_fit(folder: Path, config: BridgeConfig, small: Small, described: Described) -> None:
    """Raises CheckpointError unless the bridge fits both of its ends."""
    hidden, width = small.text.hidden_size, described.width
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
        rows, columns = measured(
            small.config, small.processor, small.gridded, config.side, config.side
        )
        if rows * columns != config.slots:
            raise CheckpointError(
                f"{folder / BRIDGE} has slots={config.slots}, but the encoder in {folder / LANGUAGE} has "
                f"{rows * columns} features of a picture of side={config.side}; {FIX}."
            )


def load(folder: Path, dtype: torch.dtype = torch.float32) -> Loaded:
    """The checkpoint in `folder`, its weights in `dtype`, whatever they were. Raises
    CheckpointError, ConfigError."""
    config, small, described = read_small(folder)
    wording = Wording(small.chat, str(folder / LANGUAGE))
    bridge, project = _bridge(folder, config, dtype)
    net = language.load(small, dtype)
    vision = Vision(net, small.processor, small.gridded)
    drawing = decoder.load(described, config, dtype, project)
    return Loaded(folder, config, net, bridge, vision, drawing, wording)


def save(folder: Path, loaded: Loaded) -> None:
    """Raises OSError."""
    folder.mkdir(parents=True, exist_ok=True)
    save_language(loaded.net, loaded.folder / LANGUAGE, folder / LANGUAGE)
    learned = loaded.config.decoder == "learned"
    component = loaded.decoder.described.denoiser
    copied(loaded.folder / PIPELINE, folder / PIPELINE)
    if learned:
        _emptied(folder / PIPELINE / component)
        loaded.decoder.denoiser.save_pretrained(folder / PIPELINE / component)
    save_bridge(folder, loaded.config, loaded.bridge, loaded.decoder.project)


def save_language(net: Any, source: Path, folder: Path) -> None:
    """The model, with all else that its public folder holds."""
    copied(source, folder)
    _emptied(folder)
    kept = {file.name: file.read_bytes() for file in folder.iterdir() if file.is_file()}
    net.save_pretrained(folder)
    for name, data in kept.items():  # but for what describes the very weights
        if name != language.CONFIG:
            (folder / name).write_bytes(data)


def save_bridge(
    folder: Path, config: BridgeConfig, bridge: Bridge, project: nn.Linear | None
) -> None:
    tensors = _named(bridge, project)
    save_file(
        {name: tensor.detach().cpu().contiguous() for name, tensor in tensors}, folder / WEIGHTS
    )
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

    shutil.copytree(source, folder, ignore=unread, dirs_exist_ok=True)


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


def _emptied(folder: Path) -> None:
    for pattern in HELD:
        for file in folder.glob(pattern):
            file.unlink()
