"""Which families of models there are, by name.

Invariant: this is the only place that turns a family's name into its code, and a family's code is
imported only when a run asks for it.
"""

from __future__ import annotations

import difflib
import importlib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import xxhash

from policies.config import ConfigError, PolicyConfig
from policies.engines.backbone import Backbone
from policies.footprint import Footprint
from policies.interface import Policy

WEIGHTS = ("*.safetensors", "*.bin", "*.pth")
"""Names of all files that a family reads weights from, those of its autoencoders too."""
BLOCK = 2**22


@dataclass(frozen=True)
class Served:
    """What a family has for engines, as "module:name": a policy with `serve_by(engine)`, and a
    function of a checkpoint's folder and the dtype of replicas that gives a
    `policies.engines.backbone.Backbone`; and the roles that an engine may be asked to play."""

    policy: str
    backbone: str
    roles: tuple[str, ...]


@dataclass(frozen=True)
class Family:
    """Where the two parts of a family are, as "module:name": a class that implements
    `policies.interface.Policy`, and a function of a checkpoint's folder, the dtype of replicas and,
    by name, the family's options that gives a `policies.footprint.Footprint` without reading
    weights. `served` is there where an engine can run the family's transformer."""

    policy: str
    footprint: str
    served: Served | None = None


FAMILIES = {
    "tiny": Family(
        "policies.tiny.policy:TinyPolicy",
        "policies.tiny.sizes:footprint",
        Served(
            "policies.tiny.served:ServedTinyPolicy",
            "policies.tiny.served:backbone",
            ("proposer", "solver", "judge"),
        ),
    ),
    "bagel": Family("policies.bagel.policy:BagelPolicy", "policies.bagel.sizes:footprint"),
    "emu3": Family("policies.emu3.policy:Emu3Policy", "policies.emu3.sizes:footprint"),
    "showo2": Family("policies.showo2.policy:Showo2Policy", "policies.showo2.sizes:footprint"),
    "chameleon": Family(
        "policies.chameleon.policy:ChameleonPolicy", "policies.chameleon.sizes:footprint"
    ),
    "external": Family(
        "policies.external.policy:ExternalPolicy", "policies.external.sizes:footprint"
    ),
    "janus": Family(
        "policies.janus.policy:JanusPolicy",
        "policies.janus.sizes:footprint",
        Served(
            "policies.janus.served:ServedJanusPolicy",
            "policies.janus.served:backbone",
            ("proposer", "judge"),
        ),
    ),
    "showo": Family("policies.showo.policy:ShowoPolicy", "policies.showo.sizes:footprint"),
    "tools": Family("policies.tools.policy:ToolsPolicy", "policies.tools.sizes:footprint"),
}


def load_policy(config: PolicyConfig, dtype: str = "float32") -> Policy:
    """The policy in `checkpoint_folder(config)`, on the CPU: able to learn in float32, and to sample
    alone in another dtype, which takes no memory for float32. Raises ConfigError for an unknown
    family, CheckpointError for a bad folder."""
    make: Any = policy_class(config).from_pretrained
    loaded: Policy = make(checkpoint_folder(config), dtype, **config.options())
    return loaded


def policy_class(config: PolicyConfig) -> type[Policy]:
    """The class of the family, which says what the family can. Raises ConfigError."""
    found: type[Policy] = _load(_family(config).policy)
    return found


def served_by(family: str) -> tuple[str, ...]:
    """The roles of the family that an engine may be asked to play."""
    served = FAMILIES[family].served
    return served.roles if served else ()


def served_policy(config: PolicyConfig) -> Any:
    """The class of the family that takes an engine. Raises ConfigError."""
    return _load(_served(config).policy)


def served_backbone(config: PolicyConfig) -> Backbone:
    """What an engine is to run. Raises ConfigError, CheckpointError."""
    describe: Any = _load(_served(config).backbone)
    found: Backbone = describe(checkpoint_folder(config), config.dtype)
    return found


def _served(config: PolicyConfig) -> Served:
    served = _family(config).served
    if served is None:
        raise ConfigError(
            f"policy.family is {config.family!r}: it has nothing for an engine to run"
        )
    return served


def footprint(config: PolicyConfig) -> Footprint:
    """How large the policy is, without its weights. Raises ConfigError, CheckpointError."""
    measure: Any = _load(_family(config).footprint)
    found: Footprint = measure(checkpoint_folder(config), config.dtype, **config.options())
    return found


def _load(where: str) -> Any:
    module, name = where.split(":")
    return getattr(importlib.import_module(module), name)


def is_checkpoint(folder: Path) -> bool:
    """Whether there are weights in `folder`; of a folder that is closed to us too, no."""
    # isdir() says no where Path.is_dir() raises.
    there = os.path.isdir(folder)  # noqa: PTH112
    return there and any(any(folder.glob(kind)) for kind in WEIGHTS)


def checkpoint_folder(config: PolicyConfig) -> Path:
    """`config.path`, or for "base" the checkpoint that ships beside the family's code. Raises
    ConfigError for an unknown family."""
    _family(config)
    if config.path != "base":
        return Path(config.path)
    return Path(__file__).parent / config.family / "base"


def files_digest(config: PolicyConfig) -> str:
    """Returns xxh3_128 in hex over all that the policy's weights are read from: the files with weights in
    its checkpoint folder, in the folders in it, and in what its options name beside it. Other weights,
    another digest. Raises ConfigError for an unknown family."""
    total = xxhash.xxh3_128()
    beside = [Path(named) for option in config.weights_in if (named := getattr(config, option))]
    for place in (checkpoint_folder(config), *beside):
        whole = [place] if place.is_file() else (f for kind in WEIGHTS for f in place.rglob(kind))
        for file in sorted(whole):
            total.update(file.relative_to(place).as_posix().encode())
            with file.open("rb") as stream:
                while block := stream.read(BLOCK):
                    total.update(block)
    return total.hexdigest()


def _family(config: PolicyConfig) -> Family:
    if config.family in FAMILIES:
        return FAMILIES[config.family]
    near = difflib.get_close_matches(config.family, FAMILIES, n=1, cutoff=0.0)[0]
    raise ConfigError(
        f"policy.family is {config.family!r}: it must be one of {', '.join(FAMILIES)} "
        f"(the nearest is {near!r})"
    )
