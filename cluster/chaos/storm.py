"""Kills processes of a run at random, and says whether that changed anything.

Invariant: a victim is a process of this run and of no other: it is found by the event with which
its actor told of itself, and must still be the same process. What is killed, and when, follows
from the seed; what the run makes of it must not.
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
"""How long a victim, or the end of the run, may be waited for."""


class ChaosError(UserError):
    """A run that does not come to its end; the message names its output."""


@dataclass(frozen=True)
class Victim:
    """A process as its event tells; `who` is such as "solver 1"."""

    who: str
    pid: int
    born: int

    @property
    def alive(self) -> bool:
        return events.born(self.pid) == self.born


@dataclass(frozen=True)
class Kill:
    """What was done to whom, by the clock."""

    kind: str
    victim: Victim
    at: float


@dataclass
class Outcome:
    """A run that ended well: how long it took, and what was killed meanwhile."""

    folder: Path
    seconds: float
    kills: list[Kill] = field(default_factory=list)
    starts: int = 1


@dataclass
class Subject:
    """A run in a process of its own, that is started again whenever it ends unfinished."""

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
        """Looks after the run; whether it came to its end. Raises ChaosError."""
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
        """What `find` finds, once that is something and the time has come; None if the run was
        finished before. Raises ChaosError after WORK_S seconds."""
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
        """The processes of a kind that are there now, the newest of each actor."""
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
    """The run `<name>-peace`, which nothing disturbs. One that was done before is not done again."""
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
    config: RunConfig, seed: int, kills: int, calm: float, tell: Callable[[Kill], None]
) -> Outcome:
    """The run `<name>-chaos-<seed>`, with `kills` victims within about the `calm` seconds that it
    takes in peace. Raises ChaosError if it was begun before."""
    subject = Subject(changed(config, name=f"{config.name}-chaos-{seed}"), kills + 3)
    if subject.folder.exists():
        raise ChaosError(f"{subject.folder} exists: delete it, or give another --seed")
    return _to_the_end(subject, schedule(seed, kills, calm), tell, seed)


def schedule(seed: int, kills: int, seconds: float) -> list[tuple[float, str]]:
    """When, in order, and what kind: every kind has its turn before one has it again."""
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
    tell: Callable[[Kill], None],
    seed: int = 0,
) -> Outcome:
    began, kills, random = time.time(), list[Kill](), generator(seed, "whom")
    try:
        for after, kind in plan:
            there = subject.wait(lambda: subject.alive(kind), kind, began + after)  # noqa: B023
            if there is None:
                break
            kills.append(strike(kind, there[int(random.integers(len(there)))]))
            tell(kills[-1])
        subject.wait(lambda: None, "its end")
    finally:
        subject.stop()
        for kill in kills:  # who was stopped, and lost its Ray before that could end it
            if kill.victim.alive:
                os.kill(kill.victim.pid, signal.SIGKILL)
    return Outcome(subject.folder, time.time() - began, kills, subject.starts)


def strike(kind: str, victim: Victim) -> Kill:
    """SIGKILL, or SIGSTOP for one that is to hang; of a Ray head, all its processes."""
    how = signal.SIGSTOP if kind.endswith("that hangs") else signal.SIGKILL
    at = time.time()
    for pid in head(victim.pid) if kind == "Ray head" else [victim.pid]:
        with suppress(ProcessLookupError):  # it ended just now
            os.kill(pid, how)
    return Kill(kind, victim, at)
