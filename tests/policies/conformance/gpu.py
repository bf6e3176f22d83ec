"""On a GPU a family computes what it computes on a CPU. Without one these tests are skipped."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from policies.config import ConfigError
from policies.interface import PATTERNS, Pattern, Policy, TextSampling
from tests.policies.conformance.family import (
    Family,
    contexts,
    drawings,
    examples,
    means,
    same,
    sharpened,
    total,
)

# Else convolutions round to ten bits there, which is torch's default.
torch.backends.cudnn.allow_tf32 = False

needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")


def on_gpu(policy: Policy, dtype: str = "float32") -> Policy:
    try:
        policy.sample_on("cuda", dtype)
    except ConfigError as error:  # the tiny family stays on a CPU
        pytest.skip(str(error))
    return policy


@pytest.fixture(scope="module")
def there(family: Family, folder: Path) -> Policy:
    return on_gpu(sharpened(family, folder))


@needs_gpu
@pytest.mark.parametrize("pattern", PATTERNS)
def test_losses_on_a_gpu(family: Family, policy: Policy, there: Policy, pattern: Pattern) -> None:
    batch = examples(family)[pattern]
    assert total(there, batch) == pytest.approx(total(policy, batch), rel=1e-4)


@needs_gpu
@pytest.mark.parametrize("pattern", PATTERNS)
def test_gradients_on_a_gpu(family: Family, folder: Path, pattern: Pattern) -> None:
    norms = []
    for policy in (sharpened(family, folder), on_gpu(sharpened(family, folder))):
        weights = [weight.requires_grad_() for weight in policy.module.parameters()]
        means(policy, examples(family)[pattern]).backward()
        norms.append([weight.grad.norm().item() for weight in weights if weight.grad is not None])
    assert norms[1] == pytest.approx(norms[0], rel=1e-3, abs=1e-5)


@needs_gpu
def test_drawings_on_a_gpu(family: Family, policy: Policy, there: Policy) -> None:
    for one, other in zip(drawings(family, policy), drawings(family, there), strict=True):
        assert same(one, other, 1e-3)


@needs_gpu
def test_texts_on_a_gpu(family: Family, policy: Policy, there: Policy) -> None:
    asked = contexts(family), [TextSampling(max_tokens=8)] * 4, range(4)
    assert there.write(*asked) == policy.write(*asked)


@needs_gpu
def test_bfloat16_on_a_gpu(family: Family, folder: Path) -> None:
    policy = on_gpu(family.policy.from_pretrained(folder), "bfloat16")
    assert len(drawings(family, policy)) == 4
    assert len(policy.write([contexts(family)[0]], [TextSampling(max_tokens=4)], [0])) == 1
