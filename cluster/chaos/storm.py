"""Kills processes of a run at random, to show that its result does not change.

Invariant: only processes of this run are killed: each is found by the start event that its actor
wrote, and must still be the same process. What is killed, and when, follows from the seed; the
result of the run must not depend on it.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from actors.storage import events
from cluster.recipes import recipe
from cluster.session.ray_session import HEAD, head
from policies.config import changed
from policies.errors import UserError
from policies.seeds import generator
from trainer.config import RunConfig

KINDS = (
    "proposer", "solver", "judge", "replay buffer", "weight store", "training worker", "driver",
    "Ray head", "solver that hangs",
)  # fmt: skip
WORK_S = 900.0
"""Seconds to wait at most for a process to kill, or for the end of the run."""


class ChaosError(UserError):
    """The run does not finish; the message names its output."""


@dataclass(frozen=True)
class Victim:
    """A process as its start event describes it; `who` is a name such as "solver 1"."""

    who: str
    pid: int
    born: int

    @property
    def alive(self) -> bool:
        return events.born(self.pid) == self.born


@dataclass(frozen=True)
class Kill:
    """What was killed, and when (seconds since 1970)."""

    kind: str
    victim: Victim
    at: float


@dataclass
class Outcome:
    """A run that finished: the seconds that it took, and what was killed meanwhile."""

    folder: Path
    seconds: float
    kills: list[Kill] = field(default_factory=list)
    starts: int = 1


@dataclass
class Subject:
    """A run in a process of its own, which is started again whenever it ends unfinished."""

    config: RunConfig
    most_starts: int
    starts: int = 0
    _process: subprocess.Popen[bytes] | None = None

    @property
    def folder(self) -> Path:
        return Path(self.config.folder) / self.config.name

    @property
    def output(self) -> Path:
        return self.folder.with_suffix(".log")

    def finished(self) -> bool:
        """Restarts the run if it ended; returns whether it has finished. Raises ChaosError."""
        code = None if self._process is None else self._process.poll()
        if code == 0:
            return True
        if self._process is None or code is not None:
            if self.starts == self.most_starts:
                raise ChaosError(
                    f"the run in {self.folder} ended unfinished {self.starts} times, at last with "
                    f"exit code {code}: see {self.output}"
                )
            self._start()
        return False

    def wait(
        self, find: Callable[[], list[Victim] | None], what: str, not_before: float = 0.0
    ) -> list[Victim] | None:
        """Returns what `find` finds, as soon as that is not empty and the time `not_before` has
        come; None if the run finished first. Raises ChaosError after WORK_S seconds."""
        until = max(time.time(), not_before) + WORK_S
        while not self.finished():
            if time.time() >= not_before and (found := find()):
                return found
            if time.time() > until:
                raise ChaosError(
                    f"the run in {self.folder} goes on for {WORK_S:g} s and {what} does not "
                    f"come: see {self.output}"
                )
            time.sleep(0.1)
        return None

    def stop(self) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(60)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait(60)

    def alive(self, kind: str) -> list[Victim]:
        """Returns the living processes of a kind, at most one (the newest) for each actor."""
        name = "driver" if kind == "Ray head" else kind.removesuffix(" that hangs")
        newest = {
            event["who"]: Victim(event["who"], event["pid"], event["born"])
            for event in events.read(self.folder)
            if event["what"] == events.STARTED and event["who"].startswith(name)
        }
        found = [victim for _, victim in sorted(newest.items()) if victim.alive]
        return [v for v in found if kind != "Ray head" or len(head(v.pid)) == len(HEAD)]

    def _start(self) -> None:
        self.starts += 1
        self.folder.parent.mkdir(parents=True, exist_ok=True)
        file = self.folder.with_suffix(".yaml")
        file.write_text(recipe.dump(self.config))
        with self.output.open("ab") as output:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "cluster", "run", str(file)],
                stdout=output, stderr=output, stdin=subprocess.DEVNULL,
            )  # fmt: skip


def in_peace(config: RunConfig) -> Outcome:
    """Runs `<name>-peace` without kills, unless it has finished before."""
    subject = Subject(changed(config, name=f"{config.name}-peace"), 1)
    took = subject.folder.with_suffix(".seconds")
    if not took.exists():
        if subject.folder.exists():
            raise ChaosError(f"{subject.folder} was begun and not finished: delete it")
        took.write_text(str(_to_the_end(subject, [], lambda kill: None).seconds))
    elif recipe.config_digest(recipe.load_folder(subject.folder)) != recipe.config_digest(
        subject.config
    ):
        raise ChaosError(f"{subject.folder} is a run of another recipe: delete it, and {took}")
    return Outcome(subject.folder, float(took.read_text()))


def in_chaos(
    config: RunConfig, seed: int, kills: int, calm: float, on_kill: Callable[[Kill], None]
) -> Outcome:
    """Runs `<name>-chaos-<seed>` with `kills` kills within about the `calm` seconds that an
    undisturbed run takes. Raises ChaosError if the run exists."""
    subject = Subject(changed(config, name=f"{config.name}-chaos-{seed}"), kills + 3)
    if subject.folder.exists():
        raise ChaosError(f"{subject.folder} exists: delete it, or give another --seed")
    return _to_the_end(subject, schedule(seed, kills, calm), on_kill, seed)


def schedule(seed: int, kills: int, seconds: float) -> list[tuple[float, str]]:
    """Returns (seconds, kind) in order of time; no kind comes again before every kind has come."""
    random = generator(seed, "chaos")
    kinds: list[str] = []
    while len(kinds) < kills:
        kinds += [KINDS[i] for i in random.permutation(len(KINDS))]
    places = (np.arange(kills) + random.random(kills)) / kills
    return [
        (float(place) * 0.9 * seconds, kind) for place, kind in zip(places, kinds, strict=False)
    ]


def _to_the_end(
    subject: Subject,
    plan: Sequence[tuple[float, str]],
    on_kill: Callable[[Kill], None],
    seed: int = 0,
) -> Outcome:
    began, kills, random = time.time(), list[Kill](), generator(seed, "whom")
    try:
        for after, kind in plan:
            there = subject.wait(lambda: subject.alive(kind), kind, began + after)  # noqa: B023
            if there is None:
                break
            kills.append(strike(kind, there[int(random.integers(len(there)))]))
            on_kill(kills[-1])
        subject.wait(lambda: None, "its end")
    finally:
        subject.stop()
        for kill in kills:  # stopped processes whose Ray was killed before it could end them
            if kill.victim.alive:
                os.kill(kill.victim.pid, signal.SIGKILL)
    return Outcome(subject.folder, time.time() - began, kills, subject.starts)


def strike(kind: str, victim: Victim) -> Kill:
    """Sends SIGKILL, or SIGSTOP for one that is to hang; for a Ray head, to all its processes."""
    how = signal.SIGSTOP if kind.endswith("that hangs") else signal.SIGKILL
    at = time.time()
    for pid in head(victim.pid) if kind == "Ray head" else [victim.pid]:
        with suppress(ProcessLookupError):  # it has just ended
            os.kill(pid, how)
    return Kill(kind, victim, at)
