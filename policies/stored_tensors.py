"""The tensors of a checkpoint, however they were cut into files.

Invariant: opening asks for no memory: tensors are mapped from their files, and only `assembled`,
after every name, shape and dtype was found right, copies them.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open

from policies.errors import describe, one_line, printable
from policies.interface import CheckpointError
from policies.named_tensors import require_finite, require_names

AGAIN = "copy it again from a complete checkpoint"
# As transformers looks for them: the first that there is holds the weights.
NAMES = (
    "model.safetensors",
    "model.safetensors.index.json",
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
)
DTYPES = (torch.float32, torch.bfloat16, torch.float16)


@dataclass(frozen=True)
class Source:
    """Where a tensor of the net comes from: the whole of a stored one, or a third of its rows. A
    `count` is a whole number and stays one."""

    name: str
    shape: tuple[int, ...]
    third: int | None = None
    count: bool = False


@dataclass(frozen=True)
class Stored:
    """The tensors of a folder by name, each with its file; `where` is the file that lists them."""

    where: Path
    tensors: dict[str, tuple[Path, torch.Tensor]]


def opened(folder: Path, names: Sequence[str] = NAMES) -> Stored:
    """The tensors of `folder`, in the first of the files `names` that is there (a .json is the index
    of several): mapped, but not read. Raises CheckpointError."""
    where = next((folder / name for name in names if (folder / name).exists()), None)
    if where is None:
        raise CheckpointError(
            f"{folder} has no weights: none of {', '.join(names)}; copy them into it."
        )
    tensors: dict[str, tuple[Path, torch.Tensor]] = {}
    for file in _shards(where) if where.suffix == ".json" else [where]:
        found = _mapped(file)
        if twice := sorted(found.keys() & tensors):
            raise CheckpointError(
                f"{file} has {printable(twice[0])}, which {tensors[twice[0]][0].name} has too; {AGAIN}."
            )
        tensors |= {name: (file, tensor) for name, tensor in found.items()}
    return Stored(where, tensors)


def _shards(index: Path) -> list[Path]:
    try:
        names = set(json.loads(index.read_bytes())["weight_map"].values())
        files = [index.parent / name for name in sorted(names)]
    except OSError as error:
        raise CheckpointError(f"{index} cannot be read ({error.strerror}); {AGAIN}.") from error
    except (ValueError, RecursionError, KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(
            f"{index} is not the index of a checkpoint ({one_line(error)}); {AGAIN}."
        ) from error
    for file in files:
        if file.parent != index.parent or file.name in ("", "..") or not file.name.isprintable():
            raise CheckpointError(
                f"{index} has {describe(str(file))} in its weight_map, which is no file of its own "
                f"folder; {AGAIN}."
            )
    return files


def _mapped(file: Path) -> dict[str, torch.Tensor]:
    read: Callable[[Path], dict[str, torch.Tensor]]
    read = _safetensors if file.suffix == ".safetensors" else _pickled
    try:
        if not file.is_file():  # a pipe would be waited for
            what = "no file" if file.exists() else "missing"
            raise CheckpointError(f"{file} is {what}; {AGAIN}.")
        return read(file)
    except OSError as error:
        reason = error.strerror or one_line(error)
        raise CheckpointError(f"{file} cannot be read ({reason}); {AGAIN}.") from error


def _safetensors(file: Path) -> dict[str, torch.Tensor]:
    try:
        with safe_open(file, "pt") as stream:
            return {name: stream.get_tensor(name) for name in stream.keys()}  # noqa: SIM118
    except (SafetensorError, ValueError, RuntimeError, TypeError, AttributeError) as error:
        raise CheckpointError(
            f"{file} is truncated or damaged ({one_line(error)}); {AGAIN}."
        ) from error


def _pickled(file: Path) -> dict[str, torch.Tensor]:
    try:
        found = torch.load(file, map_location="cpu", weights_only=True, mmap=True)
    except OSError:
        raise
    except Exception as error:  # whatever a damaged archive or pickle leads to
        raise CheckpointError(
            f"{file} is truncated or damaged ({one_line(error)}); {AGAIN}."
        ) from error
    size = file.stat().st_size
    if isinstance(found, dict) and isinstance(found.get("state_dict"), dict):
        found = found["state_dict"]  # what Lightning saves, as vqgan.ckpt
    if not isinstance(found, dict) or not all(_plain(*item, size) for item in found.items()):
        raise CheckpointError(f"{file} holds something else than named tensors; {AGAIN}.")
    return found


def _plain(name: object, tensor: object, size: int) -> bool:
    """Whether a pickled item of a file of `size` bytes is a named tensor: a pickle can also hold
    tensors without memory, or larger than their memory."""
    return (
        isinstance(name, str)
        and isinstance(tensor, torch.Tensor)
        and (tensor.layout, tensor.device.type) == (torch.strided, "cpu")
        and not tensor.is_quantized
        and tensor.nbytes <= size
    )


def check(
    stored: Stored,
    sources: Mapping[str, Source],
    ignored: re.Pattern[str] | None,
    described: str = "config.json",
) -> None:
    """Raises CheckpointError unless there is just what `sources` need, but for what is `ignored`; the
    file `described` says what that is."""
    wanted = {source.name: source for source in sources.values()}
    found = {name for name in stored.tensors if ignored is None or not ignored.match(name)}
    require_names(
        str(stored.where), found, wanted, f"use the weights that belong to this {described}"
    )
    for name, source in wanted.items():
        file, tensor = stored.tensors[name]
        allowed = (torch.int64,) if source.count else DTYPES
        if tuple(tensor.shape) != source.shape or tensor.dtype not in allowed:
            kinds = "int64" if source.count else "float32, bfloat16 or float16"
            raise CheckpointError(
                f"{file} has {name} of shape {tuple(tensor.shape)} and dtype {tensor.dtype}, but "
                f"{described} asks for {source.shape} in {kinds}; use the weights that belong to it."
            )


@torch.no_grad()  # a pickle may hold parameters
def assembled(
    stored: Stored,
    sources: Mapping[str, Source],
    blank: Mapping[str, torch.Tensor],
    dtype: torch.dtype,
) -> dict[str, torch.Tensor]:
    """Copies of the stored tensors in `dtype` (counts in int64), with the names and shapes of `blank`.
    Raises CheckpointError where one has values that are not finite."""
    made = {}
    for name, source in sources.items():
        file, tensor = stored.tensors[source.name]
        if source.third is not None:
            tensor = tensor.chunk(3)[source.third]
        kind = torch.int64 if source.count else dtype
        made[name] = torch.empty(blank[name].shape, dtype=kind).copy_(
            tensor.reshape(blank[name].shape)
        )
        require_finite(file, source.name, made[name], AGAIN)
    return made


def shapes_of(stored: Stored) -> dict[str, tuple[int, ...]]:
    return {name: tuple(tensor.shape) for name, (_, tensor) in stored.tensors.items()}


def weights_for(
    stored: Stored, module: torch.nn.Module, dtype: torch.dtype, optional: Sequence[str] = (),
    ignored: re.Pattern[str] | None = None,
) -> dict[str, torch.Tensor]:  # fmt: skip
    """The stored state of `module` in `dtype`; the file may lack what is `optional`, and have more that
    is `ignored`. Raises CheckpointError unless all else is there, and nothing more."""
    blank = {
        name: tensor
        for name, tensor in module.state_dict().items()
        if name not in optional or name in stored.tensors
    }
    sources = {name: Source(name, tuple(tensor.shape)) for name, tensor in blank.items()}
    check(stored, sources, ignored)
    return assembled(stored, sources, blank, dtype)
