"""Figures, and the card that they are held against.

Invariant: a share is of what this card was measured to do in the same process, never of a data
sheet.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import torch


@dataclass(frozen=True)
class Figure:
    """`value` in `unit`; `roof` is the best that the card could do in the same unit (0: there is
    none), and `gib` the most memory that was taken."""

    name: str
    value: float
    unit: str
    roof: float = 0.0
    gib: float = 0.0

    def row(self) -> dict[str, Any]:
        return asdict(self) | {"share": self.value / self.roof if self.roof else None}

    def line(self) -> str:
        share = f"  {self.value / self.roof:6.1%} of {self.roof:.4g}" if self.roof else ""
        memory = f"  {self.gib:5.1f} GiB" if self.gib else ""
        return f"{self.name:58} {self.value:10.4g} {self.unit:12}{share}{memory}"


@dataclass(frozen=True)
class Card:
    """FLOP a second of a large product in bfloat16, and bytes a second read and written."""

    name: str
    device: str
    flops: float
    bytes: float

    def described(self) -> str:
        return (
            f"{self.name}: {self.flops / 1e12:.1f} TFLOP/s in bfloat16, {self.bytes / 1e9:.0f} GB/s"
        )

    def row(self) -> dict[str, Any]:
        return asdict(self)

    def seconds(self, flops: float, moved: float) -> float:
        """The least time for so much arithmetic and so many bytes."""
        return max(flops / self.flops, moved / self.bytes)


def measured_card(small: bool) -> Card:
    device = "cuda" if torch.cuda.is_available() else "cpu"
    name = torch.cuda.get_device_name() if device == "cuda" else "CPU"
    side = 512 if small else 8192
    a, b = (torch.randn(side, side, device=device, dtype=torch.bfloat16) for _ in range(2))
    flops = 2 * side**3 / seconds(lambda: a @ b)
    source = torch.zeros((2**24 if small else 2**30) // 2, dtype=torch.bfloat16, device=device)
    target = torch.empty_like(source)
    moved = 2 * source.nbytes / seconds(lambda: target.copy_(source))
    return Card(name, device, flops, moved)


def seconds(job: Callable[[], object], least: float = 0.5) -> float:
    """The mean of repeats over `least` seconds, after one that does not count."""
    job()
    _wait()
    begun, repeats = time.perf_counter(), 0
    while repeats < 1 or time.perf_counter() - begun < least:
        job()
        _wait()
        repeats += 1
    return (time.perf_counter() - begun) / repeats


def peak_gib(job: Callable[[], float]) -> tuple[float, float]:
    """What `job` returns, and the most memory that was taken meanwhile."""
    if not torch.cuda.is_available():
        return job(), 0.0
    torch.cuda.reset_peak_memory_stats()
    found = job()
    return found, torch.cuda.max_memory_allocated() / 2**30


def _wait() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()
