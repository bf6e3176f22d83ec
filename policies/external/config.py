"""What a bridge.json says: which bridge a checkpoint has, and between what.

Invariant: a BridgeConfig that is given out is of one kind with the sizes that this kind has, each
within bounds; whether its two ends fit their models, `policies.external.checkpoint` asks.
"""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from policies.errors import describe, one_line, printable
from policies.interface import CheckpointError

BRIDGE = "bridge.json"
CREATE = "make one with python -m policies.external.create"
FIX = f"copy it again from its checkpoint, or {CREATE}"
Kind = Literal["queries", "embeddings", "signals"]
KINDS: tuple[Kind, ...] = get_args(Kind)
Decoder = Literal["frozen", "learned"]
OWN: dict[Kind, tuple[str, ...]] = {
    "queries": (),
    "embeddings": ("side",),
    "signals": ("layers", "heads", "inner"),
}
"""The sizes that one kind has alone."""
MOST = 2**16
"""The largest size that is read: above all that was published, below what would not end."""


@dataclass(frozen=True)
class BridgeConfig:
    """How many `slots` follow a prompt, and how many `tokens` of `width` numbers condition the
    pipeline; `hidden` is the language model's width.

    queries (DreamLLM, arXiv 2309.11499): the hidden state at each of the learned slots becomes a
    token, so there are as many. embeddings (Emu2, arXiv 2312.13286): the slots are a drawing as the
    frozen encoder of pictures sees it, `side` pixels each way, written one after the other.
    signals (NExT-GPT, arXiv 2309.05519): a few learned slots are resampled into the tokens of the
    pipeline's own text encoder by `layers` of `heads` heads, `inner` wide.

    `steps` are those of a drawing where nobody asks for others; `decoder` says whether the
    pipeline's denoiser learns too.
    """

    kind: Kind
    slots: int
    tokens: int
    width: int
    hidden: int
    steps: int
    decoder: Decoder = "frozen"
    side: int = 0
    layers: int = 0
    heads: int = 0
    inner: int = 0

    @property
    def denoises(self) -> bool:
        """Whether the pipeline's own loss is learned."""
        return self.kind != "embeddings"


def written(config: BridgeConfig) -> str:
    """The text of its file."""
    return json.dumps(dataclasses.asdict(config), indent=2) + "\n"


def read(folder: Path) -> BridgeConfig:
    """Of the checkpoint in `folder`. Raises CheckpointError."""
    file = folder / BRIDGE
    try:
        stated = json.loads(file.read_bytes())
    except OSError as error:
        raise CheckpointError(
            f"{printable(str(file))} cannot be read ({error.strerror}), so this is no checkpoint of "
            f"family external: {CREATE}, or name its family in policy.family."
        ) from error
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"{file} is not JSON ({one_line(error)}); {FIX}.") from error
    return parsed(file, stated)


def parsed(file: Path, stated: Any) -> BridgeConfig:
    """What was read from `file`, if it can be. Raises CheckpointError."""
    names = [field.name for field in dataclasses.fields(BridgeConfig)]
    if not isinstance(stated, dict) or not stated.keys() <= set(names):
        found = sorted(map(str, stated)) if isinstance(stated, dict) else stated
        raise CheckpointError(
            f"{file} has the fields {describe(found)}, but a bridge has only {', '.join(names)}; {FIX}."
        )
    _require(file, "kind", stated.get("kind"), stated.get("kind") in KINDS, " or ".join(KINDS))
    own = OWN[stated["kind"]]
    for name in ("slots", "tokens", "width", "hidden", "steps", "side", "layers", "heads", "inner"):
        value, needed = (
            stated.get(name, 0),
            name in ("slots", "tokens", "width", "hidden", "steps", *own),
        )
        within = type(value) is int and (0 < value <= MOST if needed else value == 0)
        rule = (
            f"a whole number from 1 to {MOST}" if needed else f"0 for a bridge of {stated['kind']}"
        )
        _require(file, name, value, within, rule)
    decoder = stated.get("decoder", "frozen")
    _require(file, "decoder", decoder, decoder in get_args(Decoder), "frozen or learned")
    config = BridgeConfig(**stated)
    if config.kind != "signals":
        _require(file, "tokens", config.tokens, config.tokens == config.slots, "as many as slots")
    else:
        _require(
            file, "inner", config.inner, config.inner % config.heads == 0, "a multiple of heads"
        )
    if not config.denoises:
        _require(
            file, "decoder", decoder, decoder == "frozen", "frozen: embeddings teach no denoiser"
        )
    return config


def _require(file: Path, field: str, value: object, holds: bool, rule: str) -> None:
    if not holds:
        raise CheckpointError(f"{file} has {field}={describe(value)}: it must be {rule}; {FIX}.")
