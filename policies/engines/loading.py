"""Makes the policy of a role, with the engine that its recipe asks for.

Invariant: an engine is imported here, where one is asked for, and nowhere else.
"""

from __future__ import annotations

from typing import Any

from policies.config import PolicyConfig
from policies.engines.backbone import Engine
from policies.engines.config import EngineConfig
from policies.interface import Policy
from policies.registry import checkpoint_folder, load_policy, served_backbone, served_policy


def load_for_role(config: PolicyConfig, engine: str, options: EngineConfig) -> Policy:
    """The policy in its own sampler's hands, or in the engine's. Raises ConfigError, and
    CheckpointError."""
    if engine == "own":
        return load_policy(config, config.dtype)
    folder = checkpoint_folder(config)
    make: Any = served_policy(config).from_pretrained
    policy = make(folder, config.dtype, **config.options())
    policy.serve_by(_vllm(config, options))
    loaded: Policy = policy
    return loaded


def _vllm(config: PolicyConfig, options: EngineConfig) -> Engine:
    from policies.engines.vllm.engine import VllmEngine

    return VllmEngine(served_backbone(config), options)
