"""What answers HTTP, as the API of OpenAI does.

Invariant: every request ends in its answer or in one refusal of the API's own form. No token is stored or
written.
"""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any

from aiohttp import web
from aiohttp.typedefs import Handler

from actors.roles.templates import Templates
from cluster.serving import asks, pictures
from cluster.serving.asks import Ask, ChatBody, ImagesBody
from cluster.serving.calling import Caller
from cluster.serving.completions import DONE, Completion
from cluster.serving.config import ServeConfig
from cluster.serving.reading import Reader
from cluster.serving.refusals import Refusal
from policies.interface import Output, Picture, PictureSampling, TextSampling, last_picture

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Gateway:
    """`sampling` is how pictures are drawn where a request does not say; `started` is in seconds of the
    epoch."""

    config: ServeConfig
    read: Reader
    call: Caller
    templates: Templates
    sampling: PictureSampling
    started: int

    def application(self) -> web.Application:
        made = web.Application(
            middlewares=[_in_form, self.read.room.give_back],
            client_max_size=int(self.config.body_mib * 2**20),
        )
        made.add_routes([
            web.get("/health", self.health),
            web.get("/v1/models", self.models),
            web.get("/v1/models/{name:.+}", self.model),
            web.post("/v1/chat/completions", self.chat),
            web.post("/v1/images/generations", self.generations),
            web.post("/v1/images/edits", self.edits),
        ])  # fmt: skip
        return made

    async def health(self, _: web.Request) -> web.Response:
        return web.json_response({"status": "ok"})

    async def models(self, request: web.Request) -> web.Response:
        self.read.let_in(request)
        return web.json_response({"object": "list", "data": [self._card()]})

    async def model(self, request: web.Request) -> web.Response:
        self.read.let_in(request)
        self._require_name(request.match_info["name"])
        return web.json_response(self._card())

    async def chat(self, request: web.Request) -> web.StreamResponse:
        body = asks.parsed(ChatBody, await self.read.json(request))
        self._require_name(body.model)
        asked = await asyncio.to_thread(asks.chat, body, self.config)  # it decodes pictures
        shown = [part for part in asked[0].context if isinstance(part, Picture)]
        self.read.room.take(request, sum(each.pixels.nbytes for each in shown))
        answer = Completion(self.config.name, asked)
        if not body.stream:
            return web.json_response(answer.whole(await self.call.write(asked)))
        pieces = self._pieces(answer, asked, bool((body.stream_options or {}).get("include_usage")))
        return await _streamed(request, pieces, self.config.deadline)

    async def generations(self, request: web.Request) -> web.Response:
        return await self._images(await self.read.json(request), None)

    async def edits(self, request: web.Request) -> web.Response:
        return await self._images(*await self.read.form(request))

    async def _images(self, given: Any, shown: Picture | None) -> web.Response:
        body = asks.parsed(ImagesBody, given)
        self._require_name(body.model or self.config.name)
        asked = asks.images(body, shown, self.templates, self.sampling, self.config)
        outputs = await self.call.draw(asked)
        data = await asyncio.to_thread(lambda: [_drawn(output) for output in outputs])
        return web.json_response({"created": int(time.time()), "data": data})

    async def _pieces(
        self, answer: Completion, asked: Sequence[Ask[TextSampling]], counts: bool
    ) -> AsyncGenerator[str, None]:
        """Raises Refusal."""
        async with aclosing(self.call.stream(asked)) as told:
            async for index, text in told:
                for piece in answer.grown(index, text):
                    yield piece
        if counts:
            yield answer.used()
        yield DONE

    def _require_name(self, name: str) -> None:
        if name != self.config.name:
            raise Refusal(404, f"there is no model {name!r:.200} here, only {self.config.name!r}",
                          "model", "model_not_found")  # fmt: skip

    def _card(self) -> dict[str, Any]:
        return {"id": self.config.name, "object": "model", "created": self.started,
                "owned_by": "unicorn-ray"}  # fmt: skip


async def _streamed(
    request: web.Request, pieces: AsyncGenerator[str, None], deadline: float
) -> web.StreamResponse:
    """What is refused at once has its status; a refusal that comes later is the last event. A client that
    does not read it all within the deadline is cut off."""
    response = web.StreamResponse(
        headers={"Content-Type": "text/event-stream", "Cache-Control": "no-cache"}
    )
    async with aclosing(pieces):
        first = await anext(pieces)
        try:
            async with asyncio.timeout(deadline):
                await response.prepare(request)
                await response.write(first.encode())
                async for piece in _to_the_end(pieces):
                    await response.write(piece.encode())
                await response.write_eof()
        except TimeoutError:
            if request.transport:
                request.transport.abort()
            raise ConnectionResetError("the client reads too slowly") from None
    return response


async def _to_the_end(pieces: AsyncIterator[str]) -> AsyncIterator[str]:
    try:
        async for piece in pieces:
            yield piece
    except Refusal as refusal:
        yield f"data: {json.dumps(refusal.body())}\n\n"


def _drawn(output: Output) -> dict[str, str]:
    """A picture as the API has it; what the model planned before stands as the prompt that it revised."""
    picture = last_picture(output)
    if picture is None:
        raise Refusal(500, "the model came to no picture: ask with another seed")
    said = [part.segment for part in output if isinstance(part.segment, str)]
    return {"b64_json": pictures.encoded(picture)} | (
        {"revised_prompt": "\n".join(said)} if said else {}
    )


@web.middleware
async def _in_form(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Whatever goes wrong, in the API's own form."""
    allowed = None
    try:
        return await handler(request)
    except Refusal as error:
        refusal = error
    except web.HTTPException as error:
        where = f"{request.method} {request.path!r:.100}"
        refusal = Refusal(error.status, f"{where}: {error.reason}")
        allowed = {"Allow": error.headers["Allow"]} if "Allow" in error.headers else None
    except ConnectionError:
        raise  # nobody listens any more
    except Exception:  # of one request, and no other
        if request.writer.output_size:
            raise  # a second answer in the middle of the first would be none
        log.exception("a request failed")
        refusal = Refusal(500, "the server failed: its log says why")
    more = {401: {"WWW-Authenticate": "Bearer"}, 503: {"Retry-After": "1"}}
    return web.json_response(
        refusal.body(), status=refusal.status, headers=allowed or more.get(refusal.status)
    )
