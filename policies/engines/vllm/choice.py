"""Chooses each request's next token as `policies.sampling` would: among the tokens that are allowed,
with guidance and temperature, by the row's own uniform numbers.

Invariant: a choice follows from the logits of its request and what the request says; a place of the
batch or a neighbour in it changes nothing. All other tokens become impossible, and the logit of the
chosen one is its log-probability at temperature 1, unguided, for whoever asks for processed logits.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from vllm import SamplingParams
from vllm.v1.sample.logits_processor import BatchUpdate, LogitsProcessor
from vllm.v1.sample.logits_processor.builtin import process_dict_updates

from policies.sampling import choose
from policies.seeds import generator


@dataclass(frozen=True)
class Wish:
    """What a request wants chosen. Two requests of one `pair` get the same tokens: one reads the
    context, and the other, which is `free`, reads it without its condition. With `forced` tokens
    nothing is left to choose."""

    allowed: tuple[int, int]
    temperature: float = 0.0
    guidance: float = 1.0
    seed: int = 0
    steps: int = 1
    pair: int = -1
    free: bool = False
    forced: tuple[int, ...] = ()


@dataclass
class _Request:
    wish: Wish
    uniforms: np.ndarray
    chosen: Sequence[int]
    """Its tokens until now: vLLM's own list, which grows."""

    @property
    def at(self) -> int:
        return len(self.chosen)


class Choice(LogitsProcessor):
    """One of vLLM's logits processors; requests without a Wish pass it by."""

    def __init__(self, vllm_config: Any, device: torch.device, is_pin_memory: bool) -> None:
        self._requests: dict[int, _Request] = {}

    def is_argmax_invariant(self) -> bool:
        return False

    def update_state(self, batch_update: BatchUpdate | None) -> None:
        process_dict_updates(self._requests, batch_update, _request)

    def apply(self, logits: Tensor) -> Tensor:
        """Raises RuntimeError where the two requests of a pair are not at the same token."""
        kinds = dict.fromkeys(each.wish.allowed for each in self._requests.values())
        for first, end in kinds:
            own = {i: r for i, r in self._requests.items() if r.wish.allowed == (first, end)}
            self._settle(logits, own, slice(first, end))
        return logits

    def _settle(self, logits: Tensor, requests: dict[int, _Request], allowed: slice) -> None:
        partners = {r.wish.pair: i for i, r in requests.items() if r.wish.free}
        rows = [i for i, request in requests.items() if not request.wish.free]
        asked = [requests[i] for i in rows]
        own = logits[rows, allowed].float()
        scores = own.log_softmax(-1)
        guided = [k for k, each in enumerate(asked) if each.wish.guidance != 1]
        if guided:
            others = [_partner(asked[k], requests, partners) for k in guided]
            free = logits[others, allowed].float()
            scale = own.new_tensor([[asked[k].wish.guidance] for k in guided])
            own[guided] = free + scale * (own[guided] - free)
        picked = _forced(asked, allowed, _choose(own, asked))
        found = scores.gather(1, picked[:, None])[:, 0]
        logits[[*requests]] = -torch.inf
        logits[rows, picked + allowed.start] = found
        if guided:
            logits[others, picked[guided] + allowed.start] = found[guided]


def _request(params: SamplingParams, _: list[int] | None, chosen: list[int]) -> _Request | None:
    if not params.extra_args:
        return None
    wish = Wish(**params.extra_args)
    uniforms = generator(wish.seed).random(wish.steps, dtype=np.float32)
    return _Request(wish, uniforms, chosen)


def _partner(own: _Request, requests: dict[int, _Request], partners: dict[int, int]) -> int:
    place = partners.get(own.wish.pair)
    if place is None or requests[place].at != own.at:
        there = "missing" if place is None else f"at {requests[place].at}"
        raise RuntimeError(
            f"of pair {own.wish.pair} one request is at token {own.at} and the other {there}"
        )
    return place


def _choose(logits: Tensor, asked: Sequence[_Request]) -> Tensor:
    # A request that is still being read has a row too, which vLLM throws away.
    uniforms = [each.uniforms[min(each.at, each.wish.steps - 1)] for each in asked]
    temperature = logits.new_tensor([[each.wish.temperature] for each in asked])
    return choose(logits, temperature, logits.new_tensor(np.array(uniforms))[:, None])


def _forced(asked: Sequence[_Request], allowed: slice, picked: Tensor) -> Tensor:
    for place, each in enumerate(asked):
        if each.wish.forced:
            picked[place] = each.wish.forced[each.at] - allowed.start
    return picked
