"""One judged group becomes the four patterns, with the contexts of sampling."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.roles.answers import parse_judgement
from actors.roles.templates import load_templates
from policies.interface import Part, Picture, last_picture, learned
from tests.trainer.small import group, picture
from trainer.config import ReconstructionConfig, RunConfig
from trainer.patterns import reconstruct

TINY, JSON = load_templates("tiny"), load_templates("json")


def made(judged, seed, templates, **rules):
    config = RunConfig(seed=seed, reconstruction=ReconstructionConfig(**rules))
    return reconstruct(judged, config, templates)


def rollout_of(judged, picture) -> int:
    return next(i for i, r in enumerate(judged.rollouts) if r.picture is picture)


def test_each_pattern_has_the_context_that_sampling_uses() -> None:
    judged = group(3, (2.0, 9.0, None, 5.0))
    examples = made(judged, 0, TINY)
    best = judged.rollouts[1].picture
    assert list(examples) == ["generation", "caption", "judgement", "reflection"]
    assert all(name == example.pattern for name, example in examples.items())
    assert examples["generation"].context == TINY.draw(judged.prompt) == (judged.prompt,)
    assert examples["generation"].target == judged.rollouts[1].output
    assert examples["caption"].context == TINY.caption(best) == (best, "describe")
    assert examples["caption"].target == learned(judged.prompt)
    assert examples["reflection"].target == judged.rollouts[1].output
    word, prompt, seen = examples["judgement"].context
    assert (word, prompt) == ("judge", judged.prompt)
    one = judged.rollouts[rollout_of(judged, seen)]
    assert examples["judgement"].target == learned(one.judgement.text())
    assert parse_judgement(one.judgement.text()) is not None


def test_the_loser_comes_with_its_own_judgement() -> None:
    judged = group(3, (2.0, 9.0, None, 5.0))
    prompt, picture, words = made(judged, 0, TINY)["reflection"].context
    loser = judged.rollouts[rollout_of(judged, picture)]
    assert prompt == judged.prompt and words == loser.judgement.text()
    assert loser.judgement.score in (2.0, 5.0)


def test_what_the_loser_said_stands_before_its_drawing() -> None:
    judged = group(3, (2.0, 9.0))
    loser = judged.rollouts[0]
    first, last = picture(3, 3, 8), loser.output[-1]
    said = (Part("a call"), Part(first, learned=False), Part(""), Part("another call"), last)
    rollouts = (replace(loser, output=said), judged.rollouts[1])
    told = replace(judged, rollouts=rollouts)
    context = made(told, 0, TINY)["reflection"].context
    words = loser.judgement.text()
    assert context == (judged.prompt, "a call", "another call", last.segment, words)


def test_every_loser_is_chosen_by_some_key_and_a_tie_with_the_best_never() -> None:
    judged = group(1, (9.0, 9.0, 4.0, 1.0))
    seen = Counter(
        rollout_of(judged, made(judged, seed, TINY)["reflection"].context[1]) for seed in range(100)
    )
    assert set(seen) == {2, 3} and min(seen.values()) > 25


def test_without_a_loser_there_is_no_reflection() -> None:
    for scores in [(8.0, 8.0), (8.0, None), (8.0,)]:
        assert "reflection" not in made(group(0, scores), 0, TINY)


def test_good_and_poor_judgements_are_learned_equally_often() -> None:
    judged = group(5, (9.0, 1.0, 2.0, 3.0, 6.9, 0.0, 1.0, None))
    good = 0
    for seed in range(400):
        picture = made(judged, seed, TINY)["judgement"].context[2]
        good += rollout_of(judged, picture) == 0
    assert good / 400 == pytest.approx(0.5, abs=0.08)


@given(
    st.lists(st.none() | st.floats(0, 10), min_size=1, max_size=8).filter(
        lambda scores: max((s for s in scores if s is not None), default=0.0) >= 7
    ),
    st.integers(0, 9),
)
def test_any_accepted_group_gives_what_it_can(scores, seed) -> None:
    judged = group(seed, tuple(scores))
    for templates in (TINY, JSON):
        examples = made(judged, seed, templates)
        known = [s for s in scores if s is not None]
        assert ("reflection" in examples) == (min(known) < max(known))
        best = last_picture(examples["generation"].target)
        assert judged.rollouts[rollout_of(judged, best)].judgement.score == max(known)
        again = made(judged, seed, templates)
        assert {p: (e.context, e.target) for p, e in again.items()} == {
            p: (e.context, e.target) for p, e in examples.items()
        }


def test_learning_uses_every_way_of_saying_an_instruction() -> None:
    captions = {
        tuple(part for part in made(group(i), 0, JSON)["caption"].context
              if not isinstance(part, Picture))
        for i in range(60)
    }  # fmt: skip
    assert len(captions) == JSON.variants("caption") > 1


def test_a_rejected_group_teaches_nothing() -> None:
    with pytest.raises(ValueError, match=r"Group 4 of round 1 was not accepted \(best score 3"):
        made(group(4, (3.0,), reason="best score 3"), 0, TINY)
    with pytest.raises(ValueError, match="it has no score"):
        made(group(4, (None, None)), 0, TINY)
