"""Every route and every refusal over HTTP, by sockets and by the API's own client. What is real is all but
Ray Serve and the model: a stand-in answers, with the words that it is asked, or a picture of one colour."""

from __future__ import annotations

import asyncio
import base64
import io
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
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


def test_every_route_by_the_official_client() -> None:
    openai = pytest.importorskip("openai")

    async def test(web: TestClient[Any, Any], model: StandIn) -> None:
        async with openai.AsyncOpenAI(
            base_url=str(web.make_url("/v1")), api_key="none", max_retries=0, timeout=30
        ) as client:
            assert [each.id async for each in client.models.list()] == ["org/tiny"]
            assert (await client.models.retrieve("org/tiny")).created == 1_700_000_000
            said = await client.chat.completions.create(
                **HELLO, n=2, seed=None, stop=None, temperature=None, stream=None, max_tokens=None
            )
            assert [each.message.content for each in said.choices] == ["hello you"] * 2
            assert [each.finish_reason for each in said.choices] == ["stop"] * 2
            assert said.usage.completion_tokens == 4 and said.model == "org/tiny"
            again = [*HELLO["messages"], said.choices[0].message, HELLO["messages"][0]]
            told = await client.chat.completions.create(model="org/tiny", messages=again, n=None)
            assert told.choices[0].message.content == "hello you hello you hello you"

            stream = await client.chat.completions.create(
                **HELLO, stream=True, stream_options={"include_usage": True}, max_tokens=2
            )
            pieces = [each async for each in stream]
            assert "".join(p.choices[0].delta.content or "" for p in pieces[:-1]) == "hello you"
            assert pieces[-2].choices[0].finish_reason == "length"
            assert pieces[-1].usage.completion_tokens == 2 and not pieces[-1].choices

            drawn = await client.images.generate(prompt="a", n=2, extra_body={"seed": 7})
            first, second = (base64.b64decode(each.b64_json) for each in drawn.data)
            assert Image.open(io.BytesIO(first)).size == (6, 4) and first != second
            for image in (png(), [png()]):  # the client calls the second image[]
                edited = await client.images.edit(
                    image=image, prompt="a", n=2, extra_body={"seed": 7, "judgement": "2 of 10"}
                )
                assert len(edited.data) == 2
            shown = model.asked[-1].context
            assert any(isinstance(part, Picture) for part in shown) and "2 of 10" in str(shown)

            with pytest.raises(openai.BadRequestError) as bad:
                await client.chat.completions.create(**HELLO, stop=["."])
            assert bad.value.param == "stop" and "does not know it" in bad.value.message
            with pytest.raises(openai.BadRequestError, match="xyzzy"):
                await client.images.generate(prompt="xyzzy")
            with pytest.raises(openai.NotFoundError) as none:
                await client.models.retrieve("gpt")
            assert none.value.code == "model_not_found"

    served(test)


def test_what_is_null_is_as_if_it_was_not_there() -> None:
    async def test(client: TestClient[Any, Any], model: StandIn) -> None:
        nothing = dict.fromkeys(
            ("n", "seed", "stop", "stream", "stream_options", "max_tokens", "temperature", "tools",
             "response_format", "user", "audio", "functions", "prediction", "web_search_options")
        )  # fmt: skip
        async with client.post(CHAT, json=HELLO | nothing) as found:
            assert found.status == 200, await found.text()
        nothing = dict.fromkeys(("n", "size", "judgement", "model", "quality", "style", "guidance"))
        async with client.post(DRAW, json={"prompt": "a"} | nothing) as found:
            assert found.status == 200, await found.text()
        assert model.asked[-1].sampling == PictureSampling(0.3, 1.25)
        calls = [{"id": "a", "type": "function", "function": {"name": "f", "arguments": ""}}]
        message = {"role": "assistant", "content": None, "tool_calls": calls}
        error = await refused(client, 400, "does not know it", "POST", CHAT,
                              json=HELLO | {"messages": [message]})  # fmt: skip
        assert error["param"] == "messages.0.tool_calls"
        await refused(client, 400, "model", "POST", CHAT, json={"messages": HELLO["messages"]})

    served(test)


