"""Edited prompts say something else, in words that are known."""

from __future__ import annotations

from collections import Counter

import pytest

from actors.roles.edits import edited, kinds, words_of
from policies.seeds import generator
from policies.tiny.world.language import CATEGORIES, parse, sample_prompt

COLORS = words_of(["red green orange Blue"])


def test_words_that_can_stand_for_one_another_are_of_one_kind_alone() -> None:
    every = Counter(word for kind in kinds() for word in kind)
    assert set(every.values()) == {1} and all(len(kind) > 1 for kind in kinds())


def test_one_word_is_replaced_by_a_known_one_of_its_kind() -> None:
    found = {edited("a red circle and a red star", COLORS, seed) for seed in range(200)}
    assert found == {
        f"{first} circle and {second} star"
        for first, second in (
            ("a green", "a red"), ("an orange", "a red"), ("a blue", "a red"),
            ("a red", "a green"), ("a red", "an orange"), ("a red", "a blue"),
        )
    }  # fmt: skip
    assert edited("a red circle", COLORS, 1, 2) == edited("a red circle", COLORS, 1, 2)


@pytest.mark.parametrize(
    "prompt, changed",
    [("An orange cat, asleep.", "A red cat, asleep."), ("Orange tiles", "Red tiles"),
     ("one\tblue  cup", "one\tred  cup"), ("an (orange) box", "an (red) box")],
)  # fmt: skip
def test_what_stands_around_the_word_stays(prompt: str, changed: str) -> None:
    assert changed in {edited(prompt, ("red", "blue", "cat"), seed) for seed in range(50)}


def test_a_prompt_without_another_known_word_cannot_be_edited() -> None:
    assert edited("a red circle", {"red", "circle"}, 0) is None
    assert edited("nothing of the kind", COLORS, 0) is None and edited("", COLORS, 0) is None


def test_edited_prompts_of_the_tiny_world_are_wrong_for_what_the_prompt_shows() -> None:
    rng = generator("edits")
    prompts = [sample_prompt(rng, category) for category in CATEGORIES for _ in range(30)]
    known = words_of([prompt.text for prompt in prompts])
    edits = [edited(prompt.text, known, i) for i, prompt in enumerate(prompts)]
    made = [(prompt, text) for prompt, text in zip(prompts, edits, strict=True) if text]
    assert len(made) > 0.8 * len(prompts)
    readable = 0
    for prompt, text in made:
        other = _parsed(text)
        readable += other is not None
        assert other is None or other.facts != prompt.facts, (prompt.text, text)
    assert readable > 0.8 * len(made)


def _parsed(text: str):
    try:
        return parse(text)
    except ValueError:
        return None
