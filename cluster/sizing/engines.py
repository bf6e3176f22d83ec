"""Whether the engines of a run can do its work, before anything starts.

Invariant: a role that an engine could not play, or whose longest answer would not fit into it, is
refused in one sentence that names the setting and the least that is enough.
"""

from __future__ import annotations

from cluster.sizing import memory
from policies.config import ConfigError
from policies.engines.config import BLOCK
from policies.engines.requirements import require_engine
from policies.footprint import Footprint
from trainer.config import RunConfig

LONGEST = {
    "proposer": memory.proposer_tokens,
    "solver": memory.solver_tokens,
    "judge": memory.judge_tokens,
}


def check_engines(config: RunConfig, size: Footprint) -> None:
    """Raises ConfigError for the first role whose engine is absent, unproven or too small."""
    for role, longest in LONGEST.items():
        own = getattr(config, role)
        if own.engine != "own":
            require_engine(own.engine, role, config.policy, config.engine, own.gpus)
            _require_length(config, role, longest(config, size))
            _require_cache(config, size, role, longest(config, size))


def _require_length(config: RunConfig, role: str, tokens: int) -> None:
    most = config.engine.max_length
    if most and most < tokens:
        raise ConfigError(
            f"engine.max_length is {most}: the {role}'s longest instruction and its answer take up "
            f"to {tokens} tokens; set it to {tokens} or more, or to 0 for as many as the model holds"
        )


def _require_cache(config: RunConfig, size: Footprint, role: str, tokens: int) -> None:
    rows = max(memory.passes(config)) if role == "solver" else 1
    blocks = 1 + rows * -(-tokens // BLOCK)
    least = -(-blocks * BLOCK * size.cache_bytes // memory.MIB)
    if config.engine.cache_mib < least:
        raise ConfigError(
            f"engine.cache_mib is {config.engine.cache_mib}: one answer of the {role} takes up to "
            f"{tokens} tokens of {size.cache_bytes} bytes"
            + (f" in {rows} rows" if rows > 1 else "")
            + f"; set it to {least} or more, or {role}.engine to own"
        )
