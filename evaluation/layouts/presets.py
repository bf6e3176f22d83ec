"""Named inference settings: what released code drew with, as fields of a recipe (`presets.yaml`).

Invariant: a preset only sets fields that anybody may set, so what a family does not know is refused as ever,
by name, and what the user sets goes before it.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import yaml

from evaluation.benchmarks.benchmark import BenchmarkError

FILE = Path(__file__).with_name("presets.yaml")
ALL = "all"


def overrides(name: str, benchmark: str) -> list[str]:
    """Returns `field=value` for each field that the preset sets for the benchmark; none for no name.
    Raises BenchmarkError."""
    if not name:
        return []
    known = presets()
    if name not in known:
        raise BenchmarkError(f"--preset is {name!r}: it must be one of {', '.join(known)}")
    found = known[name]
    settings = found[ALL] | found.get(benchmark, {})
    return [f"{field}={json.dumps(value)}" for field, (value, _) in settings.items()]


def presets() -> dict[str, dict[str, Any]]:
    """By name, with `about`, and fields of `all` benchmarks and of single ones as [value, source]."""
    found: dict[str, dict[str, Any]] = yaml.safe_load(FILE.read_text(encoding="utf-8"))
    return found
