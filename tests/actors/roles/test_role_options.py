"""What roles do otherwise than by default, and how a real model's replies are met."""

from __future__ import annotations

import numpy as np
import pytest

from actors.category_shares import CategoryShares
from actors.config import JudgeConfig, ProposerConfig, SolverConfig
from actors.replay.records import Drawing, Judgement, Proposal, Task
from actors.roles.judge import Judge
from actors.roles.proposer import Proposer
from actors.roles.solver import measured_sampling, rollout_sampling
from actors.roles.templates import load_templates
from policies.config import ConfigError
from policies.interface import Picture, PictureSampling, learned

TINY = load_templates("tiny")
TOPICS = TINY.topics(10, CategoryShares())


def test_guidance_can_be_spread_evenly_over_the_rollouts() -> None:
    config = SolverConfig(rollouts=8, guidance_range=(3.0, 8.0))
    spread = [rollout_sampling(config, k).guidance for k in range(8)]
    assert spread[0] == 3.0 and spread[-1] == 8.0
    assert [round(scale, 3) for scale in spread] == [
        3.0, 3.714, 4.429, 5.143, 5.857, 6.571, 7.286, 8.0
    ]  # fmt: skip
    assert measured_sampling(config, 1.0, None).guidance == pytest.approx(5.5)
    alone = SolverConfig(rollouts=1, guidance_range=(3.0, 8.0))
    assert rollout_sampling(alone, 0).guidance == 3.0
    with pytest.raises(
        ConfigError, match=r"solver.guidance is \(2.0,\): it must be at its default"
    ):
        SolverConfig(guidance=(2.0,), guidance_range=(3.0, 8.0))


class Speaker:
    """Says what it is told to, one text after the other, and keeps what it was asked."""

    def __init__(self, *texts: str) -> None:
        self.texts, self.asked = list(texts), []

    def write(self, contexts, sampling, seeds) -> list[str]:
        self.asked += contexts
        return [self.texts.pop(0) for _ in contexts]


def test_a_bad_proposal_is_asked_for_again_and_a_list_of_one_is_good() -> None:
    good = '[{"major_category": "counting", "subcategory": "one kind", "prompt": "two cups"}]'
    speaker = Speaker("Sure! Here it is:", good.replace("counting", "portrait"), good)
    made = Proposer(speaker, ProposerConfig(), TINY).propose(
        Task(1, "proposer", 0, 0), 0, [TOPICS[9]], {}
    )
    assert [p and p.prompt for p in made] == ["two cups"] and len(speaker.asked) == 3


def test_the_judge_can_see_the_picture_first_and_count() -> None:
    real = load_templates("json")
    counted = '{"target_quantity": 2, "detected_quantity": 3, "analysis": "one more", "score": 1}'
    speaker = Speaker('{"analysis": "two", "score": 9}', counted, counted)
    picture = Picture(np.zeros((8, 8, 3), np.uint8))
    drawing = Drawing(1, PictureSampling(), 0, learned(picture))
    judge = Judge(speaker, JudgeConfig(picture_first=True), real)
    (group,) = judge.judge(
        Task(1, "judge", 0, 0), 0, [Proposal(0, "counting", "one kind", "two cups", 0)], [[drawing]]
    )
    assert group.rollouts[0].judgement == Judgement("one more", 1.0, 2, ("2", "3"))
    assert judge.score(Task(1, "judge", 0, 0), 0, [("counting", "two cups", picture)]) == [1.0]
    for context in speaker.asked:
        assert context[0] is picture and '"detected_quantity"' in context[1]
