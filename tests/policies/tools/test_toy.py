"""The tool of the toy: an honest painter of the tiny world."""

from __future__ import annotations

import numpy as np
import pytest

from policies.tiny.world import oracle
from policies.tiny.world.language import parse, sample_prompt
from policies.tools.process import ToolFailed, ToolProcess
from policies.tools.specs import parse_specs
from policies.tools.toy import draw
from policies.vision_language.toy.model import TOOLS


def test_what_it_paints_is_right_in_every_fact() -> None:
    rng = np.random.default_rng(0)
    for seed in range(60):
        prompt = sample_prompt(rng)
        assert oracle.all_right(draw(prompt.text, seed), prompt), prompt.text


def test_a_picture_follows_from_prompt_and_seed() -> None:
    text = "a red circle above a blue star"
    first = draw(text, 3)
    assert first.shape == (48, 48, 3) and first.dtype == np.uint8
    assert np.array_equal(first, draw(text, 3, (48, 48)))
    assert any(not np.array_equal(first, draw(text, seed)) for seed in range(4, 8))


@pytest.mark.parametrize("text", ["", " ", "a red", "a red cat", "a  red circle", "ö→猫"])
def test_what_is_not_of_the_tiny_language_is_refused(text: str) -> None:
    with pytest.raises(ValueError) as caught:
        draw(text, 0)
    assert str(caught.value) and "\n" not in str(caught.value)


def test_another_size_is_refused() -> None:
    with pytest.raises(ValueError, match=r"48 x 48 pixels, and \(8, 16\)"):
        draw("a red circle", 0, (8, 16))


def test_in_its_process_it_paints_the_same_and_fails_in_words() -> None:
    tool = ToolProcess(parse_specs(TOOLS)[0], 60.0)
    try:
        made = tool.draw("a red circle", 5, None)
        assert parse("a red circle") and np.array_equal(made, draw("a red circle", 5))
        with pytest.raises(ToolFailed, match="^The tool draw failed: ValueError: "):
            tool.draw("a red cat", 5, None)
        assert np.array_equal(tool.draw("a red circle", 5, None), made) and tool.starts == 1
    finally:
        tool.close()
