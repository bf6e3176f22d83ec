"""One rank's part of the training of a run: steps of examples, checkpoints, versions.

Invariant: the weights follow from the log and the settings alone. Whatever dies, training goes on
from the last checkpoint with the cursor in it, so no example is learned twice or skipped; a
version is published only after the checkpoint that holds it, so it never changes afterwards.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

import numpy as np

from actors.hygiene.looks import Repeats, winning_looks
from actors.replay.records import JudgedGroup
from actors.roles.templates import Templates
from actors.storage import events
from actors.storage.paths import StoragePath
from policies.checks import bfloat16_bits, weight_views
from policies.interface import CheckpointError, Example
from trainer import checkpoint
from trainer.batches import GroupExamples, Share, Step, round_steps, shares_for_rank
from trainer.checkpoint import Cursor
from trainer.config import RunConfig
from trainer.journal import JOURNAL, Journal
from trainer.learned import NOTHING, Learned
from trainer.learner import Learner, TrainingDiverged
from trainer.packing import packed_shares
from trainer.patterns import reconstruct, teaches
from trainer.sharded import begin_with
from trainer.training_io import StopRequested, TrainingIO

CHECKPOINTS = "checkpoints"
LEARNING = (
    "precision", "lora_rank", "lora_alpha", "lr", "warmup_steps", "betas", "eps", "weight_decay", "clip", "ema", "publish", "epochs",
    "groups_per_step", "loss_weights", "kind_weights", "contrast", "publish_dtype", "step_back",
)  # fmt: skip
LearnRound = Callable[["Training", int], None]
"""What a worker does with a round: it takes the steps that are left of it and publishes its version."""


class Training:
    """The part of the rank that `learner` has. All ranks do the same steps in the same order."""

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

    def teaching_groups(self, round_: int) -> Iterator[JudgedGroup]:
        """The groups to learn from as they come, until the round is closed."""
        rules, own = self.config.reconstruction, self.config.judge
        seen = Repeats(own.hygiene.duplicate_bits)
        return (
            group
            for group in self._sampled(round_)
            if teaches(group, rules)
            and not seen.repeats(winning_looks(group, self.config.seed, own.ties))
        )

    def _sampled(self, round_: int) -> Iterator[JudgedGroup]:
        """The groups of the round. The first one tells with which version it begins."""
        for place, group in enumerate(self.io.groups(round_)):
            if place == 0 and self.config.trainer.step_back:
                self._go_on_from(group.weight_version)
            yield group

    def _go_on_from(self, version: int) -> None:
        """Steps back where an earlier version samples the round than was published last. Until there is
        a checkpoint of the round's, whoever goes on does the same again."""
        if self.cursor.between_rounds and version < self.cursor.version:
            weights = weight_views(self.io.weights(version), self.learner.params)
            begin_with(self.learner.state(), weights)
            if self.journal is not None:
                events.note(self.checkpoints.parent, "training", events.STEPPED_BACK, to=version)

    def reconstruct(self, group: JudgedGroup) -> GroupExamples:
        """The group as examples of the four patterns."""
        return reconstruct(group, self.config, self.templates)

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
        learned, why = self._step(step)
        self._note(step, learned, time.monotonic() - started, why)
        if self.learner.steps % self.config.trainer.checkpoint_every == 0:
            self._save()

    def publish(self, round_: int) -> None:
        """Keeps a checkpoint of the round's end, then publishes its weights as version `round_`."""
        steps, skipped = self.learner.steps, self.cursor.skipped
        self.cursor = Cursor(round_ + 1, 1, 0, steps, round_, skipped)
        self.learner.anchor(self._published)
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
        before = _with_defaults(found.settings, self.config)
        for name, value in self.settings.items():
            if before.get(name) != value:
                raise CheckpointError(
                    f"{found.path} was made with {name} {before.get(name)!r}, now it is "
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

    def _step(self, step: Step) -> tuple[Learned, str]:
        """What it did, and where it was skipped why."""
        shares = {p: self._shares(each) for p, each in step.batch.items()}
        learned, why, skipped = NOTHING, "", 0
        try:
            learned = self.learner.step(shares)
        except TrainingDiverged as error:
            if self.learner.rank == 0:
                self.io.diverged()
            why, skipped = error.why, self.cursor.skipped + 1
            if skipped > self.config.trainer.max_skipped:
                raise
            self.learner.skip()
        self.cursor = replace(
            self.cursor, epoch=step.epoch, step=step.index, global_step=self.learner.steps,
            skipped=skipped,
        )  # fmt: skip
        return learned, why

    def _shares(self, examples: Sequence[Example]) -> tuple[Share, ...]:
        rank, world, own = self.learner.rank, self.learner.world, self.config.trainer
        if not own.micro_tokens:
            return shares_for_rank(examples, rank, world, own.micro_batch)
        lengths = self.learner.policy.lengths(examples)
        return packed_shares(examples, lengths, rank, world, own.micro_tokens)

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

    def _note(self, step: Step, learned: Learned, seconds: float, why: str) -> None:
        row = {
            "step": self.learner.steps, "round": self.cursor.round, "epoch": step.epoch,
            "index": step.index, **asdict(learned), "seconds": round(seconds, 4),
        }  # fmt: skip
        if why:
            row["skipped"] = why
            if self.journal is not None:
                events.note(self.checkpoints.parent, "training", events.SKIPPED, why=why)
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
        **{f"policy.{name}": getattr(config.policy, name) for name in config.policy.learned_with},
        "actors.templates": config.actors.templates,
        "judge.accept_at": config.judge.accept_at,
        "judge.ties": config.judge.ties,
        "judge.picture_first": config.judge.picture_first,
        "judge.hygiene.duplicate_bits": config.judge.hygiene.duplicate_bits,
        "reconstruction": config.reconstruction.model_dump(),
        **{f"trainer.{k}": v for k, v in config.trainer.model_dump(include=set(LEARNING)).items()},
    }
    return json.loads(json.dumps(chosen))  # as a checkpoint gives them back


def _with_defaults(settings: Mapping[str, Any], config: RunConfig) -> dict[str, Any]:
    """A setting that a checkpoint does not name is younger than it: the program then did what the
    default does now."""
    family = type(config.policy).model_validate({"family": config.policy.family})
    defaults = learning_settings(RunConfig(policy=family))
    merged = {
        name: {**default, **settings.get(name, {})}
        for name, default in defaults.items()
        if isinstance(default, dict) and isinstance(settings.get(name, {}), dict)
    }
    return {**defaults, **settings, **merged}
