"""What work costs is counted in tokens: each once each time that it passes."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from policies import passed
from policies.interface import Example, PictureSampling, TextSampling, learned
from policies.tiny.policy import TinyPolicy
from tests.policies.tiny import PROMPTS, picture, small


@pytest.fixture(scope="module")
def policy() -> TinyPolicy:
    return small()


def cost(work: Callable[[], object]) -> int:
    before = passed.tokens()
    work()
    return passed.tokens() - before


def test_drawings_cost_their_tokens_and_guidance_twice_as_many(policy: TinyPolicy) -> None:
    def drawn(count: int, guidance: float = 1.0) -> int:
        how = [PictureSampling(guidance=guidance)] * count
        return cost(lambda: policy.draw([(PROMPTS[0],)] * count, how, range(count)))

    steps = len(picture(0).codes) - 1  # the last code needs none
    assert drawn(2) - drawn(1) == steps, "the prompt is read once for both"
    assert drawn(2, 3.0) - drawn(1, 3.0) == 2 * steps


def test_reading_and_learning_cost_what_passes(policy: TinyPolicy) -> None:
    def scored(count: int) -> int:
        return cost(lambda: policy.log_probs([(PROMPTS[0],)] * count, [PROMPTS[1]] * count))

    assert scored(3) == 3 * scored(1) > 0
    example = Example((PROMPTS[0],), learned(PROMPTS[1]), "caption")
    assert cost(lambda: policy.loss([example])) == policy.lengths([example])[0]
    assert cost(lambda: policy.write([(PROMPTS[0],)], [TextSampling(0.0, 4)], [0])) > 0
