"""What the weight store needs and that needs no Ray: the hash, the parts, the versions kept."""

from __future__ import annotations

import asyncio

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays_of

from actors.retry import Signal
from actors.weights.digests import weights_digest
from actors.weights.store import PART_BYTES, UnknownVersion, WeightStore, parts


@given(st.lists(st.integers(0, 9), max_size=20), st.integers(2, 4))
def test_version_zero_and_those_used_last_are_kept(order: list[int], kept: int) -> None:
    store = WeightStore(kept)
    for version in order:
        store.publish(version, [], str(version), str(version))
    last = list(dict.fromkeys(version for version in reversed(order) if version))[:kept]
    assert store.versions() == sorted({*last, *([0] if 0 in order else [])})
    for version in set(order) - set(store.versions()):
        with pytest.raises(UnknownVersion):
            store.get(version)


@given(st.lists(st.integers(0, 3 * PART_BYTES), max_size=8))
def test_parts_are_bounded_and_lose_nothing(sizes: list[int]) -> None:
    byte = np.zeros(1, dtype=np.uint8)
    arrays = {str(n): np.broadcast_to(byte, size) for n, size in enumerate(sizes)}
    cut = list(parts(arrays))
    assert [name for part in cut for name in part] == list(arrays)
    for part in cut:
        assert len(part) == 1 or sum(array.nbytes for array in part.values()) <= PART_BYTES


SHAPES = arrays_of.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4)
TYPES = st.sampled_from(["<f4", "<f2", "<u2", "<i8", "|b1", ">f4"])


@given(arrays_of.arrays(TYPES, SHAPES))
def test_the_digest_does_not_depend_on_memory_layout(array: np.ndarray) -> None:
    once = weights_digest({"a": array})
    assert once == weights_digest({"a": np.asfortranarray(array).reshape(array.shape)})
    assert once == weights_digest({"a": array[...].copy()})
    assert once != weights_digest({"b": array})
    assert once != weights_digest({"a": array[None]})


def test_the_digest_sees_every_change() -> None:
    base = {"a": np.zeros((2, 3), dtype=np.float32), "b": np.ones(2, dtype=np.float32)}
    others: list[dict[str, np.ndarray]] = [
        {**base, "a": np.zeros((3, 2), dtype=np.float32)},
        {**base, "a": np.zeros((2, 3), dtype=np.int32)},
        {"a": base["a"]},
        {"b": base["a"], "a": base["b"]},
        {**base, "b": np.array([1, np.nextafter(np.float32(1), np.float32(2))], np.float32)},
    ]
    assert len({weights_digest(each) for each in [base, *others]}) == 6
    assert weights_digest(dict(reversed(base.items()))) == weights_digest(base)


def test_a_wait_ends_as_soon_as_it_can() -> None:
    async def story() -> None:
        ready: list[int] = []
        signal = Signal()
        waits = [signal.wait_until(lambda: bool(ready), 30, lambda: "it") for _ in range(3)]
        tasks = [asyncio.create_task(each) for each in waits]
        await asyncio.sleep(0)
        signal.notify()
        await asyncio.sleep(0)
        assert not any(task.done() for task in tasks)
        ready.append(1)
        signal.notify()
        await asyncio.wait_for(asyncio.gather(*tasks), 5)

    asyncio.run(story())
