"""A Judge that combines its signals: what it asks the model, what it keeps, and what it accepts."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from actors.config import JudgeConfig
from actors.replay.records import UNTRUSTED, JudgedGroup
from actors.replay.segments import read_segment, write_segment
from actors.roles.calibration import Fit, Trust
from actors.roles.judge import Judge
from actors.roles.requests import ReadSignals, ScoreDrawings
from actors.roles.signals import likeness
from policies.config import ConfigError
from policies.interface import Context, Picture, TextSampling
from tests.actors.roles.test_waves import JUDGE, PROPOSALS, TINY, Reader, drawn, number, seen

ALL = JudgeConfig(
    by="read_back", accept_probability=0.4, signals=("votes", "read_back", "worst", "cycle"),
    temperature=1.0,
)  # fmt: skip
COSTLESS = JudgeConfig(by="read_back", accept_probability=0.4)


class Describer(Reader):
    """Describes drawing 199 as "one stars", and every other one as nothing."""

    def write(
        self, contexts: Sequence[Context], sampling: list[TextSampling], seeds: list[int]
    ) -> list[str]:
        if contexts and isinstance(contexts[0][0], Picture):
            return ["one stars" if number(c[0]) == 199 else "nothing" for c in contexts]
        return super().write(contexts, sampling, seeds)


def judged(config: JudgeConfig, trust: Trust, *of: tuple[int, ...]) -> list[JudgedGroup]:
    return Judge(Describer(), config, TINY).judge(
        JUDGE, 0, PROPOSALS[: len(of)], drawn(*of), trust=trust
    )


def test_a_record_keeps_what_its_score_was_made_of(tmp_path) -> None:
    (group,) = judged(ALL, Trust(), (150, 199))
    one, two = (dict(r.judgement.signals) for r in group.rollouts)
    assert list(one) == ["votes", "read_back", "worst", "cycle"]
    low, high = math.log(0.51 * 0.5), math.log(0.51)
    assert one["read_back"] == pytest.approx((low + high) / 2)
    assert one["worst"] == pytest.approx(low)
    assert (one["votes"], one["cycle"], two["cycle"]) == (5.0, 0.0, 1.0)
    stored = write_segment(tmp_path, 1, 0, [group])
    (again,) = read_segment(stored)
    assert [r.judgement for r in again.rollouts] == [r.judgement for r in group.rollouts]


def test_without_a_fit_the_usual_score_decides_and_the_signals_are_kept_all_the_same() -> None:
    (plain,) = judged(JudgeConfig(by="read_back"), Trust(), (150, 199))
    (kept,) = judged(COSTLESS, Trust(), (150, 199))
    assert [r.judgement.score for r in kept.rollouts] == [r.judgement.score for r in plain.rollouts]
    assert [r.judgement.analysis for r in kept.rollouts] == ["drawing 150", "drawing 199"]
    assert all(r.judgement.signals == () for r in plain.rollouts)
    assert [name for name, _ in kept.rollouts[0].judgement.signals] == ["read_back", "worst"]


def test_analyses_are_written_only_if_they_are_wanted() -> None:
    (group,) = judged(JudgeConfig(by="read_back", analyses=False), Trust(), (150, 199))
    (plain,) = judged(JudgeConfig(by="read_back"), Trust(), (150, 199))
    assert [r.judgement.analysis for r in group.rollouts] == ["", ""]
    assert [r.judgement.score for r in group.rollouts] == [
        r.judgement.score for r in plain.rollouts
    ]


def test_a_fit_accepts_what_is_probable_enough() -> None:
    """Of the worst token alone, which is half as probable as the drawing says: half at drawing 199."""
    fit = Fit(("worst",), (1.0,), math.log(2.0))
    (group,) = judged(COSTLESS, Trust(fit), (150, 199))
    chances = [odds / (1 + odds) for odds in (0.51, 1.0)]
    scores = [r.judgement.score for r in group.rollouts]
    assert scores == pytest.approx([7 * chances[0] / 0.4, 7 + 3 * (chances[1] - 0.4) / 0.6])
    assert group.accepted and scores[0] < 7 < scores[1]
    shown = [("counting", "one stars", seen(n)) for n in (150, 199)]
    request = ScoreDrawings(JUDGE, Trust(fit))
    assert request.do(Judge(Describer(), COSTLESS, TINY), 0, shown).payload == scores


def test_a_drawing_one_of_whose_signals_cannot_be_read_has_no_score() -> None:
    fit = Fit(("votes", "worst"), (1.0, 1.0), 0.0)
    own = Judge(Reader(unreadable=True), replace_signals("votes", "read_back", "worst"), TINY)
    (group,) = own.judge(JUDGE, 0, PROPOSALS[:1], drawn((199,)), trust=Trust(fit))
    assert group.rollouts[0].judgement.score is None and not group.accepted
    assert [name for name, _ in group.rollouts[0].judgement.signals] == ["read_back", "worst"]


def replace_signals(*names: str) -> JudgeConfig:
    return JudgeConfig(by="read_back", accept_probability=0.4, signals=names)


def test_winners_of_a_category_in_which_the_judge_is_not_trusted_are_rejected_at_the_end() -> None:
    trust = Trust(None, (("counting", f"{UNTRUSTED}J is 40 %"),))
    won, lost = judged(JudgeConfig(by="read_back"), trust, (199,), (5,))
    assert won.reason == f"{UNTRUSTED}J is 40 %" and won.untrusted and not won.accepted
    assert lost.reason.startswith("best score") and not lost.untrusted
    own = Judge(Reader(), JudgeConfig(by="read_back"), TINY)
    (first,) = own.judge(JUDGE, 0, PROPOSALS[:1], drawn((199,)), 0, False, trust=trust)
    assert first.accepted, "or its drawing would never end early"
    other = replace(PROPOSALS[0], category="portrait")
    (elsewhere,) = own.judge(JUDGE, 0, [other], drawn((199,)), trust=trust)
    assert elsewhere.accepted


def test_signals_are_read_of_a_part() -> None:
    own = Judge(Describer(), COSTLESS, TINY)
    shown = [("counting", "one stars", seen(n)) for n in (150, 160, 170, 199)]
    parts = [ReadSignals(JUDGE, first, 3).do(own, 0, shown).payload for first in (0, 3)]
    assert [len(part) for part in parts] == [3, 1]
    values = [dict(each.signals)["worst"] for part in parts for each in part]
    assert values == sorted(values) and len(np.unique(values)) == 4


def test_a_description_is_like_a_prompt_as_far_as_its_pairs_of_words_are() -> None:
    assert likeness("Two cats.", "two cats") == 1.0
    assert likeness("", "two cats") == 0.0
    assert 0 < likeness("two dogs", "two cats") < likeness("two grey dogs sit", "two grey cats sit")


@pytest.mark.parametrize(
    "settings, message",
    [
        ({"by": "votes"}, "judge.signals is .* a list with judge.by"),
        ({"signals": ("read_back", "read_back")}, "judge.signals is .*names each signal once"),
        ({"accept_at": 10.0}, "judge.accept_at is 10.0: .*judge.accept_probability"),
        ({"by": "votes", "signals": ("votes",), "server": "http://here:1/v1", "server_model": "m"},
         "judge.accept_probability is 0.4: .*judge.server"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_refused(settings: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        JudgeConfig(**{"by": "read_back", "accept_probability": 0.4, **settings})
