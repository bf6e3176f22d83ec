"""Benchmarks by name.

Invariant: a module of this folder per benchmark, which is imported when it is asked for, and whose
BENCHMARK fulfils the protocol.
"""

from __future__ import annotations

from importlib import import_module

from evaluation.benchmarks.benchmark import Benchmark, BenchmarkError

NAMES = (
    "tiif",
    "wise",
    "compbench",
    "mme",
    "mmbench",
    "mmmu",
    "mathvista",
    "mme_unify",
    "realunify",
)


def load(name: str) -> Benchmark:
    """Raises BenchmarkError."""
    if name not in NAMES:
        raise BenchmarkError(f"no benchmark is called {name!r}: there are {', '.join(NAMES)}")
    found: Benchmark = import_module(f"evaluation.benchmarks.{name}").BENCHMARK
    return found


def listed() -> str:
    """A line for each: its name, who answers its questions, and what it is."""
    width, lines = max(map(len, NAMES)), []
    for name in NAMES:
        found = load(name)
        first = (import_module(type(found).__module__).__doc__ or "").strip().partition("\n")[0]
        lines.append(f"{name:<{width}}  {found.answered_by:<6}  {first}")
    return "\n".join(lines)
