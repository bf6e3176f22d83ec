"""One long-lived Ray Train run that does `learn_round` of the main loop for every round.

Invariant: the weights follow from the log and the settings alone. Whatever dies, training goes on
from the last checkpoint with the cursor in it, so no example is learned twice or skipped; a
version is published only after the checkpoint that holds it, so it never changes afterwards.
"""

from __future__ import annotations

import json
import os
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import ray
import torch
from ray.train import FailureConfig, ScalingConfig
from ray.train import RunConfig as RayRunConfig
from ray.train.torch import TorchConfig, TorchTrainer, get_device

from actors.config import ActorsConfig, node_resources
from actors.replay.records import JudgedGroup
from actors.retry import get_within
from actors.roles.templates import Templates, load_templates
from actors.storage import storage
from actors.storage.events import note_start
from actors.storage.paths import StoragePath, locate
from policies.checks import bfloat16_bits
from policies.interface import CheckpointError
from policies.registry import load_policy
from trainer import checkpoint
from trainer.batches import GroupExamples, Step, round_steps, shares_for_rank
from trainer.checkpoint import Cursor
from trainer.config import RunConfig
from trainer.journal import JOURNAL, Journal
from trainer.learner import Learned, Learner, TrainingDiverged
from trainer.patterns import reconstruct
from trainer.training_io import RayTrainingIO, StopActor, StopRequested, TrainingIO

CHECKPOINTS = "checkpoints"
STOP_ANSWER_S = 5.0
LONGEST_S = 10.0**8
"""Longer than a run takes, and as long as torch can wait."""
LEARNING = (
    "precision", "lora_rank", "lora_alpha", "lr", "warmup_steps", "betas", "eps", "weight_decay", "clip", "ema", "publish", "epochs",
    "groups_per_step", "loss_weights", "kind_weights", "publish_dtype",
)  # fmt: skip
LearnRound = Callable[["Training", int], None]
"""What a worker does with a round: it takes the steps that are left of it and publishes its version."""


def make_trainer(
    config: RunConfig, learn_round: LearnRound, run_folder: StoragePath, namespace: str,
    data_deadline: float | None = None,
) -> TorchTrainer:  # fmt: skip
    """The Ray Train run of all rounds; `fit()` returns after the last one, or once
    `stop_training` was called. `data_deadline` is how many seconds training waits for the next
    judged groups (if not given as long as sampling may pause, which has deadlines of its own).
    Needs the named actors in `namespace`."""
    # report() waits for the controller's next look, which comes every 2 s by default.
    os.environ.setdefault("RAY_TRAIN_HEALTH_CHECK_INTERVAL_S", "0.2")
    os.environ.setdefault(
        "RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S", str(config.actors.start_deadline)
    )
    os.environ.setdefault("RAY_TRAIN_HEALTH_CHECK_TIMEOUT_S", str(config.actors.task_deadline))
    # Relative paths in the settings mean the same for the workers as for the driver.
    os.environ.setdefault("RAY_CHDIR_TO_TRIAL_DIR", "0")
    folder = run_folder.absolute()
    failures = config.trainer.max_failures
    return TorchTrainer(
        train_loop,
        train_loop_config={
            "config": config,
            "learn_round": learn_round,
            "folder": str(folder),
            "namespace": namespace,
            "stop": StopActor.remote(),
            "data_deadline": data_deadline or config.actors.pause_deadline,
        },
        torch_config=TorchConfig(timeout_s=_patience(config.actors)),
        scaling_config=ScalingConfig(
            num_workers=config.trainer.workers,
            use_gpu=bool(config.trainer.gpus),
            resources_per_worker={"CPU": config.trainer.cpus} | node_resources(config.trainer.node),
        ),
        run_config=RayRunConfig(
            name="train",
            storage_path=str(_rays_own(folder)),
            failure_config=FailureConfig(  # type: ignore[call-arg] # mypy sees that of V1
                failures, controller_failure_limit=failures
            ),
        ),
    )


