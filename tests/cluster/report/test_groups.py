"""Which drawings a card marks, by the rules of the run."""

from __future__ import annotations

from actors.config import JudgeConfig
from actors.roles.templates import load_templates
from cluster.report.groups import ends
from cluster.report.lessons import lessons
from tests.trainer.small import group
from trainer.config import ReconstructionConfig, RunConfig


def test_a_card_marks_the_drawing_that_a_key_chose_among_equals():
    tied = group(1, (9.0, 2.0, 9.0))
    for seed in range(10):
        config = RunConfig(seed=seed, judge=JudgeConfig(ties="random"))
        examples = lessons(tied, config, load_templates("tiny"))
        winner, loser = ends(tied, examples)
        assert winner == tied.winner(seed, "random") and loser == 1
    rejected = group(2, (3.0, 2.0), reason="best score 3 is under 7")
    every = RunConfig(reconstruction=ReconstructionConfig(judged="all"))
    taught = lessons(rejected, every, load_templates("tiny"))
    assert list(taught) == ["judgement"] and ends(rejected, taught) == (None, None)
