"""How large a model is, before any of its weights is read.

Invariant: a footprint follows from a model's architecture and the dtype of its replicas alone, and
says nothing of a run: how much memory that makes is worked out where the run's settings are known.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from torch import nn

from policies.errors import ConfigError, describe

ELEMENT_BYTES = {"float32": 4, "bfloat16": 2}
INSTRUCTION = 384
"""Tokens of the longest instruction of the json templates, which has 1,111 characters."""
TEXT_BYTES = 2**10
"""Of what is stored with a drawing beside its pixels and codes: judgement, seeds, checksums."""


@dataclass(frozen=True)
class Footprint:
    """Numbers of parameters and elements, of tokens, and where it says so of bytes.

    `trained` of the `parameters` are learned and published; `gathered` of those a training worker
    holds whole at a time: what is in no FSDP unit, and two units. `active` parameters are in the
    layers that a token passes through, in a mixture of transformers those of one expert. Each of the `layers` keeps
    `layer_elements` of a token for its gradient; `words` and `codes` are the kinds of text and
    image tokens. `instruction` is the longest one assumed, in tokens, without the prompt and the
    picture in it.
    `workspace_bytes` is what a replica needs beside weights and cache. `adapter` parameters learn
    for each rank of adapters (0: the family has none). A picture that is read takes `seen` tokens
    (0: as many as a drawing), one that is redrawn `redrawn` more than a drawing, and a token of a
    drawing shows `token_side` pixels each way (0: drawings have one size). `step_elements` are those
    of each token while all drawings of a task pass forward whole, as a flow's do (0: they do not). A
    plan of at most `plan` tokens comes before a drawing.
    """

    parameters: int
    trained: int
    active: int
    gathered: int
    layers: int
    hidden: int
    layer_elements: int
    words: int
    codes: int
    drawing: int
    instruction: int
    cache_bytes: int
    drawing_bytes: int
    workspace_bytes: int
    adapter: int = 0
    devices: tuple[str, ...] = ("cpu", "cuda")
    seen: int = 0
    redrawn: int = 0
    token_side: int = 0
    step_elements: int = 0
    plan: int = 0


def parameters_of(module: nn.Module) -> int:
    return sum(weight.numel() for weight in module.parameters())


def unsized(folder: Path, known: Iterable[str]) -> ConfigError:
    """Why nobody can say how large the model is whose folder is not there: its name is not `known`."""
    return ConfigError(
        f"policy.path is {describe(str(folder))}: there is nothing to say how large it is, and "
        f"its name is none of {', '.join(known)}; give the folder of a checkpoint, or name it so"
    )


def named(folder: Path, known: Path) -> Path:
    """What the folder `known` has, in a file or a folder, of the public model that `folder`, which is not
    there, is named after. Raises ConfigError where that is none."""
    names = {path.name.removesuffix(".json"): path for path in known.iterdir()}
    if (name := folder.absolute().name) not in names:
        raise unsized(folder, sorted(names))
    return names[name]


def stored_drawing(side: int, codes: int) -> int:
    """Bytes of a judged drawing in a segment, at most: pixels that PNG could not shrink, int32
    codes and text, in whole KiB."""
    most = side * side * 3 + 4 * codes + TEXT_BYTES
    return -(-most // 1024) * 1024


def decoder_layer(hidden: int, keys: int, inner: int) -> int:
    """Elements that a decoder layer keeps of a token: its norms' and projections' inputs and
    outputs, keys and values of `keys` elements each, and four times the inner width."""
    return 8 * hidden + 2 * keys + 4 * inner
