"""A role that an OpenAI-compatible server plays, with a model that does not follow the run.

Invariant: a server writes and does nothing else; what it wrote names it in every record. A server
that does not answer is asked again until a deadline, and then named; what it refuses is never asked
again. The key comes from the environment alone, and is in no message.
"""

from __future__ import annotations

import base64
import json
import os
import urllib.error
import urllib.request
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPException
from typing import Any

from tenacity import Retrying

from actors.retry import ANSWER_S, retrying
from policies.errors import UserError, one_line
from policies.interface import Context, Picture, Segment, TextSampling
from policies.pictures import png

KEY = "OPENAI_API_KEY"
"""The environment's name for the key, if the server wants one."""
AT_ONCE = 32
"""Requests in flight: a server batches them itself."""
PAUSE_S = 2.0
BUSY = (408, 429, 500, 502, 503, 504)
"""Answers of a server that may have another one soon."""


def without_key(text: str) -> str:
    """Returns what a server said without the key, which some repeat when they refuse it."""
    key = os.environ.get(KEY)
    return text.replace(key, "...") if key else text


class ServerRefused(UserError, RuntimeError):
    """A server that answers with something else than a text; the message names it and the fix."""


class ServerSilent(UserError, OSError):
    """A server that does not answer; the message names it."""


class ServerWriter:
    """The part of a policy that a Proposer or a Judge needs. `role` names the settings."""

    def __init__(self, role: str, server: str, model: str, patience_s: float = ANSWER_S) -> None:
        self._role, self._server, self._model = role, server.rstrip("/"), model
        self._patience_s = patience_s

    def require(self) -> None:
        """Raises ServerSilent, or ServerRefused where the model is not served there."""
        found = self._ask("/models")
        names = [each.get("id") for each in found.get("data", ()) if isinstance(each, dict)]
        if self._model not in names:
            raise ServerRefused(
                f"{self._role}.server_model is {self._model!r}: {self._server} serves "
                f"{', '.join(map(str, names)) or 'nothing'}; name one of them"
            )

    def write(
        self, contexts: Sequence[Context], sampling: Sequence[TextSampling], seeds: Sequence[int]
    ) -> list[str]:
        """Raises ServerSilent, ServerRefused."""
        with ThreadPoolExecutor(AT_ONCE) as threads:
            return list(threads.map(self._one, contexts, sampling, seeds))

    def _one(self, context: Context, how: TextSampling, seed: int) -> str:
        found = self._ask(
            "/chat/completions",
            model=self._model,
            messages=[{"role": "user", "content": [part(each) for each in context]}],
            temperature=how.temperature,
            max_tokens=how.max_tokens,
            seed=int(seed),
        )
        try:
            text = found["choices"][0]["message"]["content"]
        except (KeyError, IndexError, TypeError):
            text = None
        if not isinstance(text, str):
            raise ServerRefused(
                f"{self._role}.server is {self._server}: its answer has no choices[0].message.content"
                f" ({one_line(without_key(str(found)))}): name a server of chat completions"
            )
        return text

    def _ask(self, path: str, **body: Any) -> Any:
        ask = retrying(Retrying, ServerSilent, PAUSE_S, lambda: self._patience_s)
        return ask(lambda: self._send(path, body))

    def _send(self, path: str, body: dict[str, Any]) -> Any:
        data = json.dumps(body).encode() if body else None
        headers = {"Content-Type": "application/json"}
        if key := os.environ.get(KEY):
            headers["Authorization"] = f"Bearer {key}"
        request = urllib.request.Request(self._server + path, data, headers)
        try:
            with urllib.request.urlopen(request, timeout=self._patience_s) as answer:
                found = json.load(answer)
        except urllib.error.HTTPError as error:
            raise self._refusal(error) from error
        except (OSError, HTTPException) as error:
            raise self._silent(getattr(error, "reason", error)) from error
        except ValueError as error:
            raise ServerRefused(
                f"{self._role}.server is {self._server}: it does not answer in JSON "
                f"({one_line(error)}): name the address that ends in /v1"
            ) from error
        if not isinstance(found, dict):
            raise ServerRefused(
                f"{self._role}.server is {self._server}: its answer is no object: name the address "
                "that ends in /v1"
            )
        return found

    def _refusal(self, error: urllib.error.HTTPError) -> UserError:
        said = one_line(without_key(error.read(2000).decode(errors="replace")))
        if error.code in BUSY:
            return self._silent(f"{error.code}: {said}")
        return ServerRefused(
            f"{self._role}.server is {self._server}: it answers {error.code} ({said}): mend that there,"
            f" or set {self._role}.server and server_model to what it serves"
        )

    def _silent(self, reason: object) -> ServerSilent:
        return ServerSilent(
            f"{self._role}.server is {self._server}: it does not answer ({one_line(reason)}): start "
            "it, then resume the run"
        )


def part(segment: Segment) -> dict[str, Any]:
    """Returns the part of a message that shows it: a text, or a picture as a data URL of a PNG."""
    if isinstance(segment, Picture):
        return {"type": "image_url", "image_url": {"url": _data_url(segment)}}
    return {"type": "text", "text": segment}


def _data_url(picture: Picture) -> str:
    return "data:image/png;base64," + base64.b64encode(png(picture)).decode()
