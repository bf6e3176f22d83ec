"""Lists what the actors of a run ask Ray for, and finds those that would wait for ever.

Invariant: amounts are compared as Ray counts them, in ten-thousandths. A fraction of a GPU lies on
one GPU; a whole number of GPUs is taken from those that nobody else uses.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from policies.config import ConfigError
from trainer.config import RunConfig

HINTS = {"cpus": "fractions are fine", "gpus": "a fraction shares one, 0 is the host"}


class Need(NamedTuple):
    """`replicas` actors of one kind; each asks Ray for `cpus` and `gpus`."""

    actor: str
    replicas: int
    cpus: float
    gpus: float = 0.0
    together: bool = False
    """Whether all of them must start at once, as a placement group."""
    node: str = ""
    """A custom resource that their nodes must offer; empty for any node."""


class Machine(NamedTuple):
    """The CPUs and GPUs that are available; infinite for a cluster, which is not asked here."""

    cpus: float
    gpus: float


def needs(config: RunConfig) -> list[Need]:
    """Returns the needs in the order of the actors' start. Those that only store ask for 0."""
    proposer, solver, judge, trainer = config.proposer, config.solver, config.judge, config.trainer
    return [
        Need("weight store", 1, 0.0),
        Need("replay buffer", 1, 0.0),
        Need("proposer", proposer.replicas, proposer.cpus, proposer.gpus, node=proposer.node),
        Need("solver", solver.replicas, solver.cpus, solver.gpus, node=solver.node),
        Need("judge", judge.replicas, judge.cpus, judge.gpus, node=judge.node),
        Need("trainer controller", 1, 0.0),
        Need("trainer worker", trainer.workers, trainer.cpus, trainer.gpus, True, trainer.node),
    ]


def measuring(config: RunConfig) -> list[Need]:
    """Returns the needs of a command that measures and does not train."""
    return [need for need in needs(config) if not need.actor.startswith("trainer")]


def drawing(config: RunConfig) -> list[Need]:
    """Returns the needs of a command that draws and neither judges nor trains."""
    return [need for need in measuring(config) if need.actor not in ("proposer", "judge")]


def total(wanted: list[Need], kind: str) -> float:
    """Returns the sum over all actors of a resource; `kind` is "cpus" or "gpus"."""
    return _counted(sum(need.replicas * getattr(need, kind) for need in wanted))


def waiting(wanted: list[Need], kind: str, available: float) -> str:
    """Returns, as text, the actors that find no room when all start in order; empty if all fit."""
    room, late = Gpus(available) if kind == "gpus" else Cpus(available), []
    for need in wanted:
        group, fit = need.replicas if need.together else 1, 0
        while fit < need.replicas and room.take(group * getattr(need, kind)):
            fit += group
        if missing := need.replicas - fit:
            number = f"{missing} of {need.replicas} " if need.replicas > 1 else "the "
            late.append(f"{number}{need.actor}{'s' if need.replicas > 1 else ''}")
    return " and ".join(late)


def require_room(
    who: str, those: Sequence[Need], machine: Machine, has: str = "this machine has"
) -> None:
    """Raises ConfigError if some of `those` would wait for ever."""
    for kind in ("cpus", "gpus"):
        available = getattr(machine, kind)
        wanted = [need for need in those if getattr(need, kind)]
        if math.isinf(available) or not (late := waiting(wanted, kind, available)):
            continue
        asked = ", ".join(f"{n.actor} {n.replicas} x {getattr(n, kind):g}" for n in wanted)
        *fields, last = [f"{need.actor.split()[0]}.{kind}" for need in wanted]
        lower = " or ".join(filter(None, (", ".join(fields), last)))
        raise ConfigError(
            f"{who} asks for {total(wanted, kind):g} {kind[:-1].upper()}s and {has} "
            f"{available:g}: {asked}; {late} would wait for ever; lower {lower} ({HINTS[kind]}), "
            "or the numbers of replicas"
        )


class Cpus:
    """The CPUs that are still free."""

    def __init__(self, available: float) -> None:
        self.left = available

    def take(self, amount: float) -> bool:
        """Takes `amount` if it is free; returns whether it was."""
        after = _counted(self.left - amount)
        self.left = after if after >= 0 else self.left
        return after >= 0


class Gpus:
    """The GPUs that are free as a whole, and what is left of those that are shared."""

    def __init__(self, available: float) -> None:
        self.whole = Cpus(available)
        self.left: list[float] = []

    def take(self, amount: float) -> bool:
        """Takes `amount` if it is free; returns whether it was. Like Ray, a fraction comes from the
        fullest GPU that has room for it."""
        if amount >= 1:
            return self.whole.take(amount)
        shared = min((left for left in self.left if left >= amount), default=None)
        if shared is not None:
            self.left.remove(shared)
        elif self.whole.take(1.0):
            shared = 1.0
        else:
            return False
        self.left.append(_counted(shared - amount))
        return True


def _counted(number: float) -> float:
    """Rounds to ten-thousandths as Ray does; otherwise 0.1 + 0.2 would not fit into 0.3."""
    return round(number * 10_000) / 10_000
