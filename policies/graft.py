"""Puts the weights that only understanding needs back to what they were in another checkpoint.

Invariant: what a grafted policy draws of a text is what it drew before, to the bit, so that whatever
it understands otherwise is due to these weights alone.
"""

from __future__ import annotations

from policies.config import ConfigError
from policies.interface import Policy


def graft(policy: Policy, base: Policy) -> None:
    """Gives `policy` the understanding parts of `base`, which is left as it is. Raises ConfigError for a
    family that has none, and CheckpointError where the two are not of one shape."""
    if not (parts := policy.understanding()):
        raise ConfigError(
            f"family {policy.family} has no weights that only understanding needs: there is nothing "
            "to graft"
        )
    weights, theirs = dict(policy.weights()), base.weights()
    for name, rows in parts.items():
        grafted = weights[name].copy()
        grafted[rows] = theirs[name][rows]
        weights[name] = grafted
    policy.load_weights(weights)
