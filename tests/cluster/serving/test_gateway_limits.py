"""Who may ask the server, how much at once, and what a client that misbehaves can take from others: by sockets,
before a stand-in for the model."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp import FormData
from aiohttp.test_utils import TestClient

from tests.cluster.serving.standing_in import (
    CHAT,
    CONFIG,
    DRAW,
    EDIT,
    HELLO,
    StandIn,
    form,
    png,
    refused,
    saying,
    served,
    showing,
)


def test_many_files_of_one_form_are_not_opened(monkeypatch: pytest.MonkeyPatch) -> None:
    import tempfile

    opened: list[str] = []
    monkeypatch.setattr(tempfile, "TemporaryFile", lambda *_, **__: opened.append("one"))

    async def test(client: TestClient[Any, Any], _: StandIn) -> None:
        data = FormData()
        for i in range(1500):
            data.add_field("image", b"", filename=f"{i}")
        await refused(client, 400, "one picture", "POST", EDIT, data=data)

    served(test)
    assert not opened


def test_bodies_that_are_too_long_or_too_slow() -> None:
    big = b"x" * 2**19

    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(8):
            yield big[: 2**16]

    async def never() -> AsyncIterator[bytes]:
        yield b"{"
        await asyncio.sleep(3600)

    async def test(client: TestClient[Any, Any], _: StandIn) -> None:
        for to in (CHAT, DRAW):
            await refused(client, 413, "0.25 MiB", "POST", to, data=big)
            await refused(client, 413, "0.25 MiB", "POST", to, data=chunks())
        long = FormData([("prompt", "x" * 2**19)], default_to_multipart=True)
        await refused(client, 413, "0.25 MiB", "POST", EDIT, data=long)

    async def slowly(client: TestClient[Any, Any], _: StandIn) -> None:
        await refused(client, 408, "0.5 s", "POST", CHAT, data=never())

    served(test)
    served(slowly, CONFIG.model_copy(update={"body_deadline": 0.5}))


def test_broken_chunks_and_what_follows_in_one_pipe() -> None:
    async def ask(client: TestClient[Any, Any], text: bytes) -> bytes:
        reader, writer = await asyncio.open_connection(client.host, client.port)
        writer.write(text)
        answer = await asyncio.wait_for(reader.read(), 120)
        writer.close()
        return answer

    def head(path: str, more: str) -> bytes:
        return f"POST {path} HTTP/1.1\r\nHost: localhost\r\n{more}\r\n\r\n".encode()

    async def test(client: TestClient[Any, Any], _: StandIn) -> None:
        chunked = "Transfer-Encoding: chunked\r\nContent-Type: application/json"
        answer = await ask(client, head(CHAT, chunked) + b"2\r\n{}\r\nzz\r\n")
        # aiohttp's parser in C does not tell who reads the body, who then waits for the rest of it.
        assert answer.split()[1] in (b"400", b"408")
        body = json.dumps(HELLO).encode()
        one = head(CHAT, f"Content-Length: {len(body)}") + body
        last = head(CHAT, f"Content-Length: {len(body)}\r\nConnection: close") + body
        assert (await ask(client, one + last)).count(b"HTTP/1.1 200 OK") == 2
        none = await ask(client, b"GET /v1/models HTTP/1.1\r\nConnection: close\r\n\r\n")
        assert none.split()[1] in (b"400", b"403")

    served(test, CONFIG.model_copy(update={"body_deadline": 5.0}))


def test_who_may_ask() -> None:
    async def with_token(client: TestClient[Any, Any], _: StandIn) -> None:
        for header in ({}, {"Authorization": "Bearer other"}, {"Authorization": "Basic secret"}):
            async with client.post(CHAT, json=HELLO, headers=header) as found:
                assert (found.status, found.headers["WWW-Authenticate"]) == (401, "Bearer")
                assert (await found.json())["error"]["code"] == "invalid_api_key"
        for scheme in ("Bearer", "bearer"):
            header = {"Authorization": f"{scheme} secret", "Host": "any.example.org"}
            async with client.post(CHAT, json=HELLO, headers=header) as found:
                assert found.status == 200

    async def without(client: TestClient[Any, Any], model: StandIn) -> None:
        foreign = {"Host": "evil.example.org"}
        await refused(client, 403, "not known as", "POST", CHAT, json=HELLO, headers=foreign)
        # What a page of another site can send without being asked whether it may.
        simple = {"Content-Type": "text/plain"}
        for origin in ("https://evil.example.org", "null", "http://127.0.0.1:1"):
            header = simple | {"Origin": origin}
            body = json.dumps(HELLO)
            await refused(client, 403, "a page", "POST", CHAT, data=body, headers=header)
            await refused(client, 403, "a page", "POST", EDIT, data=form(), headers=header)
        assert not model.asked
        own = {"Origin": f"http://127.0.0.1:{client.port}"}
        async with client.post(CHAT, json=HELLO, headers=own) as found:
            assert found.status == 200

    served(with_token, token="secret")
    served(without)


def test_pictures_of_a_request_are_limited_together() -> None:
    async def test(client: TestClient[Any, Any], model: StandIn) -> None:
        ok = saying(*[showing(png(40, 30))] * 4, {"type": "text", "text": "a"})
        async with client.post(CHAT, json=ok) as found:
            assert found.status == 200
        assert [p.pixels.shape for p in model.asked[0].context[:4]] == [(30, 40, 3)] * 4
        large = saying(*[showing(png(90, 90))] * 2)
        await refused(client, 400, "0.01 million", "POST", CHAT, json=large)
        many = saying(*[showing(png())] * 5)
        await refused(client, 400, "at most 4 pictures", "POST", CHAT, json=many)

    served(test)


def test_requests_hold_so_much_memory_together_and_give_it_back() -> None:
    async def test(client: TestClient[Any, Any], model: StandIn) -> None:
        text = {"type": "text", "text": "wait"}
        held = asyncio.create_task(client.post(CHAT, json=saying(text, showing(png(90, 90)))))
        while not model.asked:
            await asyncio.sleep(0.01)  # its picture takes 24,300 bytes of 32,768
        for body in (saying(showing(png(90, 90))), HELLO | {"user": "x" * 10_000}):
            error = await refused(client, 503, "memory", "POST", CHAT, json=body)
            assert error["code"] == "overloaded"
        held.cancel()
        for _ in range(1000):  # until the server knows that it has gone, and each time again
            async with client.post(
                CHAT, json=saying(text | {"text": "a"}, showing(png(90, 90)))
            ) as got:
                if got.status == 200:
                    break
        for _ in range(5):
            async with client.post(CHAT, json=HELLO | {"user": "x" * 20_000}) as got:
                assert got.status == 200

    served(test, CONFIG.model_copy(update={"memory_mib": 1 / 32}))


def test_who_hangs_up_takes_no_room_in_the_queue() -> None:
    async def test(client: TestClient[Any, Any], model: StandIn) -> None:
        def ask(prompt: str) -> asyncio.Task[Any]:
            return asyncio.create_task(client.post(DRAW, json={"prompt": prompt}))

        held = [ask("wait"), ask("wait")]  # both ways to the replica are taken
        while len(model.asked) < 2:
            await asyncio.sleep(0.01)
        gone = [ask("a") for _ in range(5)]  # one more than may wait
        done, waiting = await asyncio.wait(gone, return_when=asyncio.FIRST_COMPLETED)
        assert [each.result().status for each in done] == [503]
        for each in waiting:
            each.cancel()
        again = await asyncio.gather(*(_accepted(client) for _ in range(4)))
        assert again == [True] * 4
        for each in held:
            each.cancel()

    async def _accepted(client: TestClient[Any, Any]) -> bool:
        """Whether it comes to wait, once the server knows that others have gone."""
        for _ in range(100):
            asked = asyncio.create_task(client.post(DRAW, json={"prompt": "a"}))
            done, _ = await asyncio.wait([asked], timeout=1)
            if not done:
                return True
            await asyncio.sleep(0.1)
        return False

    served(test, CONFIG.model_copy(update={"queue": 4, "batch": 1}))
