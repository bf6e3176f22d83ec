"""One engine for all tests of this folder that need one: it takes seconds to start."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from policies.config import TinyPolicyConfig
from policies.engines.config import EngineConfig
from policies.registry import checkpoint_folder
from policies.tiny.policy import TinyPolicy
from policies.tiny.served import ServedTinyPolicy, backbone


@pytest.fixture(scope="session")
def folder() -> Path:
    return checkpoint_folder(TinyPolicyConfig())


@pytest.fixture(scope="session")
def own(folder: Path) -> TinyPolicy:
    torch.set_num_threads(1)
    return TinyPolicy.from_pretrained(folder)


@pytest.fixture(scope="session")
def engine_policy(folder: Path) -> Iterator[ServedTinyPolicy]:
    if importlib.util.find_spec("vllm") is None:
        pytest.skip("vllm is not installed: see docs/engines.md")
    from policies.engines.vllm.engine import VllmEngine

    torch.set_num_threads(1)
    engine = VllmEngine(backbone(folder, "float32"), EngineConfig(cache_mib=64))
    made = ServedTinyPolicy.from_pretrained(folder)
    made.serve_by(engine)
    yield made
    engine.close()


@pytest.fixture
def served(engine_policy: ServedTinyPolicy, own: TinyPolicy) -> ServedTinyPolicy:
    """With the base's weights, whatever an earlier test gave it."""
    engine_policy.load_weights(own.weights())
    return engine_policy
