"""The server with a stand-in for Ray Serve and the model, and a client of it."""

from __future__ import annotations

import asyncio
import base64
import io
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
import ray
from aiohttp import FormData
from aiohttp.test_utils import TestClient, TestServer
from PIL import Image

from actors.roles.templates import load_templates
from cluster.access import digest_of
from cluster.serving.asks import Refused, Written
from cluster.serving.calling import Caller
from cluster.serving.config import ServeConfig
from cluster.serving.gateway import Gateway
from cluster.serving.model import Writing
from cluster.serving.reading import Reader
from policies.interface import Part, Picture, PictureSampling

CONFIG = ServeConfig(
    name="org/tiny", pictures=4, megapixels=0.01, body_mib=0.25, body_deadline=60.0
)
CHAT, DRAW, EDIT = "/v1/chat/completions", "/v1/images/generations", "/v1/images/edits"
HELLO = {"model": "org/tiny", "messages": [{"role": "user", "content": "hello you"}]}


class StandIn:
    """As Ray Serve's handle of the model. It refuses "xyzzy", fails of "boom", never ends "wait", and dies
    when it has answered "dies" for the first time."""

    def __init__(self) -> None:
        self.asked, self.lives = list[Any](), 1
        self.draw = SimpleNamespace(remote=self._draw)
        self.write = SimpleNamespace(remote=self._write)

    def options(self, stream: bool) -> StandIn:
        assert stream
        return self

    async def _draw(self, asks: Sequence[Any]) -> list[Any]:
        self.asked += asks
        found = []
        for ask in asks:
            pixels = np.full((4, 6, 3), ask.seed % 256, np.uint8)
            found.append(await fate(ask, (Part(Picture(pixels)),)))
        return found

    async def _write(self, asks: Sequence[Writing]) -> AsyncIterator[list[tuple[int, Any]]]:
        self.asked += [each.ask for each in asks]
        for place, each in enumerate(asks):
            words = " ".join(part for part in each.ask.context if isinstance(part, str)).split()
            answer = await fate(each.ask, Written(" ".join(words), len(words)))
            if each.followed and isinstance(answer, Written):
                for end in range(1, len(words)):
                    yield [(place, " ".join(words[:end]))]
                    await asyncio.sleep(0)
            if "dies" in words and each.ask != self.asked[0]:
                await asyncio.sleep(0.5)  # until the other one was asked twice
            yield [(place, answer)]
        if "dies" in words and self.lives:
            self.lives -= 1
            raise ray.exceptions.RayActorError


async def fate(ask: Any, answer: Any) -> Any:
    said = str(ask.context)
    if "boom" in said:
        raise ValueError("a defect")
    if "wait" in said:
        await asyncio.sleep(3600)
    return Refused("it does not know 'xyzzy'") if "xyzzy" in said else answer


def served(
    test: Callable[[TestClient[Any, Any], StandIn], Awaitable[None]],
    config: ServeConfig = CONFIG,
    token: str = "",
) -> None:
    """`test` with a client of the server."""

    async def run() -> None:
        model = StandIn()
        gateway = Gateway(
            config, Reader(config, "127.0.0.1", digest_of(token)), Caller(model, config),
            load_templates("tiny"), PictureSampling(0.3, 1.25), 1_700_000_000,
        )  # fmt: skip
        server = TestServer(gateway.application())
        async with TestClient(server) as client:
            await asyncio.wait_for(test(client, model), 300)

    asyncio.run(run())


async def refused(
    client: TestClient[Any, Any], status: int, says: str, *to: Any, **more: Any
) -> Any:
    """The body's "error"."""
    async with client.request(*to, **more) as found:
        text = await found.text()
        assert found.status == status and says in text, (found.status, text)
        error = json.loads(text)["error"]
        assert set(error) == {"message", "type", "param", "code"} and error["message"]
        return error


def png(width: int = 6, height: int = 4, kind: str = "PNG") -> bytes:
    file = io.BytesIO()
    Image.fromarray(np.full((height, width, 3), 200, np.uint8)).save(file, kind)
    return file.getvalue()


def saying(*content: Any, **more: Any) -> dict[str, Any]:
    return HELLO | {"messages": [{"role": "user", "content": list(content)}]} | more


def showing(file: bytes) -> dict[str, Any]:
    url = f"data:image/png;base64,{base64.b64encode(file).decode()}"
    return {"type": "image_url", "image_url": {"url": url, "detail": "low"}}


def form(*more: tuple[str, str], image: str = "image") -> FormData:
    data = FormData()
    data.add_field(image, png(), filename="a.png", content_type="image/png")
    for name, value in (("model", "org/tiny"), ("prompt", "a red circle"), *more):
        data.add_field(name, value)
    return data
