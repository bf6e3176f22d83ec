"""One long-lived Ray Train run that does `learn_round` of the main loop for every round.

Invariant: every worker runs the same `Training`, one rank each; what Ray keeps of them nobody reads,
since a worker that is started again goes on from the last checkpoint.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Any

import ray
import torch
from ray.train import FailureConfig, ScalingConfig
from ray.train import RunConfig as RayRunConfig
from ray.train.torch import TorchConfig, TorchTrainer, get_device

from actors.config import ActorsConfig, node_resources
from actors.retry import get_within
from actors.roles.templates import load_templates
from actors.storage import storage
from actors.storage.events import note_start
from actors.storage.paths import StoragePath, locate
from policies.registry import load_policy
from trainer.config import RunConfig
from trainer.learner import Learner
from trainer.training import LearnRound, Training
from trainer.training_io import RayTrainingIO, StopActor

STOP_ANSWER_S = 5.0
LONGEST_S = 10.0**8
"""Longer than a run takes, and as long as torch can wait."""


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
