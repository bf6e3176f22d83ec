"""The plan of a round follows from the log alone and keeps the ratio of the patterns."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from policies.interface import PATTERNS, Example, ExampleKey, Pattern, Picture, learned
from trainer.batches import GroupExamples, Step, round_steps
from trainer.config import ConditionDropout, ReconstructionConfig

PAPER = ReconstructionConfig()


def group(index: int, lacks: tuple[Pattern, ...] = ()) -> dict[Pattern, Example]:
    return {
        p: Example((str(index),), learned("x"), p, ExampleKey(group=index))
        for p in PATTERNS
        if p not in lacks
    }


def plan(
    groups: int | list[GroupExamples], mix: ReconstructionConfig = PAPER, per_step: int = 4,
    epochs: int = 1, seed: int = 0,
) -> list[Step]:  # fmt: skip
    made = [group(i) for i in range(groups)] if isinstance(groups, int) else groups
    return list(round_steps(seed, 1, made, mix, per_step, epochs))


def counts(steps: list[Step]) -> Counter[Pattern]:
    return Counter(p for step in steps for p, examples in step.batch.items() for _ in examples)


def indices(step: Step, pattern: Pattern = "generation") -> list[int]:
    return [int(str(e.context[0])) for e in step.batch.get(pattern, ())]


def test_the_paper_s_mix_is_exact_over_a_round() -> None:
    assert counts(plan(100, per_step=10)) == {
        "generation": 100, "caption": 100, "judgement": 60, "reflection": 20
    }  # fmt: skip


@given(
    st.integers(0, 60), st.integers(1, 11), st.integers(1, 3),
    st.fixed_dictionaries({p: st.sampled_from([0.0, 0.1, 0.5, 1.0, 3.0, 5.0]) for p in PATTERNS}),
    st.integers(0, 5),
)  # fmt: skip
def test_any_mix_is_kept_to_within_one_example(groups, per_step, epochs, weights, seed) -> None:
    if not any(weights.values()):
        return
    steps = plan(groups, ReconstructionConfig(**weights), per_step, epochs, seed)
    for pattern, weight in weights.items():
        wanted = groups * epochs * weight / max(weights.values())
        assert abs(counts(steps)[pattern] - wanted) < 1
        assert weight > 0 or all(pattern not in step.batch for step in steps)


def test_short_rounds_do_not_always_round_down() -> None:
    """12 groups ask for 2.4 reflections: over many rounds the mean is that."""
    total = sum(counts(plan(12, seed=seed))["reflection"] for seed in range(200))
    assert total / 200 == pytest.approx(2.4, abs=0.1)


def test_what_a_chunk_cannot_give_the_next_ones_do() -> None:
    equal = [group(i, lacks=("reflection",)) for i in range(10)]
    steps = plan([*equal, *(group(i) for i in range(10, 20))], per_step=5)
    assert all("reflection" not in step.batch for step in steps[:2])
    assert counts(steps)["reflection"] == 4


def test_the_first_epoch_is_the_order_of_the_log_and_later_ones_are_shuffled() -> None:
    steps = plan(10, per_step=4, epochs=3)
    assert [(s.epoch, s.index) for s in steps] == [(e, i) for e in (1, 2, 3) for i in (1, 2, 3)]
    orders = [[i for s in steps if s.epoch == e for i in indices(s)] for e in (1, 2, 3)]
    assert orders[0] == list(range(10))
    assert [len(indices(s)) for s in steps] == [4, 4, 2] * 3
    for order in orders[1:]:
        assert sorted(order) == orders[0] and order != orders[0]
    assert orders[1] != orders[2]


def test_the_plan_follows_from_its_key() -> None:
    assert plan(9, epochs=2, seed=1) == plan(9, epochs=2, seed=1)
    chosen = [indices(s, "judgement") for s in plan(9, epochs=2, seed=1)]
    assert chosen != [indices(s, "judgement") for s in plan(9, epochs=2, seed=2)]


def test_a_step_asks_for_no_more_of_the_log_than_it_learns_from() -> None:
    taken: list[int] = []

    def log() -> Iterator[GroupExamples]:
        for i in range(8):
            taken.append(i)
            yield group(i)

    steps = round_steps(0, 1, log(), PAPER, 4, 2)
    assert taken == []
    assert indices(next(steps)) == [0, 1, 2, 3] == taken
    assert indices(next(steps)) == [4, 5, 6, 7]
    assert taken == list(range(8))


def test_a_round_with_nothing_accepted_has_no_steps() -> None:
    assert plan(0, epochs=3) == []


def test_choices_are_among_the_groups_of_the_step_and_spread() -> None:
    steps = plan(400, per_step=10)
    for step in steps:
        assert set(indices(step, "reflection")) <= set(indices(step))
        assert len(set(indices(step, "judgement"))) == 6
    places = Counter(i % 10 for step in steps for i in indices(step, "reflection"))
    assert set(places) == set(range(10))


def test_a_share_of_the_drawings_is_learned_without_its_condition() -> None:
    picture = Picture(np.zeros((1, 1, 3), np.uint8))
    groups: list[GroupExamples] = [
        {
            "generation": Example((str(i),), learned(picture), "generation", ExampleKey(group=i)),
            **group(i, ("generation",)),
        }
        for i in range(400)
    ]
    mix = ReconstructionConfig(condition_dropout=ConditionDropout(text=0.1))
    steps = plan(groups, mix, per_step=10, epochs=2)
    assert steps == plan(groups, mix, per_step=10, epochs=2)
    plain = plan(groups, per_step=10, epochs=2)
    assert [indices(step) for step in steps] == [indices(step) for step in plain]
    dropped: dict[int, set[int]] = {1: set(), 2: set()}
    for step in steps:
        for pattern, examples in step.batch.items():
            unconditioned = [int(str(e.context[0])) for e in examples if e.dropped]
            assert not unconditioned or pattern == "generation"
            dropped[step.epoch].update(unconditioned)
    # Of 400 about 40; the chance of fewer than 20 or more than 60 is below one in a thousand.
    assert all(20 <= len(found) <= 60 for found in dropped.values())
    assert dropped[1] != dropped[2]


def test_each_epoch_learns_an_example_under_a_key_of_its_own() -> None:
    steps = plan(8, epochs=2)
    keys = [(p, e.key) for step in steps for p, batch in step.batch.items() for e in batch]
    assert len(set(keys)) == len(keys)
    assert {key.epoch for _, key in keys} == {1, 2}


def test_a_condition_is_dropped_whatever_the_chance_of_another() -> None:
    picture = Picture(np.zeros((1, 1, 3), np.uint8))
    groups: list[GroupExamples] = [
        {"generation": Example((), learned(picture), "generation", ExampleKey(group=i))}
        for i in range(50)
    ]

    def gone(**chances: float) -> list[bool]:
        every = ConditionDropout(**chances)
        steps = plan(groups, ReconstructionConfig(condition_dropout=every))
        return ["text" in e.dropped for step in steps for e in step.batch["generation"]]

    assert gone(text=0.3) == gone(text=0.3, latents=0.5) and 5 < sum(gone(text=0.3)) < 30


RELEASED = ReconstructionConfig(
    generation=1.0, reflection=1.0, caption=0.625, judgement=0.375, repeat=True
)


def lacking(count: int, every: int) -> list[GroupExamples]:
    """Groups of which only every so many can give a reflection."""
    return [group(i, () if i % every == 0 else ("reflection",)) for i in range(count)]


def test_the_released_mix_holds_though_few_groups_can_reflect() -> None:
    """G : R : (C + J) is 1 : 1 : 1, and C : J is 5 : 3."""
    steps = plan(lacking(80, 5), RELEASED, per_step=8)
    assert counts(steps) == {"generation": 80, "caption": 50, "judgement": 30, "reflection": 80}
    assert all(len(step.batch["reflection"]) == 8 for step in steps)
    times = Counter(i for step in steps for i in indices(step, "reflection"))
    assert set(times) == set(range(0, 80, 5)) and sum(times.values()) == 80
    without = plan(lacking(80, 5), RELEASED.model_copy(update={"repeat": False}), per_step=8)
    assert counts(without)["reflection"] == 16


def test_repeated_examples_have_other_random_choices_each_time() -> None:
    steps = plan(lacking(40, 8), RELEASED, per_step=8, epochs=2)
    keys = [e.key for step in steps for e in step.batch["reflection"]]
    assert len(set(keys)) == len(keys) == 80
    draws = {e.random("noise").random() for s in steps for e in s.batch["reflection"]}
    assert len(draws) == 80
    assert all(e.key.repeat == 0 for s in steps for e in s.batch["generation"])


@given(
    st.lists(st.booleans(), max_size=40), st.integers(1, 7), st.integers(1, 2), st.integers(0, 3)
)
def test_repeats_are_spread_and_no_debt_is_paid_with_copies(able, per_step, epochs, seed) -> None:
    groups: list[GroupExamples] = [
        group(i, () if gives else ("reflection",)) for i, gives in enumerate(able)
    ]
    steps = plan(groups, RELEASED, per_step, epochs, seed)
    assert steps == plan(groups, RELEASED, per_step, epochs, seed)
    for step in steps:
        due, got = len(indices(step)), len(indices(step, "reflection"))
        assert got in (0, due) or abs(got - due) == 1
    last = Counter(e.key.repeat for e in steps[-1].batch.get("reflection", ())) if steps else {}
    assert len(last) <= per_step


def test_repeating_changes_nothing_where_nothing_lacks() -> None:
    mix = PAPER.model_copy(update={"repeat": True})
    assert plan(37, mix, epochs=2) == plan(37, epochs=2)


def test_rejected_groups_come_along_and_are_not_counted() -> None:
    only = ("generation", "caption", "reflection")
    groups: list[GroupExamples] = [group(i, only if i % 3 else ()) for i in range(30)]
    steps = plan(groups, PAPER, per_step=2)
    assert [indices(step) for step in steps] == [[6 * i, 6 * i + 3] for i in range(5)]
    assert counts(steps)["judgement"] == 6
    taken = [i for step in steps for i in indices(step, "judgement")]
    spread = {i % 3 for s in range(40) for step in plan(groups, PAPER, 2, seed=s)
              for i in indices(step, "judgement")}  # fmt: skip
    assert spread == {0, 1, 2} and max(taken) <= 27
    assert plan([group(1, only)]) == []
