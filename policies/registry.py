"""Which families of models there are, by name.

Invariant: this is the only place that turns a family's name into its code, and a family's code is
imported only when a run asks for it.
"""

from __future__ import annotations

import difflib
import importlib
from pathlib import Path

from policies.config import ConfigError, PolicyConfig
from policies.footprint import Footprint
from policies.interface import Policy

FAMILIES = {
    "tiny": ("policies.tiny.policy", "TinyPolicy"),
    "janus": ("policies.janus.policy", "JanusPolicy"),
}


def load_policy(config: PolicyConfig) -> Policy:
    """The policy in `checkpoint_folder(config)`, on the CPU and able to learn. Raises ConfigError for an unknown family,
    CheckpointError for a bad folder."""
    folder = checkpoint_folder(config)
    where, name = FAMILIES[config.family]
    policy: Policy = getattr(importlib.import_module(where), name).from_pretrained(folder)
    return policy


def footprint(config: PolicyConfig) -> Footprint:
    """How large the policy is, without its weights. Raises ConfigError, CheckpointError."""
    folder = checkpoint_folder(config)
    found: Footprint = importlib.import_module(f"policies.{config.family}.sizes").footprint(
        folder, config.dtype
    )
    return found


def checkpoint_folder(config: PolicyConfig) -> Path:
    """`config.path`, or for "base" the checkpoint that ships beside the family's code. Raises
    ConfigError for an unknown family."""
    if config.family not in FAMILIES:
        near = difflib.get_close_matches(config.family, FAMILIES, n=1, cutoff=0.0)[0]
        raise ConfigError(
            f"policy.family is {config.family!r}: it must be one of {', '.join(FAMILIES)} "
            f"(the nearest is {near!r})"
        )
    if config.path != "base":
        return Path(config.path)
    return Path(__file__).parent / config.family / "base"
