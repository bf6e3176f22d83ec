"""A real engine for a test."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import torch

from policies.engines.backbone import Backbone, Engine
from policies.engines.config import EngineConfig


@contextmanager
def running(backbone: Backbone) -> Iterator[Engine]:
    """Skips the test where vLLM is not installed."""
    if importlib.util.find_spec("vllm") is None:
        pytest.skip("vllm is not installed: see docs/engines.md")
    from policies.engines.vllm.engine import VllmEngine

    torch.set_num_threads(1)
    engine = VllmEngine(backbone, EngineConfig(cache_mib=64))
    yield engine
    engine.close()
