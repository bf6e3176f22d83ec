"""How many tokens this process has passed forward through a model's transformer: what its work costs.

Invariant: every token that is read or made counts once each time that it passes, guidance's second
pass too; padding, and what encoders and decoders of pictures do, does not. It only grows.
"""

from __future__ import annotations

_tokens = 0


def add(count: int) -> None:
    global _tokens
    _tokens += count


def tokens() -> int:
    return _tokens
