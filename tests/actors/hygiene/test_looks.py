"""Winners that look alike: what the hash sees, and which of a round are repeats."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import ImageOps

from actors.hygiene.looks import BITS, Repeats, looks
from tests.actors.hygiene.samples import landscape, photo, saved_again

LOOKS = st.lists(st.binary(min_size=14, max_size=14).map(bytes.hex), max_size=30)


def apart(one: str, other: str) -> int:
    return (int(one, 16) ^ int(other, 16)).bit_count()


def test_a_picture_that_was_saved_again_looks_alike_and_others_do_not() -> None:
    image = photo()
    own = looks(np.array(image))
    assert len(own) == 2 * -(-BITS // 8)
    for again in (saved_again(image), np.array(image.resize((97, 97))), np.array(image) // 8 * 8):
        assert apart(own, looks(again)) <= 8
    for other in (np.array(ImageOps.mirror(image)), landscape().pixels):
        assert apart(own, looks(other)) > 24


def test_the_same_structure_in_other_colours_is_another_picture() -> None:
    red = np.zeros((64, 64, 3), np.uint8)
    red[20:40, 20:40] = 200, 0, 0
    blue = np.zeros((64, 64, 3), np.uint8)
    blue[20:40, 20:40] = 0, 102, 200
    assert apart(looks(red), looks(blue)) > 4
    assert looks(red)[:16] == looks(blue)[:16], "the perceptual hash alone takes them for one"


@given(LOOKS, st.integers(0, 60))
def test_what_is_kept_is_apart_and_what_is_left_out_is_near_something_kept(seen, bits) -> None:
    repeats, kept = Repeats(bits), []
    for look in seen:
        near = any(apart(look, other) <= bits for other in kept)
        assert repeats.repeats(look) is near
        if not near:
            kept.append(look)


@pytest.mark.parametrize("bits", [None, 0])
def test_without_a_bound_or_a_hash_nothing_repeats(bits: int | None) -> None:
    repeats, look = Repeats(bits), looks(landscape().pixels)
    assert [repeats.repeats(each) for each in ("", "", look, look)] == [
        False, False, False, bits is not None
    ]  # fmt: skip
