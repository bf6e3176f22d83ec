"""What a pool wants follows its work, within its bounds and without haste to shrink."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from actors.pool.scaling import Demand


def demand(least: int = 1, most: int = 8) -> Demand:
    return Demand(least, most, backlog_s=20.0, cool_down_s=60.0)


def test_nobody_knows_how_long_a_task_takes_before_the_first() -> None:
    assert demand().follow(100, None, 0.0) == 1


def test_work_that_would_take_too_long_is_shared_out_at_once() -> None:
    assert demand().follow(40, 2.0, 0.0) == 4  # 80 s of work, to be done in 20
    assert demand().follow(1000, 2.0, 0.0) == 8
    assert demand().follow(3, 600.0, 0.0) == 3  # a fourth would have nothing to do


def test_fewer_are_wanted_only_after_the_cool_down() -> None:
    own = demand()
    assert own.follow(80, 2.0, 0.0) == 8
    assert [own.follow(0, 2.0, at) for at in (10.0, 69.0, 70.0)] == [8, 8, 1]


def test_what_was_needed_meanwhile_stays() -> None:
    own = demand()
    own.follow(80, 2.0, 0.0)
    assert [own.follow(n, 2.0, at) for n, at in ((0, 10.0), (40, 30.0), (0, 70.0))] == [8, 8, 4]
    assert [own.follow(0, 2.0, at) for at in (71.0, 130.0, 131.0)] == [4, 4, 1]


@given(
    st.integers(1, 5), st.integers(0, 10),
    st.lists(st.tuples(st.integers(0, 500), st.floats(0.01, 1e4), st.floats(0, 100)), max_size=50),
)  # fmt: skip
def test_it_keeps_within_its_bounds(
    least: int, more: int, story: list[tuple[int, float, float]]
) -> None:
    own, now = demand(least, least + more), 0.0
    for tasks, seconds, passed in story:
        now += passed
        assert least <= own.follow(tasks, seconds, now) <= least + more
