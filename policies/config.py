"""Configuration sections are frozen dataclasses that refuse impossible values by name.

Invariant: a section that was constructed can be run with; every refusal is one ConfigError
that names the field, the value and what is allowed.
"""

from __future__ import annotations

from dataclasses import dataclass

from policies.errors import UserError, describe


class ConfigError(UserError, ValueError):
    """A setting that cannot be; the message names the field, the value and the fix."""


def require(condition: bool, field: str, value: object, rule: str) -> None:
    """Raises ConfigError unless `condition`: `require(lr > 0, "trainer.lr", lr, "above 0")`."""
    if not condition:
        raise ConfigError(f"{field} is {describe(value)}: it must be {rule}")


def require_cpus(field: str, value: float) -> None:
    require(value >= 0.0001, field, value, "from 0.0001 on, the least that Ray counts")


def require_gpus(field: str, value: float) -> None:
    whole = value == int(value)
    require(value == 0 or (value >= 0.0001 if value < 1 else whole), field, value,
            "0, a fraction below 1 (from 0.0001 on), or a whole number, as Ray counts GPUs")  # fmt: skip


def require_temperature(field: str, value: float) -> None:
    """A temperature that is all but 0 would make infinities of logits."""
    require(value == 0 or value >= 0.001, field, value, "0, or from 0.001 on")


DTYPES = ("float32", "bfloat16")


@dataclass(frozen=True)
class PolicyConfig:
    """Which model plays the roles. `path` is a checkpoint folder; "base" is the shipped tiny one.
    `dtype` is what replicas hold and sample in; learning keeps float32."""

    family: str = "tiny"
    path: str = "base"
    dtype: str = "float32"

    def __post_init__(self) -> None:
        require(self.dtype in DTYPES, "policy.dtype", self.dtype, '"float32" or "bfloat16"')
