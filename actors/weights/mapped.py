"""The weights that one replica has mapped, with a check that nothing wrote to them.

Invariant: a replica works with the published arrays, mapped and never copied; a write to them is
noticed at the next change of version.
"""

from __future__ import annotations

from typing import Any, Protocol

from actors.retry import ANSWER_S
from actors.weights.digests import Arrays, weights_digest
from actors.weights.store import fetch
from policies.errors import UserError


class WeightsTampered(UserError, RuntimeError):
    """Mapped weights differ from what was published; the message names version and replica."""


class TakesWeights(Protocol):
    """The part of a policy that the weight store needs."""

    def load_weights(self, weights: Arrays) -> None: ...


class MappedWeights:
    """The weights that one replica has mapped now. `store` is the weight store's actor."""

    def __init__(self, store: Any, replica: str, deadline_s: float = ANSWER_S) -> None:
        self.version: int | None = None
        self._store = store
        self._replica = replica
        self._deadline_s = deadline_s
        self._arrays: Arrays = {}
        self._digest = weights_digest({})

    def load(self, policy: TakesWeights, version: int) -> None:
        """Makes `policy` use `version`, mapped and not copied; does nothing if it does so already.

        Raises UnknownVersion, or WeightsTampered if the arrays mapped until now or those of
        `version` are not what was published.
        """
        if version == self.version:
            return
        self.verify()
        arrays, stated = self._fetch(version)
        self._require(arrays, stated, version)
        policy.load_weights(arrays)
        self.version, self._arrays, self._digest = version, arrays, stated

    def verify(self) -> None:
        """Raises WeightsTampered if the arrays mapped now are not what was published."""
        self._require(self._arrays, self._digest, self.version)

    def _require(self, arrays: Arrays, stated: str, version: int | None) -> None:
        measured = weights_digest(arrays)
        if measured != stated:
            raise WeightsTampered(
                f"weights v{version} as mapped by replica {self._replica} hash to {measured}, "
                f"published was {stated}: something wrote to the shared copy in place; "
                f"publish the version again and restart the replicas of this node"
            )

    def _fetch(self, version: int) -> tuple[Arrays, str]:
        what = f"weights v{version} to reach replica {self._replica}"
        return fetch(version, self._store, what, self._deadline_s)
