"""What families that draw by a flow do alike."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from policies import passed
from policies.bagel.policy import BagelPolicy
from policies.interface import Example, learned
from policies.showo2.policy import Showo2Policy
from tests.policies.bagel import small as bagel
from tests.policies.showo2 import small as showo2


@pytest.mark.parametrize("made, small", [(BagelPolicy, bagel), (Showo2Policy, showo2)])
def test_what_is_scored_costs_what_is_learned(made: Any, small: Any, tmp_path: Path) -> None:
    small.write_folder(tmp_path, 0)
    policy = made.from_pretrained(tmp_path)
    example = Example(("a red circle",), learned("a cat"), "caption")

    def cost(work: Callable[[], object]) -> int:
        before = passed.tokens()
        work()
        return passed.tokens() - before

    learning = cost(lambda: policy.loss([example]))
    assert learning == policy.lengths([example])[0] > 0
    assert cost(lambda: policy.log_probs([example.context], ["a cat"])) == learning
