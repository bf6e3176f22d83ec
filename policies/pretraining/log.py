"""Tells how far a training is, from worker 0 alone."""

from __future__ import annotations

import time

import torch.distributed as dist


class Log:
    """Prints a line every ten seconds from worker 0: phase, step, figures, time left."""

    def __init__(self, phase: str, steps: int, done: int = 0) -> None:
        """`done` steps were taken before."""
        self.phase, self.steps, self.done = phase, steps, done
        self.started, self.last = time.time(), 0.0

    def __call__(self, step: int, **figures: float) -> None:
        now = time.time()
        if dist.get_rank() or (now - self.last < 10 and step < self.steps):
            return
        self.last = now
        left = (now - self.started) / (step - self.done) * (self.steps - step)
        values = " ".join(f"{name} {value:.4f}" for name, value in figures.items())
        print(
            f"{self.phase} step {step}/{self.steps} {values} {left / 60:.1f} min left", flush=True
        )
