"""The prompt library: near-duplicates, candidates and demonstrations."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from actors.replay.records import Proposal
from actors.roles.prompt_library import PromptLibrary, bigrams, demonstrations, normalise_prompt

WORDS = st.sampled_from("a red blue circle square above left of the no".split())
PROMPTS = st.lists(WORDS, min_size=1, max_size=7).map(" ".join)


def proposal(prompt: str, category: str = "counting", index: int = 0) -> Proposal:
    return Proposal(index, category, "one kind", prompt, seed=index)


def filled(*prompts: str, similarity: float = 0.9) -> PromptLibrary:
    library = PromptLibrary(similarity)
    for index, prompt in enumerate(prompts):
        library.add(proposal(prompt, "counting" if index % 2 else "portrait", index))
    return library


def test_equal_but_for_letters_and_punctuation_is_the_same_prompt() -> None:
    library = filled("Three red circles.", "three  red, circles", "THREE RED CIRCLES!")
    assert [p.prompt for p in library.kept] == ["Three red circles."]
    assert normalise_prompt(' A "Sun" - on\tit ') == "a sun on it"


def test_one_changed_word_of_many_is_a_near_duplicate_and_order_matters() -> None:
    long = " ".join(f"word{i}" for i in range(40))
    library = PromptLibrary(0.9)
    assert library.add(proposal(long))
    assert not library.add(proposal(long.replace("word20", "other")))
    assert library.add(proposal(long.replace("word20", "other").replace("word10", "new")))
    assert library.add(proposal("a red circle above a blue square"))
    assert library.add(proposal("a blue square above a red circle"))
    assert library.add(proposal("two red circles")) and library.add(proposal("two blue circles"))


def test_kept_prompts_are_numbered_without_gaps() -> None:
    library = filled("one", "one", "two", "two", "three")
    assert [(p.index, p.prompt, p.seed) for p in library.kept] == [
        (0, "one", 0), (1, "two", 2), (2, "three", 4)
    ]  # fmt: skip


@given(st.lists(PROMPTS, max_size=25), st.floats(0.3, 1.0))
def test_the_library_is_the_naive_one(prompts: list[str], similarity: float) -> None:
    kept: list[str] = []
    for prompt in prompts:
        own = bigrams(prompt)
        near = (len(own & bigrams(k)) / len(own | bigrams(k)) for k in kept)
        if prompt not in kept and max(near, default=0.0) < similarity:
            kept.append(prompt)
    assert [p.prompt for p in filled(*prompts, similarity=similarity).kept] == kept


def test_candidates_follow_from_the_key_alone() -> None:
    prompts = [f"number {i} is unlike all others by {i * i}" for i in range(40)]
    first, second = filled(*prompts), filled(*prompts)
    chosen = first.candidates(4, 7, 1, "reseed", 0)
    assert (
        chosen == first.candidates(4, 7, 1, "reseed", 0) == second.candidates(4, 7, 1, "reseed", 0)
    )
    assert chosen != first.candidates(4, 7, 1, "reseed", 1)
    assert [p.category for p in chosen] == ["portrait"] * 4 + ["counting"] * 4
    assert len(set(chosen)) == 8 and all(p in first.kept for p in chosen)
    assert sorted(first.candidates(100, 0), key=lambda p: p.index) == first.kept


def test_demonstrations_are_the_best_rated_and_stay_where_nothing_was_rated() -> None:
    candidates = [
        proposal("a", "portrait", 0), proposal("b", "portrait", 1), proposal("c", "portrait", 2),
        proposal("d", "counting", 3), proposal("e", "stylization", 4),
    ]  # fmt: skip
    before = {"counting": ["old"], "stylization": ["older"], "general object": ["oldest"]}
    shown = demonstrations(candidates, [5.0, 9.0, 5.0, None, 0.0], 2, before)
    assert shown == {
        "portrait": ["b", "a"], "counting": ["old"], "stylization": ["e"],
        "general object": ["oldest"],
    }  # fmt: skip
    assert demonstrations([], [], 2, {}) == {}
