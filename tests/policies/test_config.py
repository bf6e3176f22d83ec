"""Sections made in Python are as strict as recipes, and refuse in the same words."""

from __future__ import annotations

import pickle
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest
from pydantic import ValidationError

from actors.config import JudgeConfig, ProposerConfig, SolverConfig
from evaluation.config import EvaluationConfig
from policies.config import JanusPolicyConfig, TinyPolicyConfig, changed
from policies.errors import ConfigError
from policies.interface import CONDITIONS, LOSS_KINDS, PATTERNS
from trainer.config import (
    ConditionDropout,
    KindWeights,
    PatternWeights,
    ReconstructionConfig,
    RunConfig,
    TrainerConfig,
)

WHOLE = changed(
    RunConfig(),
    policy=JanusPolicyConfig(path="here", dtype="bfloat16"),
    solver=SolverConfig(guidance=(1, 5.0), max_replicas=4),
    trainer=TrainerConfig(loss_weights=PatternWeights(caption=0.1)),
)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: TrainerConfig(lr=0), "trainer.lr is 0: it must be above 0"),
        (lambda: changed(TrainerConfig(), lr=-1.0), "trainer.lr is -1.0: it must be above 0"),
        (lambda: TrainerConfig(betas=(0.9, 1.0)), "trainer.betas is 1.0: it must be in [0, 1)"),
        (lambda: ProposerConfig(similarity=0), "proposer.similarity is 0: it must be in (0, 1]"),
        (lambda: SolverConfig(replicas=True), "solver.replicas is True: it must be a whole number"),
        (lambda: JudgeConfig(replicas=0), "judge.replicas is 0: it must be 1 or more"),
        (
            lambda: JudgeConfig(replicas=3, max_replicas=2),
            "judge.max_replicas is 2: it must be 0, or judge.replicas (3) or more",
        ),
        (lambda: EvaluationConfig(prompts=10**6), "is 1000000: it must be from 1 to 100000"),
        (
            lambda: TrainerConfig(loss_weights={"captoin": 1}),  # type: ignore[arg-type]
            "there is no field trainer.loss_weights.captoin; the nearest is "
            "trainer.loss_weights.caption",
        ),
        (lambda: SolverConfig(rolouts=8), "there is no field solver.rolouts; the nearest is solver.rollouts"),  # type: ignore[call-arg]
        (lambda: changed(RunConfig(), solver=8), "solver is 8: it must be a section"),
        (lambda: RunConfig(policy={"family": "gpt"}), "policy.family is 'gpt': it must be one of"),  # type: ignore[arg-type]
        (
            lambda: ReconstructionConfig(generation=0, caption=0, judgement=0, reflection=0),
            "it must be above 0 for one pattern",
        ),
        (lambda: RunConfig(name="a/b"), "name is 'a/b': it must be a plain folder name"),
    ],
)  # fmt: skip
def test_a_value_that_cannot_be_is_refused_by_its_dotted_name(
    make: Callable[[], Any], said: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        make()
    assert said in str(caught.value) and "\n" not in str(caught.value)


def test_a_section_cannot_be_changed_in_place() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        TrainerConfig().lr = 1.0  # type: ignore[misc]


def test_a_change_keeps_the_rest_and_makes_numbers_of_whole_ones() -> None:
    made = changed(WHOLE.trainer, lr=1)
    assert made == TrainerConfig(lr=1.0, loss_weights=PatternWeights(caption=0.1))
    assert type(made.lr) is float and type(WHOLE.solver.guidance[0]) is float


def test_a_policy_without_a_family_is_the_tiny_one() -> None:
    config = RunConfig(policy={"path": "here"})  # type: ignore[arg-type]
    assert config.policy == TinyPolicyConfig(path="here")


def test_numbers_are_looked_up_by_name() -> None:
    weights = WHOLE.trainer.loss_weights
    assert dict(weights.items()) == {name: weights[name] for name in PATTERNS}
    assert weights["caption"] == 0.1


def test_every_pattern_and_kind_has_a_weight_and_every_condition_a_chance() -> None:
    assert tuple(PatternWeights.model_fields) == PATTERNS
    assert tuple(KindWeights.model_fields) == LOSS_KINDS
    assert tuple(ConditionDropout.model_fields) == CONDITIONS
    assert tuple(ReconstructionConfig.model_fields)[: len(PATTERNS)] == PATTERNS


def test_a_configuration_crosses_to_another_process() -> None:
    program = (
        "import pickle, sys\n"
        "config = pickle.load(sys.stdin.buffer)\n"
        "sys.stdout.buffer.write(pickle.dumps((config, hash(config))))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], input=pickle.dumps(WHOLE), capture_output=True, check=True
    )
    there, _ = pickle.loads(done.stdout)
    assert there == WHOLE and type(there.policy) is JanusPolicyConfig
