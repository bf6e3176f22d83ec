"""A prompt that is mixed up says something else of the same things, and mixed up again it is the first."""

from __future__ import annotations

import numpy as np
import pytest

from policies.tiny.world import oracle, render
from policies.tiny.world.language import parse, sample_prompt
from policies.tiny.world.mixing import mixed_up


@pytest.mark.parametrize(("text", "other"), [
    ("a red circle above a blue star", "a blue circle above a red star"),
    ("a red circle above a red star", "a red star above a red circle"),
    ("an orange square and a green star in neon", "a green square and an orange star in neon"),
    ("one red circle and two blue stars", "one blue circle and two red stars"),
    ("a cold red thermometer left of a hot red thermometer",
     "a hot red thermometer left of a cold red thermometer"),
    ("the flag of france above the flag of italy", "the flag of italy above the flag of france"),
    ("a red house with a blue door at night", "a blue house with a red door at night"),
    ('a sign with the word " c a t " in red', 'a sign with the word " a c t " in red'),
    ("a red circle and no star", "a red star and no circle"),
])  # fmt: skip
def test_two_words_change_places(text: str, other: str) -> None:
    found = mixed_up(parse(text))
    assert found is not None and found.text == other


@pytest.mark.parametrize("text", [
    "a red circle",
    "three red circles",
    "a red circle and a blue circle",
    "two crosses , one orange and one red",
    "the flag of japan and a red star",
    "a hot red thermometer",
])  # fmt: skip
def test_where_nothing_can_be_mixed_up_nothing_is(text: str) -> None:
    assert mixed_up(parse(text)) is None


def test_the_other_is_false_of_the_scene_and_its_own_other_is_the_first() -> None:
    rng, found = np.random.default_rng(3), 0
    for _ in range(400):
        prompt = sample_prompt(rng)
        other = mixed_up(prompt)
        if other is None:
            continue
        found += 1
        back = mixed_up(other)
        assert back is not None and back.text == prompt.text
        assert other.category == prompt.category
        pixels = render.render(render.sample_scene(prompt, rng))
        assert oracle.all_right(pixels, prompt)
        assert not oracle.all_right(pixels, other), f"{prompt.text} | {other.text}"
    assert found > 150
