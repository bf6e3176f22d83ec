"""The tiny world holds together: language, drawings, oracle and questions tell the same story.

Invariant: nothing here depends on a trained model or on chance; every generator is seeded.
"""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest

from policies.tiny.world import oracle
from policies.tiny.world.language import (
    CATEGORIES,
    WORDS,
    Prompt,
    corrupt,
    is_held_out,
    parse,
    sample_prompt,
)
from policies.tiny.world.questions import NONE, analysis, judge_score, questions
from policies.tiny.world.render import render, sample_malformed, sample_scene

SCENES = 700
SPOILT = 300


def _generator(name: str) -> np.random.Generator:
    return np.random.default_rng([ord(letter) for letter in name])


def _prompts(name: str, number: int) -> list[Prompt]:
    """As many prompts of every category, and within it of every subcategory."""
    rng = _generator(name)
    kinds = [(category, sub) for category, subs in CATEGORIES.items() for sub in subs]
    return [sample_prompt(rng, *kinds[place % len(kinds)]) for place in range(number)]


@cache
def _drawn() -> list[tuple[Prompt, np.ndarray]]:
    rng = _generator("drawn")
    return [(prompt, render(sample_scene(prompt, rng))) for prompt in _prompts("scenes", SCENES)]


def _blurred(pixels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """What a learned image tokenizer does to a drawing, and somewhat worse."""
    kernel = np.exp(-np.square(np.arange(-3, 4) / 0.8) / 2)
    kernel /= kernel.sum()
    padded = np.pad(pixels.astype(float), ((3, 3), (3, 3), (0, 0)), mode="edge")
    rows = sum(kernel[at] * padded[at : at + 48] for at in range(7))
    both = sum(kernel[at] * rows[:, at : at + 48] for at in range(7))
    return np.clip(both + rng.normal(0, 8, both.shape), 0, 255).astype(np.uint8)


def test_a_text_determines_its_prompt() -> None:
    for prompt in _prompts("texts", 6000):
        assert parse(prompt.text) == prompt
        assert len(prompt.text.split(" ")) <= 14
        assert len(set(prompt.facts)) == len(prompt.facts)


def test_a_category_and_subcategory_are_sampled_as_asked() -> None:
    rng = _generator("asked")
    for category, subcategories in CATEGORIES.items():
        for subcategory in subcategories:
            prompt = sample_prompt(rng, category, subcategory)
            assert (prompt.category, prompt.subcategory) == (category, subcategory)
        assert sample_prompt(rng, category).category == category
    with pytest.raises(ValueError, match="weather"):
        sample_prompt(rng, "weather")


def test_every_category_has_many_prompts_and_a_fifth_is_held_out() -> None:
    rng = _generator("many")
    for category in CATEGORIES:
        texts = {sample_prompt(rng, category).text for _ in range(1500)}
        assert len(texts) >= 150
        assert 0.1 < np.mean([is_held_out(text) for text in texts]) < 0.3
        assert sum(is_held_out(text) for text in texts) >= 30


def test_all_that_is_said_is_made_of_the_known_words() -> None:
    known = set(WORDS)
    assert list(WORDS) == sorted(known)
    for prompt in _prompts("words", 2500):
        said = [prompt.text, analysis(prompt, [False] * len(prompt.facts))]
        for question in questions(prompt):
            said += [question.text, question.answer, *question.options]
        assert set(" ".join(said).split(" ")) <= known


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("a red dragon", "dragon"),
        ("red circle", "red"),
        ("a red", "the end"),
        ("a red circle and", "the end"),
        ("two red circle", "circle"),
        ("four red circles and three blue squares", "three"),
        ("a red circle and a red circle", "circle"),
        ("a red circle and no circle", "circle"),
        ("a red circle inside a blue star", "star"),
        ("a red circle in front of a red square", "in"),
        ("a small striped red star", "striped"),
        ("an red circle", "an"),
        ('the word " c " in red', '"'),
        ("the flag of japan on a pole pole", "pole"),
        ("", "''"),
    ],
)
def test_an_ungrammatical_text_is_refused_by_the_word(text: str, word: str) -> None:
    with pytest.raises(ValueError, match=word) as refused:
        parse(text)
    assert "\n" not in str(refused.value)


