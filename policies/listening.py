"""Tells whoever listens what is sampled, while it is sampled.

Invariant: what is sampled is the same whether anybody listens or not.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from torch import Tensor

OnTokens = Callable[[list[int], list[int]], None]
"""Rows of a batch, and the token that each of them goes on with."""

_HEARS: ContextVar[OnTokens | None] = ContextVar("hears", default=None)


@contextmanager
def listening(on_tokens: OnTokens) -> Iterator[None]:
    """`on_tokens` hears each token of the texts and pictures that are sampled meanwhile in this context,
    in this thread; not of what an engine samples."""
    before = _HEARS.set(on_tokens)
    try:
        yield
    finally:
        _HEARS.reset(before)


def tell(rows: Tensor, tokens: Tensor, going: Tensor) -> None:
    """rows and tokens int64 [rows], going bool [rows]: of those that go on."""
    if hears := _HEARS.get():
        hears(rows[going].tolist(), tokens[going].tolist())
