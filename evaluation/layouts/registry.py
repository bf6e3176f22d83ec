"""Layouts by the names of their benchmarks.

Invariant: a module of this folder is imported when one of its benchmarks is asked for, and its LAYOUTS
has them by name.
"""

from __future__ import annotations

from importlib import import_module

from evaluation.benchmarks.benchmark import BenchmarkError
from evaluation.layouts.sheet import Layout

MODULES = {
    "geneval": "geneval",
    "geneval-long": "geneval",
    "compbench": "compbench",
    "compbench-srum": "srum",
    "dpg": "dpg",
    "wise": "wise",
    "oneig": "oneig",
    "tiif": "tiif",
}


def load(name: str) -> Layout:
    """Raises BenchmarkError."""
    if name not in MODULES:
        raise BenchmarkError(f"--benchmark is {name!r}: it must be one of {', '.join(MODULES)}")
    found: Layout = import_module(f"evaluation.layouts.{MODULES[name]}").LAYOUTS[name]
    return found
