"""The choices that the paper and its released code make otherwise than the default: each an option."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.config import JudgeConfig
from actors.roles.templates import load_templates
from policies.interface import Picture, last_picture, learned
from tests.trainer.small import group
from trainer.config import ReconstructionConfig, RunConfig
from trainer.patterns import reconstruct, teaches

TINY, JSON = load_templates("tiny"), load_templates("json")
SEEDS, JUDGE = range(300), JudgeConfig()


def made(own, seed=0, templates=TINY, judge=JUDGE, **rules):
    config = RunConfig(seed=seed, judge=judge, reconstruction=ReconstructionConfig(**rules))
    return reconstruct(own, config, templates)


def number(judged, segments) -> int:
    (picture,) = [segment for segment in segments if isinstance(segment, Picture)]
    return next(i for i, r in enumerate(judged.rollouts) if r.picture is picture)


def test_one_of_equally_good_drawings_wins_in_every_pattern() -> None:
    judged, seen = group(1, (9.0, 4.0, 9.0, 9.0)), Counter[int]()
    for seed in SEEDS:
        examples = made(judged, seed, judge=JudgeConfig(ties="random"))
        winner = judged.winner(seed, "random")
        for pattern in ("generation", "reflection"):
            assert last_picture(examples[pattern].target) is judged.rollouts[winner].picture
        assert number(judged, examples["caption"].context) == winner
        seen[winner] += 1
    assert set(seen) == {0, 2, 3} and min(seen.values()) > 75
    assert {judged.winner(seed, "first") for seed in SEEDS} == {0}


def test_the_worst_loses_and_ties_are_broken_by_key() -> None:
    judged = group(1, (9.0, 2.0, 5.0, 2.0))
    seen = Counter(
        number(judged, made(judged, seed, loser="worst")["reflection"].context) for seed in SEEDS
    )
    assert set(seen) == {1, 3} and min(seen.values()) > 120


SCORES = st.lists(st.none() | st.integers(0, 10).map(float), min_size=1, max_size=8).filter(
    lambda scores: max((s for s in scores if s is not None), default=0.0) >= 7
)


@given(SCORES, st.integers(0, 10), st.integers(0, 10), st.sampled_from(["any", "worst"]))
def test_a_reflection_needs_a_good_winner_and_a_margin(scores, least, margin, loser) -> None:
    judged = group(3, tuple(scores))
    examples = made(judged, loser=loser, reflection_from=least, reflection_margin=margin)
    known = [score for score in scores if score is not None]
    best, worst = max(known), min(known)
    assert ("reflection" in examples) == (
        best >= least and best > worst and best - worst >= margin
    )  # fmt: skip
    if "reflection" in examples:
        lost = judged.rollouts[number(judged, examples["reflection"].context)].judgement.score
        assert lost < best and best - lost >= margin and (loser == "any" or lost == worst)


def test_a_reflection_can_do_without_the_judgement() -> None:
    judged = group(3, (2.0, 9.0))
    loser = judged.rollouts[0].picture
    plain = made(judged, reflection_judgement=False)["reflection"]
    assert plain.context == (judged.prompt, loser) == TINY.repair(judged.prompt, loser)
    assert plain.target == judged.rollouts[1].output
    wordings = set()
    for seed in SEEDS:
        context = made(judged, seed, JSON, reflection_judgement=False)["reflection"].context
        assert context[0] is loser and judged.prompt in context[1]
        assert "analysis" not in context[1]
        wordings.add(context[1])
    assert len(wordings) == JSON.variants("repair") == 12


def test_captions_can_be_learned_as_the_prompt_alone() -> None:
    judged = group(3, (2.0, 9.0))
    seen = {
        made(judged, seed, JSON, caption_wording="infer")["caption"].context[1] for seed in SEEDS
    }
    assert len(seen) == JSON.variants("infer") == 5 and "Describe this picture." not in seen
    plain = {made(judged, seed, JSON)["caption"].context[-1] for seed in SEEDS}
    assert "Describe this picture." in plain and not plain & seen


def test_any_judged_drawing_gives_the_judgement() -> None:
    judged = group(5, (9.0, 1.0, 2.0, None, 6.9))
    for rule in ("accepted", "all"):
        seen = Counter(
            number(judged, made(judged, seed, judged=rule)["judgement"].context) for seed in SEEDS
        )
        assert set(seen) == {0, 1, 2, 4} and min(seen.values()) > 50


def test_a_prompt_that_is_always_drawn_well_teaches_nothing_if_it_is_to_be_contested() -> None:
    contested = ReconstructionConfig(contested_by=3.0)
    assert teaches(group(5, (9.0, None, 6.0)), contested)
    assert not teaches(group(5, (9.0, 6.5)), contested) and not teaches(group(5, (9.0,)), contested)
    assert teaches(group(5, (9.0,)), ReconstructionConfig())
    failed = group(5, (6.0, 1.0), reason="best score 6 is under 7")
    assert not teaches(failed, contested)


def test_a_rejected_group_teaches_a_judgement_or_nothing() -> None:
    rejected = group(4, (3.0, None, 1.0), reason="best score 3 is under 7")
    assert not teaches(rejected, ReconstructionConfig())
    assert not teaches(rejected, ReconstructionConfig(judged="all", judgement=0.0))
    assert not teaches(group(4, (None,), reason="none parsed"), ReconstructionConfig(judged="all"))
    assert teaches(rejected, ReconstructionConfig(judged="all"))
    (example,) = made(rejected, judged="all").values()
    one = rejected.rollouts[number(rejected, example.context)]
    assert example.pattern == "judgement" and example.target == learned(one.judgement.text())


@pytest.mark.parametrize("first", [False, True])
def test_the_judgement_has_the_order_and_wording_that_the_judge_saw(first: bool) -> None:
    judged, judge = group(2, (9.0, 3.0)), JudgeConfig(picture_first=first)
    for seed in range(20):
        for templates in (TINY, JSON):
            example = made(judged, seed, templates, judge, judge_as_asked=True)["judgement"]
            drawn = judged.rollouts[number(judged, example.context)].picture
            asked = templates.judge(judged.category, judged.prompt, drawn, picture_first=first)
            assert example.context == asked and (asked[0] is drawn) == first
            free = made(judged, seed, templates, judge)["judgement"].context
            assert not first or isinstance(free[0], Picture)


def test_a_run_with_one_option_leaves_the_choices_of_the_others() -> None:
    """Each new choice has a key of its own, or comes after those that were there."""
    judged = group(6, (9.0, 9.0, 4.0, 1.0))
    for seed in range(30):
        plain = made(judged, seed)
        for pattern, example in made(judged, seed, judge=JudgeConfig(ties="random")).items():
            if pattern == "judgement":
                assert (example.context, example.target) == (
                    plain[pattern].context, plain[pattern].target
                )  # fmt: skip
        worst = made(judged, seed, loser="worst")
        for pattern in ("generation", "caption", "judgement"):
            assert worst[pattern].context == plain[pattern].context


@given(SCORES, st.integers(0, 10))
def test_captions_are_learned_of_winners_that_scored_enough_and_nothing_else_changes(
    scores, least
) -> None:
    judged = group(4, tuple(scores))
    usual, chosen = made(judged), made(judged, caption_from=float(least))
    best = max(score for score in scores if score is not None)
    assert set(usual) - set(chosen) == (set() if best >= least else {"caption"})
    for pattern in chosen:
        assert chosen[pattern].context == usual[pattern].context
        assert chosen[pattern].target == usual[pattern].target