def test_clean_drawings_are_right() -> None:
    wrong = [prompt.text for prompt, pixels in _drawn() if oracle.score(pixels, prompt) != 10]
    assert not wrong


def test_a_corrupted_prompt_is_caught() -> None:
    rng = _generator("corrupt")
    missed = []
    for prompt, pixels in _drawn():
        other, fact = corrupt(prompt, rng)
        assert fact in other.facts
        assert fact not in prompt.facts
        assert len(set(other.facts) - set(prompt.facts)) == 1
        if oracle.score(pixels, other) > 6:
            missed.append(other.text)
    assert not missed


def test_malformed_drawings_are_caught() -> None:
    rng = _generator("malformed")
    caught = 0
    for prompt in _prompts("spoilt", SPOILT):
        pixels, fact = sample_malformed(prompt, rng)
        assert fact in prompt.facts
        caught += not oracle.all_right(pixels, prompt)
    assert caught / SPOILT >= 0.97


def test_blur_and_noise_do_not_make_a_drawing_wrong() -> None:
    rng = _generator("noise")
    right = [
        oracle.all_right(_blurred(pixels, rng), prompt) for prompt, pixels in _drawn()[:SPOILT]
    ]
    assert np.mean(right) >= 0.97


def test_anything_at_all_can_be_judged() -> None:
    rng = _generator("junk")
    junk = [
        np.zeros((48, 48, 3), np.uint8),
        np.full((48, 48, 3), 255, np.uint8),
        rng.integers(0, 256, (48, 48, 3), np.uint8),
    ]
    junk.append(np.kron(rng.integers(0, 256, (6, 6, 3)), np.ones((8, 8, 1))).astype(np.uint8))
    pictures = junk + [pixels for _, pixels in _drawn()[:24:6]]
    for prompt in _prompts("judged", 50):
        for pixels in junk:
            assert not oracle.all_right(pixels, prompt)
        for pixels in pictures:
            verdicts = oracle.read_facts(pixels, prompt)
            assert len(verdicts) == len(prompt.facts)
            share = sum(verdicts) / len(verdicts)
            assert oracle.score(pixels, prompt) == (10 if share == 1 else 6 * share)
    with pytest.raises(ValueError, match="48"):
        oracle.read_facts(np.zeros((8, 8, 3), np.uint8), prompt)


def test_answers_agree_with_the_facts() -> None:
    for prompt in _prompts("asked", 2500):
        asked = questions(prompt)
        assert 1 <= len(asked) <= 4
        values = {fact.value for fact in prompt.facts}
        letters = " ".join(fact.value for fact in prompt.facts if fact.kind == "letter")
        colors = " and ".join(fact.value for fact in prompt.facts if fact.kind == "color")
        for question in asked:
            assert question.answer in values | {"yes", "no", NONE, letters, colors}
            assert not question.options or question.answer in question.options
            if question.kind == "choice":
                assert len(question.options) == 4
                assert question.options[-1] == NONE
            elif question.kind == "open":
                assert f" {question.answer} " not in f" {question.text} "


def test_the_analysis_follows_the_verdicts() -> None:
    prompt = parse("a red circle left of a blue square")
    verdicts = [True, False, True, True, True, True]
    told = "two objects yes , red no , circle yes , left of yes , blue yes , square yes"
    assert analysis(prompt, verdicts) == told
    seen = ["", "green", "", "", "", ""]
    assert "red no green , circle yes" in analysis(prompt, verdicts, seen)
    assert [judge_score([True] * holds + [False] * (4 - holds)) for holds in range(5)] == [
        0,
        1,
        3,
        4,
        10,
    ]
    for other in _prompts("analysed", 500):
        assert len(analysis(other, [True] * len(other.facts)).split(" ")) <= 24
