"""Files that are whole or not there.

Invariant: `write` returns when the file is on the disk under its name, complete; if it raises
or the machine dies, that name holds what it held before or all of the new file, and at most a
`*.tmp` beside it is left. All access goes through pyarrow's filesystem layer, so that a bucket
(one PUT, no rename) can be added here alone.
"""

from __future__ import annotations

import os
import secrets
from contextlib import suppress
from pathlib import Path

from pyarrow import fs

LEFTOVER = ".tmp"
TORN = ".torn"
FILES = fs.LocalFileSystem()


def locate(folder: str | Path) -> Path:
    """The absolute path of `folder`."""
    if "://" in str(folder):
        raise ValueError(
            f"folder {folder} is an address: use the path of a local or mounted folder, buckets "
            f"are not supported yet"
        )
    return Path(folder).absolute()


def write(path: Path, data: bytes) -> None:
    """Writes aside, syncs the file, renames it to `path`, syncs the folder. Raises OSError."""
    make_folder(path.parent)
    aside = path.with_name(f"{path.name}.{secrets.token_hex(4)}{LEFTOVER}")  # two writers differ
    try:
        with FILES.open_output_stream(str(aside)) as stream:
            stream.write(data)
        sync(aside)
        FILES.move(str(aside), str(path))
    except OSError:
        aside.unlink(missing_ok=True)
        raise
    sync(path.parent)


def set_aside(path: Path) -> Path:
    """Renames `path` to `<name>.torn` beside it, for good when it returns. Raises OSError."""
    aside = path.with_name(path.name + TORN)
    FILES.move(str(path), str(aside))
    sync(path.parent)
    return aside


def read(path: Path) -> bytes:
    with FILES.open_input_stream(str(path)) as stream:
        return bytes(stream.read())


def make_folder(path: Path) -> None:
    """Creates `path` and its parents so that they outlive a power failure."""
    if path.is_dir():
        # Who made it may have died before syncing the folder above; not so if that is closed to us.
        with suppress(PermissionError):
            sync(path.parent)
        return
    make_folder(path.parent)
    FILES.create_dir(str(path), recursive=False)
    sync(path.parent)


def files(folder: Path) -> list[Path]:
    """All files under `folder`, sorted; none if it does not exist."""
    found = FILES.get_file_info(fs.FileSelector(str(folder), recursive=True, allow_not_found=True))
    return sorted(Path(info.path) for info in found if info.type == fs.FileType.File)


def sync(path: Path) -> None:
    """Returns once what `path`, a file or a folder, holds would outlive a power failure."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
