"""The published weight versions on disk: each a public checkpoint with its digest beside it.

Invariant: a folder such as `00007` that has its digest file is whole and durable, and its weights
hash to that digest, which is written last. A version that was published in bfloat16 says so beside
its digest: the values are those of the folder, whatever dtype the family's layout holds them in.
Version 0 is the policy that the run started from, wherever that lies.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from functools import cached_property

import numpy as np

from actors.storage import sealed_folder, storage
from actors.storage.bucket import BucketSilent
from actors.storage.events import note_start
from actors.storage.paths import StoragePath, locate
from actors.weights.digests import DigestMismatch, weights_digest
from policies.checks import bfloat16_bits
from policies.config import PolicyConfig, changed
from policies.errors import UserError, one_line
from policies.interface import CheckpointError, Policy
from policies.registry import checkpoint_folder, files_digest, load_policy, policy_class

VERSIONS = "versions"
DIGEST = "digest.txt"
SHORT = "bfloat16"


class VersionDamaged(UserError, ValueError):
    """A version on disk is not what was published; the message names its folder."""


class VersionFolder:
    """The versions of the run in `run_folder`, which started from `base`."""

    def __init__(self, run_folder: str | StoragePath, base: PolicyConfig) -> None:
        self.folder = locate(run_folder) / VERSIONS
        self._base = base

    def opened(self) -> None:
        """Notes in the run's events that a weight store started."""
        note_start(self.folder.parent, "weight store")

    def path(self, version: int) -> StoragePath:
        return self.folder / f"{version:05d}"

    def name(self, version: int) -> str:
        """Returns the name of the folder of its weights."""
        return (self.path(version) if version else checkpoint_folder(self._base)).name

    def files_digest(self, version: int) -> str:
        """Returns the digest by which a checkpoint's files are known (`policies.registry`)."""
        if version == 0:
            return files_digest(self._base)
        with storage.copied(self.path(version)) as local:
            return files_digest(changed(self._base, path=str(local)))

    def versions(self) -> list[int]:
        """Returns the numbers of the versions that are whole, in order."""
        numbers = (int(name) for name in storage.names(self.folder) if name.isdigit())
        return [0, *sorted(n for n in numbers if storage.is_whole(self.path(n), DIGEST))]

    def read(self, version: int) -> tuple[dict[str, np.ndarray], str]:
        """Returns arrays and digest. Raises VersionDamaged if they are not as published."""
        if version == 0:
            weights = load_policy(self._base).weights()
            return weights, weights_digest(weights)
        try:
            with storage.copied(self.path(version)) as local:
                weights = policy_class(self._base).from_pretrained(local).weights()
                stated, short = self._stated(version)
                weights = bfloat16_bits(weights) if short else weights
        except CheckpointError as error:
            fault = f"holds no weights that can be read ({one_line(error)})"
            raise self._damaged(version, fault) from error
        measured = weights_digest(weights)
        if stated != measured:
            fault = f"holds weights that hash to {measured}, published were {stated}"
            raise self._damaged(version, fault)
        return weights, measured

    def write(self, version: int, weights: Mapping[str, np.ndarray], measured: str) -> None:
        """Stores the version durably; `measured` is its digest. The same weights again are a no-op.
        Raises DigestMismatch if the folder holds other weights, or OSError."""
        if version == 0:
            return
        path = self.path(version)
        if storage.is_whole(path, DIGEST, patience_s=0):
            stated, _ = self._stated(version)
            if stated != measured:
                raise DigestMismatch(
                    f"{path} holds weights v{version} with digest {stated}, and "
                    f"{measured} cannot take their place: publish them under another version"
                )
            storage.sync(path.parent)  # whoever wrote it may have died before syncing the folder
            return
        token = f".{secrets.token_hex(4)}"  # so that two writers never share a folder
        short = any(array.dtype == np.uint16 for array in weights.values())
        seal = f"{measured} {SHORT}\n" if short else f"{measured}\n"
        with sealed_folder.making(path, token, DIGEST, seal.encode()) as local:
            self._policy.load_weights(weights)
            self._policy.save_pretrained(local)

    @cached_property
    def _policy(self) -> Policy:
        return load_policy(self._base)

    def _stated(self, version: int) -> tuple[str, bool]:
        """The digest, and whether it is that of bfloat16."""
        try:
            words = storage.read(self.path(version) / DIGEST).decode().split()
            return " ".join(words[:1]), words[1:] == [SHORT]
        except BucketSilent:
            raise
        except OSError as error:
            why = one_line(error.strerror or error)
            raise self._damaged(version, f"has no {DIGEST} ({why})") from error

    def _damaged(self, version: int, fault: str) -> VersionDamaged:
        return VersionDamaged(
            f"{self.path(version)} {fault}: restore it from a copy, or delete it and resume the "
            "run to have it published again from its checkpoint (of the two newest versions)"
        )