def test_routes_methods_and_bodies_that_are_none_are_refused() -> None:
    async def test(client: TestClient[Any, Any], _: StandIn) -> None:
        async with client.get("/health") as found:
            assert (found.status, await found.json()) == (200, {"status": "ok"})
        async with client.head("/v1/models") as found:
            assert found.status == 200
        async with client.get("/v1/models/org/tiny") as found:
            assert (await found.json())["object"] == "model"
        await refused(client, 404, "Not Found", "POST", "/v1/embeddings")
        async with client.options(CHAT) as found:
            assert (found.status, found.headers["Allow"]) == (405, "POST")
        json_ = {"Content-Type": "application/json"}
        for body in (b"", b"{", b"\xff\xfe", b"[" * 10**5, b'{"model": "\xff"}', b"[]"):
            await refused(client, 400, "body", "POST", CHAT, data=body, headers=json_)
        for more in ('"temperature": NaN', '"temperature": Infinity', '"seed": 1.5', '"seed": "a"',
                     '"n": 99999999999999999999', '"n": 5', '"max_tokens": -1'):  # fmt: skip
            body = json.dumps(HELLO)[:-1] + f", {more}}}"
            field = more.split('"')[1]
            error = await refused(client, 400, field, "POST", CHAT, data=body, headers=json_)
            assert error["param"] == field
        await refused(client, 404, "no model 'gpt'", "POST", CHAT, json=HELLO | {"model": "gpt"})

    served(test)


def test_forms() -> None:
    async def test(client: TestClient[Any, Any], model: StandIn) -> None:
        fields = (("n", "2"), ("seed", "7"), ("stream", "false"), ("partial_images", "0"),
                  ("temperature", "0.5"), ("background", "auto"))  # fmt: skip
        async with client.post(EDIT, data=form(*fields, image="image[]")) as found:
            assert found.status == 200 and len((await found.json())["data"]) == 2
        assert model.asked[-1].sampling == PictureSampling(0.5, 1.25)

        async def bad(says: str, **more: Any) -> None:
            await refused(client, 400, says, "POST", EDIT, **more)

        twice = form()
        twice.add_field("image[]", png(), filename="b.png")
        await bad("one picture", data=twice)
        await bad("prompt", data=form(("prompt", "another")))
        masked = form()
        masked.add_field("mask", png(), filename="b.png")
        await bad("mask", data=masked)
        await bad("must be a number", data=form(("n", "two")))
        await bad("must be true or false", data=form(("stream", "maybe")))
        await bad("stream", data=form(("stream", "true")))
        await bad("no picture", data=FormData([("prompt", "a")], default_to_multipart=True))
        await bad("one picture", data=FormData([("image", "a")], default_to_multipart=True))
        await bad("not a form", json={"prompt": "a"})
        await bad("not a form", data={"prompt": "a"})
        await bad("not a form", data=b"--x", headers={"Content-Type": "multipart/form-data"})
        broken = {"Content-Type": "multipart/form-data; boundary=x"}
        await bad("body", data=b"--x\r\nno header\r\n\r\n\r\n--x--", headers=broken)
        await bad("body", data=b"--x\r\n", headers=broken)
        many = form(*((f"f{i}", "") for i in range(100)))
        await bad("plain form", data=many)

    served(test)


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


def test_a_failure_is_of_one_request_and_no_other() -> None:
    async def test(client: TestClient[Any, Any], _: StandIn) -> None:
        async def ask(text: str) -> int:
            async with client.post(CHAT, json=saying({"type": "text", "text": text})) as found:
                return found.status

        texts = ["a", "b", "c boom", "d xyzzy", "e", "f", "g boom", "h"]
        found = await asyncio.gather(*map(ask, texts))
        assert found == [500 if "boom" in t else 400 if "xyzzy" in t else 200 for t in texts]
        drawn = [{"prompt": text} for text in texts]
        answers = await asyncio.gather(*(client.post(DRAW, json=each) for each in drawn))
        assert [each.status for each in answers] == found

    served(test)


def test_who_is_answered_twice_hears_it_once() -> None:
    async def test(client: TestClient[Any, Any], model: StandIn) -> None:
        body = saying({"type": "text", "text": "it dies"}, n=2)
        async with client.post(CHAT, json=body) as found:
            assert found.status == 200, await found.text()
            said = [each["message"]["content"] for each in (await found.json())["choices"]]
        assert said == ["it dies"] * 2 and len(model.asked) == 3

    served(test, CONFIG.model_copy(update={"batch": 1}))


def test_streams_end_in_what_went_wrong() -> None:
    async def test(client: TestClient[Any, Any], _: StandIn) -> None:
        async def said(text: str) -> tuple[int, list[str]]:
            body = saying({"type": "text", "text": text}, stream=True, n=2)
            async with client.post(CHAT, json=body) as found:
                lines = (await found.text()).split("\n\n")
                return found.status, [line for line in lines if line]

        status, lines = await said("a b c")
        assert status == 200 and lines[-1] == "data: [DONE]"
        assert (await said("xyzzy"))[0] == 400 and (await said("boom"))[0] == 500

    async def late(client: TestClient[Any, Any], _: StandIn) -> None:
        body = saying({"type": "text", "text": "wait"}, stream=True)
        await refused(client, 504, "0.5 s", "POST", CHAT, json=body)

    served(test)
    served(late, CONFIG.model_copy(update={"deadline": 0.5}))


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
