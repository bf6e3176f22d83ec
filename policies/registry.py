"""Which families of models there are, by name.

Invariant: this is the only place that turns a family's name into its code, and a family's code is
imported only when a run asks for it.
"""

from __future__ import annotations

import difflib
import importlib
from pathlib import Path

from policies.config import ConfigError, PolicyConfig
from policies.interface import Policy

FAMILIES = {"tiny": ("policies.tiny.policy", "TinyPolicy")}


def load_policy(config: PolicyConfig) -> Policy:
    """The policy in the checkpoint folder `config.path`; "base" is the one that ships beside its
    family's code. Raises ConfigError for an unknown family, CheckpointError for a bad folder."""
    if config.family not in FAMILIES:
        near = difflib.get_close_matches(config.family, FAMILIES, n=1, cutoff=0.0)[0]
        raise ConfigError(
            f"policy.family is {config.family!r}: it must be one of {', '.join(FAMILIES)} "
            f"(the nearest is {near!r})"
        )
    where, name = FAMILIES[config.family]
    module = importlib.import_module(where)
    shipped = Path(str(module.__file__)).parent / "base"
    policy: Policy = getattr(module, name).from_pretrained(
        shipped if config.path == "base" else config.path
    )
    return policy
