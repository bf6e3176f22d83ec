"""One small tiny policy for all tests that do not change it."""

from __future__ import annotations

from pathlib import Path

import pytest

from policies.tiny.policy import TinyPolicy
from tests.policies.tiny import small


@pytest.fixture(scope="session")
def policy() -> TinyPolicy:
    return small()


@pytest.fixture
def folder(policy: TinyPolicy, tmp_path: Path) -> Path:
    policy.save_pretrained(tmp_path / "tiny")
    return tmp_path / "tiny"
