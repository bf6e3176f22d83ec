"""A model behind an OpenAI-compatible server, through the `openai` client; and one that judges.

Invariant: the key comes from the environment alone and is in no message, file or log. At most `at_once`
requests are in flight. What the server may do better soon (429, 5xx, silence) the client asks again;
what stays so ends the evaluation with one sentence, and every reply that came is kept.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from actors.roles.server import KEY, part, without_key
from evaluation.judges.asking import Keep, LanguageJudge
from evaluation.judges.cache import Reply
from policies.errors import UserError, one_line
from policies.interface import Context

RETRIES = 6
"""The client waits longer each time, up to 8 s, or as long as the server says."""
WAIT_S = 120.0
"""For one reply."""
LIST_S = 10.0
"""For the list of its models."""
MAX_TOKENS = 1024
WARMER = 0.7
"""At temperature 0 a second attempt would be the first one again."""


class JudgeError(UserError):
    """A judge that cannot be asked; the message names the server and the fix."""


@dataclass(frozen=True)
class Asked:
    """One request, which `name` names to whoever keeps the reply. What it shows is made when its turn has
    come, for pictures are large."""

    name: str
    context: Callable[[], Context]
    max_tokens: int
    temperature: float = 0.0
    seed: int = 0


class ChatServer:
    """`setting` is what a message calls the server's address."""

    def __init__(
        self, server: str, model: str, at_once: int, wait_s: float = WAIT_S,
        setting: str = "task.judge_server",
    ) -> None:  # fmt: skip
        """Raises JudgeError where the client is not installed."""
        try:
            from openai import AsyncOpenAI
        except ImportError as error:
            raise JudgeError(
                f"{setting} is {server}, which needs the client `openai`: install "
                "'unicorn-ray[judge]'"
            ) from error
        self.identity = f"{server.rstrip('/')} {model}"
        self._server, self._model, self._wait_s = server, model, wait_s
        self._setting = setting
        self._room = asyncio.Semaphore(at_once)
        key = _key()
        self._make = lambda: AsyncOpenAI(
            base_url=server, api_key=key, max_retries=RETRIES, timeout=wait_s
        )

    def require(self) -> None:
        """Whether it answers and serves the model, before any work starts; a server without a list of
        models is believed. Raises JudgeError."""
        import openai

        try:
            with openai.OpenAI(
                base_url=self._server, api_key=_key(), max_retries=1, timeout=LIST_S
            ) as client:
                served = [str(each.id) for each in client.models.list()]
        except openai.NotFoundError:
            return
        except openai.OpenAIError as error:
            raise self._refusal(error, LIST_S) from None  # its cause has the request, with the key
        except ValueError as error:
            raise self._told(f"does not answer in JSON ({one_line(error)})") from None
        except (AttributeError, TypeError):  # the client believes that what it got has a list in it
            raise self._told("does not list its models as OpenAI's API does") from None
        if self._model not in served:
            raise self._told(f"serves {', '.join(served) or 'nothing'} and not that model")

    async def chat(self, asked: Sequence[Asked], keep: Keep) -> None:
        """Gives every reply to `keep`, by its request's name, as soon as it is there. Raises
        JudgeError."""
        async with self._make() as client:
            tasks = [asyncio.create_task(self._one(client, each, keep)) for each in asked]
            try:
                await asyncio.gather(*tasks)
            finally:
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)

    async def _one(self, client: Any, asked: Asked, keep: Keep) -> None:
        import openai

        async with self._room:
            shown = await asyncio.to_thread(lambda: _content(asked.context()))
            try:
                found = await client.chat.completions.create(
                    model=self._model,
                    messages=[{"role": "user", "content": shown}],
                    temperature=asked.temperature,
                    max_tokens=asked.max_tokens,
                    seed=asked.seed,
                )
            except openai.OpenAIError as error:
                raise self._refusal(error, self._wait_s) from None  # as above
            except ValueError as error:
                raise self._told(f"does not answer in JSON ({one_line(error)})") from None
        await keep(asked.name, self._reply(found))

    def _reply(self, found: Any) -> Reply:
        """A message without a text is an empty reply, which is unparsable and counted. Raises
        JudgeError where there is no message."""
        try:
            said = found.choices[0].message.content
        except (AttributeError, LookupError, TypeError):
            raise self._told("answers without choices[0].message") from None
        usage = getattr(found, "usage", None)
        return Reply(
            said if isinstance(said, str) else "",
            str(getattr(found, "model", "") or ""),
            *(_count(getattr(usage, name, 0)) for name in ("prompt_tokens", "completion_tokens")),
        )

    def _refusal(self, error: Exception, wait_s: float) -> JudgeError:
        code = getattr(error, "status_code", None)
        if code is None:
            return self._told(f"does not answer within {wait_s:g} s ({one_line(error)})")
        return self._told(f"answers {code} ({one_line(without_key(str(error)))})")

    def _told(self, what: str) -> JudgeError:
        return JudgeError(
            f"{self._setting} is {self._server}, model {self._model}: it {what}: mend that, and the "
            f"same command goes on (a key is read from {KEY})"
        )


class ServerJudge(ChatServer, LanguageJudge):
    """Asked in words, a second time warmer."""

    async def ask(self, texts: Sequence[str], attempt: int, keep: Keep) -> None:
        """Raises JudgeError."""
        temperature = WARMER if attempt else 0.0
        await self.chat(
            [Asked(text, _alone(text), MAX_TOKENS, temperature, attempt) for text in texts], keep
        )


def _alone(text: str) -> Callable[[], Context]:
    return lambda: (text,)


def _count(told: object) -> int:
    return told if type(told) is int else 0


def _content(context: Context) -> Any:
    """A text alone as every server takes it, else parts."""
    only = context[0] if len(context) == 1 else None
    return only if isinstance(only, str) else [part(each) for each in context]


def _key() -> str:
    """A server of one's own wants none, and the client does."""
    return os.environ.get(KEY) or "none"
