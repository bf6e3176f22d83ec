"""Prints the progress of a run: plain lines, as readable in a log file as on a screen.

Invariant: each line is written whole and flushed, and no line is ever overwritten. Between the ends
of stages there is at most one line of each kind in `every` seconds.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import TextIO

from actors.storage.paths import StoragePath, run_folder
from trainer.config import RunConfig

TROUBLE_S = 60.0


class Progress:
    """Prints to `stream`. Estimates use only rounds of this process, also after a resume."""

    def __init__(
        self,
        stream: TextIO,
        clock: Callable[[], float] = time.monotonic,
        every: float = 5.0,
    ) -> None:
        self._stream, self._clock, self._every = stream, clock, every
        self._begin = self._round_begin = clock()
        self._rounds = 0
        self._done = 0
        self._seconds: list[float] = []  # of each round that this process worked on
        self._worked: set[int] = set()
        self._last: dict[str, float] = {}
        self._printed: dict[str, tuple[int, int]] = {}
        self._ended: set[tuple[str, int]] = set()
        self._first: dict[int, tuple[float, int]] = {}
        self._base: dict[str, float] = {}
        self._reported: dict[str, float] = {}

    def started(self, config: RunConfig) -> None:
        """Prints the run's name and the size of its rounds."""
        self._rounds = config.rounds
        drawings = f"{config.proposer.prompts} prompts x {config.solver.rollouts} drawings"
        self._line(
            f"run {config.name}",
            f"{_count(config.rounds, 'round')} of {drawings}",
            f"lag {config.lag}",
            f"seed {config.seed}",
            f"in {run_folder(config)}",
        )

    def sampling(
        self, round_: int, done: int, total: int, images: int, accepted: int | None = None
    ) -> None:
        """Reports how many prompts are judged and accepted and how many images are drawn. A round's
        first call starts its clock: pass what was there before."""
        now = self._clock()
        since, before = self._first.setdefault(round_, (now, images))
        if images > before:
            self._worked.add(round_)
        if not self._due("sampling", round_, done, done >= total):
            return
        parts = [f"drawn {done}/{total} prompts"]
        if images > before and now > since:
            parts.append(f"{_rate((images - before) / (now - since))} images/s")
        if accepted is not None and done:
            parts.append(f"accepted {accepted / done:.0%}")
        self._line(self._round(round_), *parts, self._left())

    def training(self, round_: int, step: int, steps: int, loss: float) -> None:
        """Reports an optimizer step; `steps` is how many the round has, as far as known."""
        self._worked.add(round_)
        if self._due("training", round_, step, step >= steps):
            what = f"trained {step}/{_count(steps, 'step')}"
            self._line(self._round(round_), what, f"loss {loss:.3f}", self._left())

    def measured(self, version: int, metrics: Mapping[str, float]) -> None:
        """Reports the end of round `version`: its scores beside the base's, version 0."""
        now = self._clock()
        if version == 0:
            self._base = dict(metrics)
        elif version in self._worked:
            self._seconds.append(now - self._round_begin)
        self._round_begin, self._done = now, version
        where = f"{self._round(version)} done" if version else "base"
        what = f"scores of weights v{version}" if metrics else "nothing is measured"
        self._line(where, what, self._left())
        if not metrics:
            return
        for row in table(self._base if version else {}, metrics, f"v{version}"):
            print(f"{'':9}{row}", file=self._stream, flush=True)

    def trouble(self, text: str) -> None:
        """Reports that something was lost and is being replaced, or that the run waits for a
        person. The same text is repeated only after TROUBLE_S."""
        now = self._clock()
        if now - self._reported.get(text, float("-inf")) >= TROUBLE_S:
            self._reported[text] = now
            self._line(text)

    def note(self, text: str) -> None:
        """Prints something that a person should know once."""
        self._line(text)

    def finished(self, report: StoragePath) -> None:
        self._line("finished", f"report {report}")

    def _line(self, *parts: str) -> None:
        passed = duration(self._clock() - self._begin)
        text = " | ".join(part for part in parts if part)
        print(f"[{passed:>6}] {text}", file=self._stream, flush=True)

    def _round(self, round_: int) -> str:
        return f"round {round_}/{self._rounds}"

    def _due(self, kind: str, round_: int, place: int, ended: bool) -> bool:
        """Returns whether to print a line now; the end of a stage always gets one, once."""
        now = self._clock()
        if (kind, round_) in self._ended or self._printed.get(kind) == (round_, place):
            return False
        if not ended and now - self._last.get(kind, float("-inf")) < self._every:
            return False
        if ended:
            self._ended.add((kind, round_))
        self._last[kind], self._printed[kind] = now, (round_, place)
        return True

    def _left(self) -> str:
        """Estimates the time left from the rounds measured so far; empty before the first."""
        if not self._seconds or self._done >= self._rounds:
            return ""
        mean = sum(self._seconds) / len(self._seconds)
        rest = mean * (self._rounds - self._done) - (self._clock() - self._round_begin)
        return f"{duration(max(rest, 0.0))} left"


def duration(seconds: float) -> str:
    """Formats seconds as 45s, 3m20s or 2h05m."""
    whole = round(seconds)
    minutes, rest = divmod(whole, 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours}h{minutes:02}m"
    return f"{minutes}m{rest:02}s" if minutes else f"{rest}s"


def _rate(value: float) -> str:
    return f"{value:.0f}" if value >= 10 else f"{value:.1f}"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def table(base: Mapping[str, float], now: Mapping[str, float], label: str) -> list[str]:
    """Returns one line for each score; the base and the change only if there is a base.

    Names are as in metrics.jsonl. Those of one category, such as "drawing/all_right/counting", are
    left out: the report shows them.
    """
    now = {name: value for name, value in now.items() if name.count("/") < 2}
    width = max((len(name) for name in now), default=0)
    head = f"{'score':<{width}}" + (f" {'base':>9}" if base else "")
    rows = [head + f" {label:>9}" + (f" {'change':>9}" if base else "")]
    for name, value in now.items():
        row = f"{name:<{width}}"
        if base:
            row += f" {base[name]:>9.2f}" if name in base else f" {'':>9}"
        row += f" {value:>9.2f}"
        if name in base:
            row += f" {value - base[name]:>+9.2f}"
        rows.append(row.rstrip())
    return rows
