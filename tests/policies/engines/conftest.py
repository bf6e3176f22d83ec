"""One engine for all tests of this folder that need one: it takes seconds to start."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from policies.config import TinyPolicyConfig
from policies.registry import checkpoint_folder
from policies.tiny.policy import TinyPolicy
from policies.tiny.served import ServedTinyPolicy, backbone
from tests.policies.engines.engine import running


@pytest.fixture(scope="session")
def folder() -> Path:
    return checkpoint_folder(TinyPolicyConfig())


@pytest.fixture(scope="session")
def own(folder: Path) -> TinyPolicy:
    torch.set_num_threads(1)
    return TinyPolicy.from_pretrained(folder)


@pytest.fixture(scope="session")
def engine_policy(folder: Path) -> Iterator[ServedTinyPolicy]:
    with running(backbone(folder, "float32")) as engine:
        made = ServedTinyPolicy.from_pretrained(folder)
        made.serve_by(engine)
        yield made


@pytest.fixture
def served(engine_policy: ServedTinyPolicy, own: TinyPolicy) -> ServedTinyPolicy:
    """With the base's weights, whatever an earlier test gave it."""
    engine_policy.load_weights(own.weights())
    return engine_policy
