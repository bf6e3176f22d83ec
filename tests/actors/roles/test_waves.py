"""Drawing in waves, and judging by reading back: what is drawn, scored and written, and when."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from actors.config import JudgeConfig, SolverConfig
from actors.replay.records import Drawing, JudgedGroup, Proposal, Task
from actors.roles.judge import Judge
from actors.roles.requests import Draw, JudgeGroups
from actors.roles.solver import Solver, settled
from actors.roles.templates import load_templates
from policies.config import ConfigError
from policies.interface import Context, Picture, PictureSampling, Segment, TextSampling, learned
from tests.trainer.small import group

TINY = load_templates("tiny")
SOLVE, JUDGE = Task(1, "solver", 3, 0), Task(1, "judge", 3, 0)
WAVES = SolverConfig(rollouts=6, waves=(2, 2, 2))
READ = JudgeConfig(by="read_back", votes=2, temperature=1.0)
PROPOSALS = [Proposal(i, "counting", "one kind", f"{word} stars", i) for i, word in
             enumerate(("one", "two", "three"))]  # fmt: skip


class Painter:
    """Draws its seed."""

    def __init__(self) -> None:
        self.asked: list[Context] = []

    def draw(self, contexts, sampling, seeds):
        self.asked += contexts
        return [learned(seen(seed % 1000)) for seed in seeds]


class Reader:
    """Finds a prompt as likely as the drawing says, and writes of which drawing it was asked."""

    def __init__(self, unreadable: bool = False) -> None:
        self.unreadable = unreadable
        self.asked: list[Context] = []
        self.seeds: list[int] = []

    def log_probs(self, contexts: list[Context], targets: list[Segment]) -> list[np.ndarray]:
        assert all(context == TINY.caption(context[0]) for context in contexts)
        return [np.log(np.float32([0.5, 1.0]) * score_of(context[0]) / 10) for context in contexts]

    def write(self, contexts, sampling: list[TextSampling], seeds: list[int]) -> list[str]:
        self.asked += contexts
        self.seeds += seeds
        if self.unreadable:
            return ["?"] * len(contexts)
        return [f'{{"analysis": "drawing {number(c[-1])}", "score": 5}}' for c in contexts]


def seen(n: int) -> Picture:
    return Picture(np.full((2, 2, 3), n % 256, np.uint8), np.array([n], np.int32))


def number(picture: Picture) -> int:
    return int(picture.codes[0])


def score_of(picture: Picture) -> float:
    """0.1 to 10."""
    return (number(picture) % 100 + 1) / 10


def drawn(*of: tuple[int, ...]) -> list[list[Drawing]]:
    return [[Drawing(n, PictureSampling(), 0, learned(seen(n))) for n in own] for own in of]


def expected(n: int) -> float:
    return 10 * math.sqrt(0.5 * (score_of(seen(n)) / 10) ** 2)


def test_all_waves_draw_together_what_one_would() -> None:
    once = Solver(Painter(), replace_waves(()), TINY).draw(SOLVE, 5, PROPOSALS)
    solver = Solver(Painter(), WAVES, TINY)
    parts = [solver.draw(SOLVE, 5, PROPOSALS, wave) for wave in range(3)]
    assert [len(each) for each in once] == [6, 6, 6]
    for i, own in enumerate(once):
        joined = [drawing for part in parts for drawing in part[i]]
        assert [d.seed for d in joined] == [d.seed for d in own]
        assert [d.sampling for d in joined] == [d.sampling for d in own]


def replace_waves(waves: tuple[int, ...]) -> SolverConfig:
    return SolverConfig(rollouts=6, waves=waves)


@pytest.mark.parametrize(
    "scores, done",
    [((9.0, 6.0), True), ((9.0, 6.5), False), ((6.9, 1.0), False), ((9.0, None), False),
     ((None, None), False), ((8.0, None, 5.0), True)],
)  # fmt: skip
def test_a_prompt_is_settled_by_a_winner_and_a_loser_or_the_winner_alone(
    scores: tuple[float | None, ...], done: bool
) -> None:
    best = max((score or 0.0) for score in scores)
    judged = group(1, scores, reason="" if best >= 7 else f"best score {best:g} is under 7")
    assert settled(judged, 3.0) is done
    assert settled(judged, 0.0) is (best >= 7)
    painter = Painter()
    more = Solver(painter, WAVES, TINY).draw(SOLVE, 5, PROPOSALS[:1], 1, [judged])
    assert len(more[0]) == len(painter.asked) == (0 if done else 2)


def test_later_waves_add_to_a_group_and_leave_it_alone_without_drawings() -> None:
    judge = Judge(Reader(), JudgeConfig(votes=1), TINY)
    first = judge.judge(JUDGE, 0, PROPOSALS[:2], drawn((90, 91), (10, 11)), 0, False)
    again = judge.judge(JUDGE, 0, PROPOSALS[:2], drawn((), (12,)), 1, True, first)
    assert again[0] == first[0]
    assert again[1].rollouts[:2] == first[1].rollouts and len(again[1].rollouts) == 3
    assert again[1].reason == "best score 5 is under 7"


def test_every_wave_is_judged_with_seeds_of_its_own() -> None:
    reader = Reader()
    judge = Judge(reader, JudgeConfig(votes=2, temperature=1.0), TINY)
    groups = judge.judge(JUDGE, 0, PROPOSALS[:1], drawn((90, 91)), 0, False)
    judge.judge(JUDGE, 0, PROPOSALS[:1], drawn((92, 93)), 1, True, groups)
    assert len(set(reader.seeds)) == len(reader.seeds) == 8


def read_back(reader: Reader, *of: tuple[int, ...]) -> list[JudgedGroup]:
    return Judge(reader, READ, TINY).judge(JUDGE, 0, PROPOSALS[: len(of)], drawn(*of))


def test_a_read_back_scores_all_and_writes_of_the_best_and_the_worst() -> None:
    reader = Reader()
    one, two = read_back(reader, (150, 199, 120), (5,))
    assert [r.judgement.score for r in one.rollouts] == pytest.approx(
        [expected(150), expected(199), expected(120)]
    )
    said = [r.judgement for r in one.rollouts]
    assert [j.analysis for j in said] == ["", "drawing 199", "drawing 120"]
    assert [j.attempts for j in said] == [0, 2, 2]
    assert two.rollouts[0].judgement.analysis == "drawing 5" and len(reader.asked) == 2 * 3
    assert one.accepted and not two.accepted
    assert two.reason == f"best score {expected(5):g} is under 7"


def test_a_read_back_writes_once_all_waves_are_over() -> None:
    reader = Reader()
    judge = Judge(reader, READ, TINY)
    first = judge.judge(JUDGE, 0, PROPOSALS[:2], drawn((199, 120), (5, 6)), 0, False)
    assert reader.asked == []
    one, two = judge.judge(JUDGE, 0, PROPOSALS[:2], drawn((), (198, 4)), 1, True, first)
    assert [r.judgement.analysis for r in one.rollouts] == ["drawing 199", "drawing 120"]
    assert [r.judgement.analysis for r in two.rollouts] == ["", "", "drawing 198", "drawing 4"]


def test_an_analysis_that_cannot_be_read_costs_no_score_and_is_counted() -> None:
    judge = Judge(Reader(unreadable=True), READ, TINY)
    result = JudgeGroups(JUDGE).do(judge, 0, PROPOSALS[:1], drawn((150, 199)))
    said = [r.judgement for r in result.payload[0].rollouts]
    assert [j.score for j in said] == pytest.approx([expected(150), expected(199)])
    assert [j.analysis for j in said] == ["", ""] and result.unparsable == 2


def test_the_judge_is_measured_by_what_it_scores_with() -> None:
    shown = [("counting", "two stars", seen(n)) for n in (150, 199)]
    scores = Judge(Reader(), READ, TINY).score(JUDGE, 0, shown)
    assert scores == pytest.approx([expected(150), expected(199)])


def test_a_drawing_that_failed_has_no_score_after_a_read_back() -> None:
    failed = replace(drawn((1,))[0][0], output=())
    (judged,) = Judge(Reader(), READ, TINY).judge(
        JUDGE, 0, PROPOSALS[:1], [[failed, *drawn((199,))[0]]]
    )
    assert [r.judgement.score for r in judged.rollouts] == [None, pytest.approx(expected(199))]
    assert judged.rollouts[0].judgement.attempts == 0


def test_requests_hand_on_what_was_judged_before() -> None:
    solver, judge = Solver(Painter(), WAVES, TINY), Judge(Reader(), READ, TINY)
    groups: list[JudgedGroup] = []
    for wave in range(3):
        drawings = Draw(SOLVE, wave).do(solver, 0, PROPOSALS, groups)
        groups = (
            JudgeGroups(JUDGE, wave, wave == 2)
            .do(judge, 0, PROPOSALS, drawings.payload, groups)
            .payload
        )
    assert {len(g.rollouts) for g in groups} <= {2, 4, 6}
    for each in groups:
        assert settled(each, 3.0) or len(each.rollouts) == 6
        assert not settled(replace(each, rollouts=each.rollouts[:-2]), 3.0) or each.reason == ""


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: SolverConfig(rollouts=8, waves=(2, 2)), r"solver.waves is \(2, 2\).*rollouts \(8\)"),
        (lambda: JudgeConfig(by="read_back", server="http://here:1/v1", server_model="m"),
         "judge.by is 'read_back': it must be votes with judge.server"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_refused(make, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make()
