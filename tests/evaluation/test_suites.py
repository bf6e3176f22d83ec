"""The tiny world as a suite: held out, balanced, the same every time, and right by construction."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import cast

import numpy as np
import pytest

from actors.pool.pool import Pool
from evaluation.config import EvaluationConfig
from evaluation.measure import measure
from evaluation.suites import NEVER_RIGHT, load_suite
from evaluation.unicycle import rules, scoring
from policies.config import ConfigError
from policies.interface import Picture
from policies.seeds import generator
from policies.tiny.world import oracle
from policies.tiny.world.language import CATEGORIES, is_held_out, parse
from policies.tiny.world.render import render, sample_scene
from trainer.config import RunConfig

SUITE = load_suite("tiny_world")


def test_no_suite_measures_nothing_and_keeps_nothing(tmp_path):
    config = RunConfig(folder=str(tmp_path), evaluation=EvaluationConfig(suite="none"))
    suite, pool = load_suite(config.evaluation.suite), cast("Pool", None)
    assert asyncio.run(measure(0, config, suite, pool, pool)) == {}
    assert suite.prompts(500, 0) == [] and not list(tmp_path.iterdir())


def test_an_unknown_suite_is_refused_by_name():
    with pytest.raises(
        ConfigError, match=r"evaluation\.suite is 'geneval': it must be one of .*tiny"
    ):
        load_suite("geneval")


def test_prompts_are_held_out_balanced_and_of_their_category():
    prompts = SUITE.prompts(100, 1)
    assert Counter(category for _, category in prompts) == dict.fromkeys(CATEGORIES, 10)
    assert all(is_held_out(text) and parse(text).category == kind for text, kind in prompts)
    assert len(set(prompts)) == 100


def test_prompts_are_the_same_every_time_and_fewer_are_a_beginning_of_more():
    assert SUITE.prompts(30, 1) == SUITE.prompts(60, 1)[:30]
    assert SUITE.prompts(30, 1) != SUITE.prompts(30, 2)


def test_a_world_that_is_exhausted_repeats_itself():
    portraits = [text for text, kind in SUITE.prompts(500, 1) if kind == "portrait"]
    assert len(portraits) == 50
    assert 20 < len(set(portraits)) < 50


def test_scenes_are_the_same_every_time_and_nearly_all_right_to_the_oracle():
    scenes, again = SUITE.scenes(30, 1), SUITE.scenes(30, 1)
    assert all(np.array_equal(a.pixels, b.pixels) for (a, _), (b, _) in zip(scenes, again))
    verdicts = [SUITE.verdict(picture.pixels, prompt) for picture, prompt in scenes]
    assert sum(v.right for v in verdicts) >= 29
    assert all((v.score == 10) == v.right == (v.soft == 1) for v in verdicts)


def test_a_verdict_is_what_the_oracle_says():
    asked = parse("two red circles and one blue star")
    for text in ("two red circles and one blue star", "two red circles", "the flag of japan"):
        pixels = render(sample_scene(parse(text), generator("verdict")))
        verdict = SUITE.verdict(pixels, asked.text)
        assert verdict.score == oracle.score(pixels, asked)
        assert verdict.soft == oracle.soft(pixels, asked)
        assert verdict.right == oracle.all_right(pixels, asked)


def test_an_empty_drawing_is_not_right():
    blank = np.full((48, 48, 3), 255, np.uint8)
    assert not SUITE.verdict(blank, "three red circles").right
    assert not SUITE.caption_right(Picture(blank), "three red circles")


def test_a_caption_is_right_if_what_it_says_holds():
    picture, prompt = SUITE.scenes(1, 1)[0]
    assert SUITE.caption_right(picture, prompt)
    assert not SUITE.caption_right(picture, "the flag of")
    assert not SUITE.caption_right(picture, "")


def test_the_right_answers_get_full_marks_and_no_answers_none():
    for prompt, _ in SUITE.prompts(50, 3):
        asked = SUITE.questions(prompt)
        assert scoring.hard([rules.mark(q, q.answer) for q in asked]) == 1
        assert scoring.soft([rules.mark(q, "") for q in asked]) == 0


def test_what_the_world_cannot_read_is_not_grammatical():
    assert SUITE.grammatical("three red circles")
    assert not SUITE.grammatical("three red circle")
    assert not SUITE.grammatical("an astronaut")


@pytest.mark.parametrize("shape", [(96, 96, 3), (48, 64, 3), (1, 1, 3)])
def test_a_drawing_of_another_size_is_never_right(shape):
    pixels = np.full(shape, 255, np.uint8)
    assert SUITE.verdict(pixels, "three red circles") == NEVER_RIGHT
    assert not SUITE.caption_right(Picture(pixels), "three red circles")
