"""The embedded default: a real unified model small enough for two CPU cores."""

from policies.tiny.policy import TinyPolicy

__all__ = ["TinyPolicy"]