def _rays_own(folder: StoragePath) -> Path:
    """What Ray Train writes there nobody reads: checkpoints are our own. In a bucket it would only
    be one thing more to wait for."""
    here = storage.local_path(folder)
    return here / "ray" if here else Path(tempfile.gettempdir()) / f"unicorn-ray-{os.getuid()}"


def _patience(actors: ActorsConfig) -> int:
    """Whole seconds for which ranks wait for one whose disk takes no writes."""
    return int(min(actors.pause_deadline + actors.task_deadline, LONGEST_S))


def stop_training(trainer: TorchTrainer, reason: str) -> None:
    """Makes `fit()` of `trainer` return soon, with a checkpoint of where it stands."""
    stop = trainer.train_loop_config["stop"]  # type: ignore[attr-defined] # as above
    get_within(stop.request.remote(reason), STOP_ANSWER_S, "training to hear that it shall stop")


def train_loop(settings: dict[str, Any]) -> None:
    """Every worker of the Ray Train run runs this."""
    config: RunConfig = settings["config"]
    rank = ray.train.get_context().get_world_rank()
    note_start(settings["folder"], f"training worker {rank}")
    device = get_device()
    if device.type == "cpu":
        torch.set_num_threads(1)  # more were 3 to 15 times slower beside busy neighbours
    io = RayTrainingIO(
        config.name, settings["namespace"], settings["stop"], settings["data_deadline"],
        config.actors.pause_deadline,
    )  # fmt: skip
    policy, how = load_policy(config.policy), config.trainer
    if how.lora_rank:
        policy.adapt(how.lora_rank, how.lora_alpha)
    learner = Learner(policy, how, device)
    templates = load_templates(config.actors.templates)
    folder = locate(settings["folder"])
    Training(config, folder, learner, templates, io).run(settings["learn_round"])


