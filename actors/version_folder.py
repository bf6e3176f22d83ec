"""The published weight versions on the disk: a public checkpoint each, and its digest beside it.

Invariant: a folder such as `00007` is whole and durable, and its weights hash to what its digest
file says: it is written aside and appears by one rename. Version 0 is the policy that the run
started from, wherever that lies.
"""

from __future__ import annotations

import secrets
import shutil
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path

import numpy as np

from actors import durable
from actors.digests import DigestMismatch, digest
from actors.events import note_start
from policies.config import PolicyConfig
from policies.errors import UserError, brief
from policies.interface import CheckpointError, Policy
from policies.registry import load_policy

VERSIONS = "versions"
DIGEST = "digest.txt"


class VersionDamaged(UserError, ValueError):
    """A version on the disk that is not what was published; the message names its folder."""


class VersionFolder:
    """The versions of the run in `run_folder`, which started from `base`."""

    def __init__(self, run_folder: str | Path, base: PolicyConfig) -> None:
        self.folder = durable.locate(run_folder) / VERSIONS
        self._base = base

    def opened(self) -> None:
        """The weight store starts with what is here."""
        note_start(self.folder.parent, "weight store")

    def path(self, version: int) -> Path:
        return self.folder / f"{version:05d}"

    def versions(self) -> list[int]:
        """Those that can be read, in order."""
        names = (path.name for path in self.folder.glob("[0-9]*") if path.name.isdigit())
        return [0, *sorted(map(int, names))]

    def read(self, version: int) -> tuple[dict[str, np.ndarray], str]:
        """Its weights and their digest. Raises VersionDamaged if they are not what was published."""
        if version == 0:
            weights = load_policy(self._base).weights()
            return weights, digest(weights)
        try:
            weights = type(self._policy).from_pretrained(self.path(version)).weights()
        except CheckpointError as error:
            fault = f"holds no weights that can be read ({brief(error)})"
            raise self._damaged(version, fault) from error
        stated, measured = self._stated(version), digest(weights)
        if stated != measured:
            fault = f"holds weights that hash to {measured}, published were {stated}"
            raise self._damaged(version, fault)
        return weights, measured

    def write(self, version: int, weights: Mapping[str, np.ndarray], measured: str) -> None:
        """Durable when it returns; `measured` is their digest. The same weights again are a no-op.
        Raises DigestMismatch for others than those that are there, and OSError."""
        if version == 0:
            return
        path = self.path(version)
        if path.exists():
            if self._stated(version) != measured:
                raise DigestMismatch(
                    f"{path} holds weights v{version} with digest {self._stated(version)}, and "
                    f"{measured} cannot take their place: publish them under another version"
                )
            durable.sync(path.parent)  # who made it may have died before that
            return
        durable.make_folder(self.folder)
        aside = path.with_suffix(f".{secrets.token_hex(4)}.tmp")  # two writers differ
        try:
            self._save(aside, weights, measured)
            aside.rename(path)
        finally:
            shutil.rmtree(aside, ignore_errors=True)
        durable.sync(path.parent)

    def _save(self, aside: Path, weights: Mapping[str, np.ndarray], measured: str) -> None:
        aside.mkdir()
        self._policy.load_weights(weights)
        self._policy.save_pretrained(aside)
        (aside / DIGEST).write_text(measured + "\n")
        for written in (*aside.iterdir(), aside):
            durable.sync(written)

    @cached_property
    def _policy(self) -> Policy:
        return load_policy(self._base)

    def _stated(self, version: int) -> str:
        try:
            return (self.path(version) / DIGEST).read_text().strip()
        except OSError as error:
            raise self._damaged(version, f"has no {DIGEST} ({error.strerror})") from error

    def _damaged(self, version: int, fault: str) -> VersionDamaged:
        return VersionDamaged(
            f"{self.path(version)} {fault}: restore it from a copy, or delete it and resume the "
            "run to have it published again from its checkpoint (of the two newest versions)"
        )
