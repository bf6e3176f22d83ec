"""Every route and its refusals over HTTP, by sockets and by the API's own client. What is real is all but
Ray Serve and the model: a stand-in answers, with the words that it is asked, or a picture of one colour."""

from __future__ import annotations

import asyncio
import base64
import io
import json
from typing import Any

import pytest
from aiohttp import FormData
from aiohttp.test_utils import TestClient
from PIL import Image

from policies.interface import Picture, PictureSampling
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
)


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
