"""What a person who waits for a run sees: plain lines, as readable in a log file as on a screen.

Invariant: a line is written whole and flushed, no line is ever overwritten, and between the ends
of stages there is at most one line per kind of news in `every` seconds.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import TextIO

from actors.storage.paths import StoragePath, run_folder
from trainer.config import RunConfig

TROUBLE_S = 60.0


class Progress:
    """Times are of this process: a resumed run estimates from the rounds that it sees itself."""

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
        self._seconds: list[float] = []  # of each round that was done and measured here
        self._worked: set[int] = set()
        self._last: dict[str, float] = {}
        self._shown: dict[str, tuple[int, int]] = {}
        self._ended: set[tuple[str, int]] = set()
        self._first: dict[int, tuple[float, int]] = {}
        self._base: dict[str, float] = {}
        self._told: dict[str, float] = {}

    def started(self, config: RunConfig) -> None:
        """The name of the run and the size of its rounds."""
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
        """`done` prompts of the round are judged, `accepted` of them; `images` were drawn so far.

        The first call of a round is where its clock starts, so make it with what was there before.
        """
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
        """`steps` is what the round will have, as far as it is known."""
        self._worked.add(round_)
        if self._due("training", round_, step, step >= steps):
            what = f"trained {step}/{_count(steps, 'step')}"
            self._line(self._round(round_), what, f"loss {loss:.3f}", self._left())

    def measured(self, version: int, metrics: Mapping[str, float]) -> None:
        """The end of round `version`: its scores beside those of the base, version 0."""
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
        """Something was lost and is being replaced, or the run waits for a person. The same words
        again are not news for a while."""
        now = self._clock()
        if now - self._told.get(text, float("-inf")) >= TROUBLE_S:
            self._told[text] = now
            self._line(text)

    def told(self, text: str) -> None:
        """Something that a person should know once."""
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
        """Whether this is news and may be a line now; the end of a stage always is, but once."""
        now = self._clock()
        if (kind, round_) in self._ended or self._shown.get(kind) == (round_, place):
            return False
        if not ended and now - self._last.get(kind, float("-inf")) < self._every:
            return False
        if ended:
            self._ended.add((kind, round_))
        self._last[kind], self._shown[kind] = now, (round_, place)
        return True

    def _left(self) -> str:
        """An estimate from the rounds measured so far; empty before the first."""
        if not self._seconds or self._done >= self._rounds:
            return ""
        mean = sum(self._seconds) / len(self._seconds)
        rest = mean * (self._rounds - self._done) - (self._clock() - self._round_begin)
        return f"{duration(max(rest, 0.0))} left"


def duration(seconds: float) -> str:
    """45s, 3m20s, 2h05m."""
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
    """One row a score; the base's column only where there is a base to compare with.

    Names are as in metrics.jsonl: "drawing/all_right/counting" is one category of
    "drawing/all_right" and is left to the report.
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
