"""Writes what checkpoints are made of.

Invariant: an error of the system is told as an OSError, and of a folder that held another checkpoint no
small file is left.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor

SHARD = "5GB"
"""The most that a file of transformers' layout has."""


def save_small(folder: Path, names: Iterable[str], files: Mapping[str, bytes]) -> None:
    """Writes those of the files `names` that are in `files`, and removes the others. Raises OSError."""
    for name in names:
        if name in files:
            (folder / name).write_bytes(files[name])
        else:  # of another checkpoint
            (folder / name).unlink(missing_ok=True)


def remove(folder: Path, *patterns: str) -> None:
    """Removes the files of another checkpoint that match: beside what is written they would be read too."""
    for pattern in patterns:
        for file in folder.glob(pattern):
            file.unlink()


def save_tensors(file: Path, tensors: Mapping[str, Tensor]) -> None:
    """Raises OSError."""
    whole = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    with _system_errors(file):
        save_file(whole, file, metadata={"format": "pt"})


def save_net(
    folder: Path,
    net: Any,
    tensors: dict[str, Tensor],
    names: Iterable[str],
    files: Mapping[str, bytes],
) -> None:
    """Makes the folder, and writes there in transformers' layout these tensors, the small files as
    `save_small` does, and the configuration of `net`, one of its models with a head of words. Raises
    OSError."""
    from huggingface_hub import save_torch_state_dict

    folder.mkdir(parents=True, exist_ok=True)
    with _system_errors(folder):
        save_torch_state_dict(tensors, folder, max_shard_size=SHARD)
    save_small(folder, names, files)
    config = copy.deepcopy(net.config)
    config.dtype, config.architectures = net.lm_head.weight.dtype, [type(net).__name__]
    config.save_pretrained(folder)


@contextmanager
def _system_errors(where: Path) -> Iterator[None]:
    try:
        yield
    except SafetensorError as error:  # which tells the system's error in words alone
        number = re.search(r"os error (\d+)", str(error))
        raise OSError(int(number[1]) if number else 0, str(error), str(where)) from error
