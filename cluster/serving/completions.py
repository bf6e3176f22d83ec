"""The form of chat completions, whole and in pieces as server-sent events.

Invariant: the pieces of an answer, put together, are the answer.
"""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Iterator, Sequence
from typing import Any

from cluster.serving.asks import Ask, Written
from policies.interface import TextSampling

DONE = "data: [DONE]\n\n"
HALF = "\ufffd"
"""What a text ends with while the bytes of a letter are not all there."""


class Completion:
    """The answers to one request, under one id."""

    def __init__(self, model: str, asks: Sequence[Ask[TextSampling]]) -> None:
        self._head = {
            "id": f"chatcmpl-{uuid.uuid4().hex}", "created": int(time.time()), "model": model,
        }  # fmt: skip
        self._asks = asks
        self._sent: dict[int, str] = {}
        self._found: list[Written] = []

    def whole(self, found: Sequence[Written]) -> dict[str, Any]:
        choices = [
            {"index": i, "message": {"role": "assistant", "content": each.text, "refusal": None},
             "finish_reason": self._finish(i, each), "logprobs": None}
            for i, each in enumerate(found)
        ]  # fmt: skip
        return {**self._head, "object": "chat.completion", "choices": choices,
                "usage": _usage(found)}  # fmt: skip

    def grown(self, index: int, text: str | Written) -> Iterator[str]:
        """What is new in an answer's text so far, of whole letters. One that does not go on from what was
        sent, as when it is asked again and begins anew, is no news until it does."""
        last = isinstance(text, Written)
        now = text.text if isinstance(text, Written) else text
        if index not in self._sent:
            self._sent[index] = ""
            yield self._piece(index, {"role": "assistant", "content": ""})
        sent = self._sent[index]
        if len(now) > len(sent) and now.startswith(sent) and (last or not now.endswith(HALF)):
            self._sent[index] = now
            yield self._piece(index, {"content": now[len(sent) :]})
        if isinstance(text, Written):
            self._found.append(text)
            yield self._piece(index, {}, self._finish(index, text))

    def used(self) -> str:
        return self._event({"choices": [], "usage": _usage(self._found)})

    def _piece(self, index: int, delta: dict[str, str], finish: str | None = None) -> str:
        choice = {"index": index, "delta": delta, "finish_reason": finish, "logprobs": None}
        return self._event({"choices": [choice]})

    def _event(self, more: dict[str, Any]) -> str:
        return f"data: {json.dumps({**self._head, 'object': 'chat.completion.chunk', **more})}\n\n"

    def _finish(self, index: int, found: Written) -> str:
        return "length" if found.tokens >= self._asks[index].sampling.max_tokens else "stop"


def _usage(found: Sequence[Written]) -> dict[str, int]:
    """What was sampled; what was read is not counted."""
    made = sum(each.tokens for each in found)
    return {"prompt_tokens": 0, "completion_tokens": made, "total_tokens": made}
