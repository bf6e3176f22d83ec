"""The settings that weights depend on, as a checkpoint keeps them."""

from __future__ import annotations

import pytest

from actors.config import JudgeConfig
from policies.config import BagelPolicyConfig
from policies.interface import CheckpointError
from trainer.checkpoint import Checkpoint
from trainer.config import ReconstructionConfig, RunConfig
from trainer.training import Training, learning_settings

OLDER = ("caption_wording", "repeat", "judged", "judge_as_asked", "loser", "reflection_from", "reflection_margin",
         "reflection_judgement")  # fmt: skip


def older(config: RunConfig) -> dict:
    """What a checkpoint says that was made before there were rules to choose."""
    settings = learning_settings(config)
    mix = {name: v for name, v in settings["reconstruction"].items() if name not in OLDER}
    young = ("judge.ties", "judge.picture_first")
    return {k: v for k, v in settings.items() if k not in young} | {"reconstruction": mix}


def resume(made_with: dict, config: RunConfig) -> None:
    training = object.__new__(Training)
    training.config, training.settings = config, learning_settings(config)
    found = object.__new__(Checkpoint)
    object.__setattr__(found, "settings", made_with)
    object.__setattr__(found, "path", "step-1")
    training._require_same_settings(found)


def test_a_run_from_before_the_rules_goes_on_with_their_defaults() -> None:
    config = RunConfig(seed=3, reconstruction=ReconstructionConfig(caption=2.0))
    resume(older(config), config)
    resume(learning_settings(config), config)


@pytest.mark.parametrize(
    "changed",
    [
        RunConfig(judge=JudgeConfig(ties="random")),
        RunConfig(judge=JudgeConfig(picture_first=True)),
        *(RunConfig(reconstruction=ReconstructionConfig(**{name: value})) for name, value in zip(
            OLDER, ("infer", True, "all", True, "worst", 9.0, 3.0, False), strict=True)),
    ],
)  # fmt: skip
def test_no_rule_may_change_between_resumes(changed: RunConfig) -> None:
    for made_with in (older(RunConfig()), learning_settings(RunConfig())):
        with pytest.raises(CheckpointError, match=r"step-1 was made with .*now it is"):
            resume(made_with, changed)


def test_a_family_s_options_that_learning_depends_on_may_not_change_either() -> None:
    plain = RunConfig(policy=BagelPolicyConfig(path="somewhere"))
    options = ("policy.training_shift", "policy.adapters")
    older = {k: v for k, v in learning_settings(plain).items() if k not in options}
    resume(older, plain)
    resume(older, RunConfig(policy=BagelPolicyConfig(path="somewhere", think=64)))
    for changed in ({"training_shift": 4.0}, {"adapters": "generation"}):
        for made_with in (older, learning_settings(plain)):
            with pytest.raises(CheckpointError, match=f"policy.{next(iter(changed))}"):
                resume(made_with, RunConfig(policy=BagelPolicyConfig(path="x", **changed)))
