"""The Judge with filters, the real ones: what they leave out is not judged, and cannot win."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from actors.config import JudgeConfig, SolverConfig
from actors.hygiene.config import HygieneConfig
from actors.hygiene.looks import looks
from actors.replay.records import Drawing, JudgedGroup, Judgement, Proposal, Task
from actors.roles.judge import Judge
from actors.roles.requests import JudgeGroups
from actors.roles.solver import Solver, settled
from actors.roles.templates import load_templates
from policies.interface import Context, Picture, PictureSampling, learned
from tests.actors.hygiene.samples import landscape, portrait

TINY = load_templates("tiny")
JUDGE = Task(1, "judge", 3, 0)
PROPOSALS = [Proposal(i, "portrait", "one kind", f"face {i}", i) for i in range(2)]
NO_FACES = HygieneConfig(unsafe_from=0.3, unsafe_parts=("FACE_FEMALE",))
FACE, SKY, SEA = portrait(), landscape(1), landscape(2)


class Marks:
    """Gives each drawing the next of its scores, and remembers what it was shown."""

    def __init__(self, *scores: int) -> None:
        self.scores, self.shown = iter(scores), []

    def write(self, contexts: list[Context], sampling, seeds) -> list[str]:
        self.shown += [next(s for s in c if isinstance(s, Picture)) for c in contexts]
        return [f'{{"analysis": "seen", "score": {next(self.scores)}}}' for _ in contexts]

    def log_probs(self, contexts: list[Context], targets) -> list[np.ndarray]:
        self.shown += [context[0] for context in contexts]
        return [np.log(np.float32([next(self.scores) / 10])) for _ in contexts]


def drawn(*pictures: Picture) -> list[Drawing]:
    return [Drawing(k, PictureSampling(), 0, learned(p)) for k, p in enumerate(pictures)]


def judged(
    marks: Marks, *of: tuple[Picture, ...], hygiene: HygieneConfig = NO_FACES, **config
) -> list[JudgedGroup]:
    judge = Judge(marks, JudgeConfig(hygiene=hygiene, **config), TINY)
    return judge.judge(JUDGE, 0, PROPOSALS[: len(of)], [drawn(*pictures) for pictures in of])


def test_what_a_filter_leaves_out_is_not_judged_and_the_record_says_why() -> None:
    marks = Marks(9, 3)
    one, two = judged(marks, (FACE, SKY), (SEA, FACE))
    assert [picture is each for picture, each in zip(marks.shown, (SKY, SEA), strict=True)]
    left_out, kept = one.rollouts
    assert left_out.unfit is not None and left_out.unfit.filter == "unsafe"
    assert 0.3 <= left_out.unfit.value <= 1 and left_out.picture is FACE
    assert left_out.judgement == Judgement("", None, 0)
    assert left_out.remark == f"left out by the filter unsafe: {left_out.unfit.value:.3g}"
    assert kept.unfit is None and (kept.judgement.score, kept.remark) == (9.0, "seen")
    assert one.accepted and one.winner(0, "first") == 1 and two.reason == "best score 3 is under 7"


def test_a_read_back_is_not_asked_for_what_was_left_out() -> None:
    marks = Marks(9, 4, 9, 4)
    (one,) = judged(marks, (FACE, SKY, SEA), by="read_back")
    assert not any(picture is FACE for picture in marks.shown)
    assert [r.judgement.score for r in one.rollouts] == [None, pytest.approx(9), pytest.approx(4)]


def test_a_prompt_of_which_every_drawing_is_left_out_is_rejected_for_that() -> None:
    only, both = judged(Marks(9), (FACE, FACE), (FACE, SKY))
    assert only.reason == "every drawing was left out by a filter" and both.accepted
    result = JudgeGroups(JUDGE).do(
        Judge(Marks(), JudgeConfig(hygiene=NO_FACES), TINY), 0, PROPOSALS[:1], [drawn(FACE)]
    )
    assert result.unparsable == 0, "nothing was asked, so nothing was unreadable"


def test_drawing_goes_on_where_a_winner_was_left_out() -> None:
    config = SolverConfig(rollouts=4, waves=(2, 2))
    (group,) = judged(Marks(2), (FACE, SEA))
    assert not settled(group, config.loser_by)

    class Painter:
        def draw(self, contexts, sampling, seeds):
            return [learned(SKY) for _ in contexts]

    more = Solver(Painter(), config, TINY).draw(
        Task(1, "solver", 3, 0), 0, PROPOSALS[:1], 1, [group]
    )
    judge = Judge(Marks(9, 8), JudgeConfig(hygiene=NO_FACES), TINY)
    (whole,) = judge.judge(JUDGE, 0, PROPOSALS[:1], more, 1, True, [group])
    assert len(whole.rollouts) == 4 and whole.accepted and whole.rollouts[0].unfit


def test_records_name_the_models_that_filter_once() -> None:
    assert judged(Marks(9), (SKY,), hygiene=HygieneConfig())[0].external == ""
    judge = Judge(Marks(9, 9), JudgeConfig(hygiene=NO_FACES), TINY)
    for before in ("", "personas p.jsonl 1234, filter NudeNet"):
        asked = replace(PROPOSALS[0], external=before)
        (group,) = judge.judge(JUDGE, 0, [asked], [drawn(SKY)])
        assert group.external == (before or "filter NudeNet")
    both = HygieneConfig(unsafe_from=0.5, clip="/m/clip", clip_from=0.2)
    assert both.outside == "filter NudeNet and filter /m/clip" and both.names == ("unsafe", "clip")


def test_hashes_are_kept_of_what_can_win_where_repeats_are_sought() -> None:
    sought = NO_FACES.model_copy(update={"duplicate_bits": 4})
    (group,) = judged(Marks(9), (FACE, SKY), hygiene=sought)
    assert [r.looks for r in group.rollouts] == ["", looks(SKY.pixels)]
    (group,) = judged(Marks(9), (FACE, SKY))
    assert [r.looks for r in group.rollouts] == ["", ""]
