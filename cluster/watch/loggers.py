"""Sends the metrics of a run to TensorBoard or Weights & Biases.

Invariant: a logger gets only what the run folder holds already, each row once, also across resumes.
It can neither delay a run nor end one that has begun. Keys and addresses come from the environment
alone, as these libraries read them.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import tempfile
import threading
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, Protocol

from actors.storage import storage
from actors.storage.paths import StoragePath
from evaluation.metrics import read_metrics
from policies.config import ConfigError
from trainer.journal import JOURNAL

STATE = "logged.json"
WATCH_S = 5.0
FINISH_S = 60.0
"""Seconds for the last rows at the end of a run; a slower logger is abandoned."""
LOCAL = ("tensorboard",)
"""Loggers whose library can write only to a disk."""
NEEDS = {"tensorboard": "tensorboard", "wandb": "wandb"}


class Logger(Protocol):
    def log(self, values: Mapping[str, float], step: int) -> None: ...

    def close(self) -> None: ...


class TensorBoard:
    """Writes to RUN/tensorboard, for `tensorboard --logdir RUNS`."""

    def __init__(self, folder: Path, name: str) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self._writer = SummaryWriter(str(folder / "tensorboard"))

    def log(self, values: Mapping[str, float], step: int) -> None:
        for name, value in values.items():
            self._writer.add_scalar(name, value, step)
        self._writer.flush()

    def close(self) -> None:
        self._writer.close()


class WeightsAndBiases:
    """Configured by the environment: WANDB_API_KEY, WANDB_PROJECT, WANDB_MODE=offline and so on."""

    def __init__(self, folder: StoragePath, name: str) -> None:
        import wandb

        here = storage.local_path(folder)
        scratch = here / "wandb" if here else Path(tempfile.mkdtemp())
        scratch.mkdir(exist_ok=True)
        # The same id each time, so that a resumed run continues its curves.
        self._run = wandb.init(id=_id(folder), name=name, dir=str(scratch), resume="allow")

    def log(self, values: Mapping[str, float], step: int) -> None:
        # Training is counted in steps and measuring in rounds; one x axis cannot hold both.
        by = "train/step" if any(name.startswith("train/") for name in values) else "round"
        self._run.log({**values, by: step})

    def close(self) -> None:
        self._run.finish()


KINDS: dict[str, Any] = {"tensorboard": TensorBoard, "wandb": WeightsAndBiases}


def require(names: tuple[str, ...], folder: StoragePath) -> None:
    """Raises ConfigError if a logger is unknown, lacks its library, or cannot write there."""
    for name in names:
        if name not in KINDS:
            raise ConfigError(f"loggers has {name!r}: it must be one of {', '.join(KINDS)}")
        if name in LOCAL and storage.local_path(folder) is None:
            raise ConfigError(
                f"loggers has {name!r}, which writes into the run folder, and that is {folder}: "
                "leave it out, or give a folder=... on a disk"
            )
        if importlib.util.find_spec(NEEDS[name]) is None:
            raise ConfigError(
                f"loggers has {name!r}, which needs its library: pip install {NEEDS[name]}, or "
                "leave it out"
            )


@contextmanager
def following(folder: StoragePath, name: str, kinds: tuple[str, ...]) -> Iterator[None]:
    """Sends the run's rows to these loggers while the context lasts, and the rest when it ends."""
    if not kinds:
        yield
        return
    follower = Follower(folder, [partial(KINDS[kind], folder, name) for kind in kinds])
    follower.start()
    try:
        yield
    finally:
        follower.finish()


class Follower(threading.Thread):
    """A thread that logs new rows. It also creates the loggers, which may wait for a network."""

    def __init__(self, folder: StoragePath, make: Sequence[Callable[[], Logger]]) -> None:
        super().__init__(daemon=True, name="loggers")
        self._folder, self._make = folder, list(make)
        self._loggers: list[Logger] = []
        self._over = threading.Event()
        self._logged = _state(folder)

    def run(self) -> None:
        over = False
        while not over:
            over = self._over.wait(WATCH_S)
            self._guarded(self.follow)
        for logger in self._loggers:
            self._guarded(logger.close)

    def finish(self) -> None:
        self._over.set()
        self.join(FINISH_S)

    def _guarded(self, act: Callable[[], None]) -> None:
        """Warns instead of raising: a library may fail, and `act` is called again later."""
        try:
            act()
        except Exception as error:
            warnings.warn(f"a logger failed: {error}", stacklevel=2)

    def follow(self) -> None:
        """Logs all rows that were not logged yet."""
        while self._make:
            self._loggers.append(self._make[0]())
            del self._make[0]
        for row in self._steps():
            self._log(_training(row), row["step"])
            self._logged["step"] = row["step"]
        rows = read_metrics(self._folder)
        for row in rows[self._logged["rows"] :]:
            self._log(_measured(row), row.get("version", row.get("round", 0)))
            self._logged["rows"] += 1
        storage.write(self._folder / STATE, json.dumps(self._logged).encode())

    def _steps(self) -> Iterator[dict[str, Any]]:
        """Yields the journal's new steps. After a crash it repeats some, which are identical."""
        file = self._folder / JOURNAL
        if not storage.exists(file):
            return
        *whole, _torn = storage.read(file).split(b"\n")
        for line in whole:
            row = json.loads(line)
            if row["step"] > self._logged["step"]:
                yield row

    def _log(self, values: Mapping[str, float], step: int) -> None:
        for logger in self._loggers:
            logger.log(values, step)


def _training(row: Mapping[str, Any]) -> dict[str, float]:
    losses = {f"train/loss/{pattern}": loss for pattern, loss in row["losses"].items()}
    return {**losses, "train/grad_norm": row["grad_norm"], "train/lr": row["lr"]}


def _measured(row: Mapping[str, Any]) -> dict[str, float]:
    return {
        name: float(value)
        for name, value in row.items()
        if isinstance(value, int | float) and name not in ("round", "version")
    }


def _state(folder: StoragePath) -> dict[str, int]:
    file = folder / STATE
    return json.loads(storage.read(file)) if storage.exists(file) else {"step": 0, "rows": 0}


def _id(folder: StoragePath) -> str:
    """Returns an id of the run's folder, the same from wherever the run is resumed."""
    return hashlib.sha256(str(folder.absolute()).encode()).hexdigest()[:16]