class Training:
    """One rank's part of the training of a run. All ranks do the same steps in the same order."""

    def __init__(
        self,
        config: RunConfig,
        folder: StoragePath,
        learner: Learner,
        templates: Templates,
        io: TrainingIO,
    ) -> None:
        self.config, self.learner, self.io = config, learner, io
        self._pause_s = config.actors.pause_deadline
        self.templates = templates
        self.settings = learning_settings(config)
        self.checkpoints = folder / CHECKPOINTS
        self.journal = Journal(folder / JOURNAL, self._pause_s) if learner.rank == 0 else None
        self.cursor = Cursor()
        self._row: Mapping[str, Any] = {}

    def run(self, learn_round: LearnRound) -> None:
        """Returns after the last round, or with a checkpoint once somebody asked to stop."""
        self._restore()
        try:
            while self.cursor.round <= self.config.rounds:
                learn_round(self, self.cursor.round)
        except StopRequested:
            self._save()

    def accepted_groups(self, round_: int) -> Iterator[JudgedGroup]:
        """The groups to learn from as they come, until the round is closed."""
        return (group for group in self.io.groups(round_) if group.accepted)

    def reconstruct(self, group: JudgedGroup) -> GroupExamples:
        """The group as examples of the four patterns."""
        return reconstruct(group, self.config.seed, self.templates, self.config.judge.accept_at)

    def steps(self, round_: int, examples: Iterator[GroupExamples]) -> Iterator[Step]:
        """The steps of the round that are not done yet, each once its groups are there."""
        trainer = self.config.trainer
        steps = round_steps(
            self.config.seed, round_, examples, self.config.reconstruction,
            trainer.groups_per_step, trainer.epochs,
        )  # fmt: skip
        done = (self.cursor.epoch, self.cursor.step)
        while (step := self._next(steps)) is not None:
            if (step.epoch, step.index) > done:
                yield step

    def learn(self, step: Step) -> None:
        """Takes the step, notes its figures, and keeps a checkpoint when it is time for one."""
        started = time.monotonic()
        learned = self._step(step)
        self._note(step, learned, time.monotonic() - started)
        if self.learner.steps % self.config.trainer.checkpoint_every == 0:
            self._save()

    def publish(self, round_: int) -> None:
        """Keeps a checkpoint of the round's end, then publishes its weights as version `round_`."""
        self.cursor = Cursor(round_ + 1, 1, 0, self.learner.steps, round_)
        self._save()
        weights = self.learner.weights(self._published, here=self.learner.rank == 0)
        if self.learner.rank == 0:
            self._publish(round_, weights)
        self.io.finished(round_, self._row)
        self._row = {}

    def _restore(self) -> None:
        found = checkpoint.latest(self.checkpoints)
        if found is not None:
            self._require_same_settings(found)
            checkpoint.restore(found, self.learner)
            self.cursor = found.cursor
        if self.journal is not None:
            self.journal.rewind(self.cursor.global_step)
            self._publish_again()

    def _require_same_settings(self, found: checkpoint.Checkpoint) -> None:
        for name, value in self.settings.items():
            if found.settings.get(name) != value:
                raise CheckpointError(
                    f"{found.path} was made with {name} {found.settings.get(name)!r}, now it is "
                    f"{value!r}: resume with the same value, or start a run in another folder."
                )

    def _publish_again(self) -> None:
        """The store may have died with versions that were only in its memory."""
        there = self.io.versions()
        for version, path in checkpoint.finished(self.checkpoints).items():
            if version not in there:
                ended = checkpoint.verify(path)
                weights = checkpoint.read_weights(ended, self.learner, self._published)
                self._publish(version, weights)

    def _publish(self, version: int, weights: Mapping[str, np.ndarray]) -> None:
        whole = self.learner.policy.published(weights)
        short = self.config.trainer.publish_dtype == "bfloat16"
        self.io.publish(version, bfloat16_bits(whole) if short else whole)

    def _step(self, step: Step) -> Learned:
        rank, world, size = self.learner.rank, self.learner.world, self.config.trainer.micro_batch
        shares = {p: shares_for_rank(each, rank, world, size) for p, each in step.batch.items()}
        try:
            learned = self.learner.step(shares)
        except TrainingDiverged:
            if rank == 0:
                self.io.diverged()
            raise
        self.cursor = replace(
            self.cursor, epoch=step.epoch, step=step.index, global_step=self.learner.steps
        )
        return learned

    def _next(self, steps: Iterator[Step]) -> Step | None:
        """The next step, once its groups are there. Ranks hear of a stop at different moments,
        and stop together."""
        step, reason = None, ""
        try:
            self.io.check_stop()
            step = next(steps, None)
        except StopRequested as request:
            reason = str(request) or "no reason given"
        if self.learner.any_rank(bool(reason)):
            raise StopRequested(reason)
        return step

    def _note(self, step: Step, learned: Learned, seconds: float) -> None:
        row = {
            "step": self.learner.steps, "round": self.cursor.round, "epoch": step.epoch,
            "index": step.index, **asdict(learned), "seconds": round(seconds, 4),
        }  # fmt: skip
        if self.journal is not None:
            self.journal.add(row)
            self.io.show(row)
        self._row = row

    def _save(self) -> None:
        kept = self.config.trainer.kept_checkpoints
        checkpoint.save(
            self.checkpoints, self.learner, self.cursor, self.settings, kept, self._pause_s
        )

    @property
    def _published(self) -> checkpoint.Kind:
        return "ema" if self.config.trainer.publish == "ema" else "model"


def learning_settings(config: RunConfig) -> dict[str, Any]:
    """The settings that the weights depend on; the others may change between resumes."""
    chosen = {
        "seed": config.seed,
        "policy.family": config.policy.family,
        # Adapters alone are kept: they mean nothing beside another base.
        "policy.path": config.policy.path if config.trainer.lora_rank else "",
        "actors.templates": config.actors.templates,
        "judge.accept_at": config.judge.accept_at,
        "reconstruction": config.reconstruction.model_dump(),
        **{f"trainer.{k}": v for k, v in config.trainer.model_dump(include=set(LEARNING)).items()},
    }
    return json.loads(json.dumps(chosen))  # as a checkpoint gives them back
