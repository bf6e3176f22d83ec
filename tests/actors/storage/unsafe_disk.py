"""A disk that does to files what a power failure may, and fails where it is told to.

Invariant: what was synced outlives a power failure. Any other name then holds one of the things
that it held since its folder was last synced, each name for itself, and a file that was not
synced is cut short anywhere. Real file systems keep more order than that, so what is safe here
is safe there.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from actors.storage import local


class Crash(BaseException):
    """The process dies here: no handler of errors may see it."""


@dataclass
class Fault:
    """Comes after `steps` more steps, before the next one is done or, if `late`, after it: an
    OSError, or the end of the process where there is no `errno`."""

    steps: int
    late: bool
    errno: int | None

    def error(self) -> BaseException:
        return Crash() if self.errno is None else OSError(self.errno, os.strerror(self.errno))


@dataclass(eq=False)
class File:
    data: bytes = b""
    synced: bool = False


FOLDER = "a folder"
State = File | str | None
Choose = Callable[[int], int]  # one of so many outcomes


class UnsafeDisk:
    """Stands in for `local.FILES`, and its `sync` for `local.sync`. The folder on the real
    disk is what a running program sees; `_past` is what each name held since it was last safe."""

    def __init__(self) -> None:
        self.fault: Fault | None = None
        self._past: dict[Path, list[State]] = {}

    @classmethod
    def installed(cls, patch: pytest.MonkeyPatch) -> UnsafeDisk:
        disk = cls()
        patch.setattr(local, "FILES", disk)
        patch.setattr(local, "sync", disk.sync)
        return disk

    @contextmanager
    def create(self, path: Path) -> Iterator[Stream]:
        file = File()
        with self._step():
            path.write_bytes(b"")
            self._became(path, file)
        yield Stream(self, path, file)

    def write(self, path: Path, file: File, data: bytes) -> None:
        with self._step():
            path.write_bytes(data)
            file.data = data

    def move(self, old: Path, new: Path) -> None:
        with self._step():
            old.replace(new)
            self._became(new, self._past[old][-1])
            self._became(old, None)

    def make_folder(self, path: Path) -> None:
        with self._step():
            path.mkdir()
            self._became(path, FOLDER)

    def sync(self, path: Path) -> None:
        with self._step():
            if not path.is_dir():
                file = self._past[path][-1]
                assert isinstance(file, File)
                file.synced = True
                return
            for name, past in self._past.items():
                if name.parent == path:
                    past[:] = [past[-1] if name.exists() else None]

    def fail_power(self, choose: Choose) -> None:
        """Leaves on the real disk what may be left."""
        past, self._past = self._past, {}
        for path, states in past.items():  # a folder comes before what is in it
            if path.parent.exists():
                self._leave(path, _kept(states[-1 - choose(len(states))], choose))

    def tear(self, path: Path, kept: int) -> None:
        """Cuts a file short that the disk had called synced."""
        self._leave(path, File(path.read_bytes()[:kept], synced=True))

    def _leave(self, path: Path, state: State) -> None:
        if isinstance(state, File):
            path.write_bytes(state.data)
        elif state is None and path.is_dir():
            shutil.rmtree(path)
        elif state is None:
            path.unlink(missing_ok=True)
        self._past[path] = [state]

    def _became(self, path: Path, state: State) -> None:
        self._past.setdefault(path, [None]).append(state)

    @contextmanager
    def _step(self) -> Iterator[None]:
        fault = self._due()
        if fault is not None and not fault.late:
            raise fault.error()
        yield
        if fault is not None:
            raise fault.error()

    def _due(self) -> Fault | None:
        """The fault that hits this step; it hits no other."""
        fault = self.fault
        if fault is None:
            return None
        fault.steps -= 1
        if fault.steps >= 0:
            return None
        self.fault = None
        return fault


def _kept(state: State, choose: Choose) -> State:
    if isinstance(state, File) and not state.synced:
        return File(state.data[: choose(len(state.data) + 1)], synced=True)
    return state


@dataclass
class Stream:
    disk: UnsafeDisk
    path: Path
    file: File

    def write(self, data: bytes) -> None:
        self.disk.write(self.path, self.file, data)
