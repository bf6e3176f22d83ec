"""The real server with the base model that ships, asked by the API's own client, by curl and by sockets."""

from __future__ import annotations

import asyncio
import base64
import io
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psutil
import pytest
from PIL import Image

from evaluation.suites import load_suite

pytestmark = pytest.mark.slow
openai = pytest.importorskip("openai")

ROOT = Path(__file__).resolve().parents[3]
HANG_S = 900.0
SETTINGS = ("serve.min_replicas=2", "serve.max_replicas=2", "serve.cpus=0.5", "serve.batch=16",
            "serve.body_mib=1", "serve.body_deadline=3", "serve.megapixels=0.1")  # fmt: skip


class Running:
    def __init__(self, process: subprocess.Popen[str], port: int) -> None:
        self.process, self.port = process, port
        self.client = openai.OpenAI(
            base_url=f"http://127.0.0.1:{port}/v1", api_key="none", max_retries=0, timeout=HANG_S
        )

    def draw(self, prompt: str, seed: int, **more: Any) -> str:
        drawn = self.client.images.generate(
            model="base", prompt=prompt, extra_body={"seed": seed}, **more
        )
        assert len(drawn.data) == more.get("n", 1)
        found: str = drawn.data[0].b64_json
        return found

    async def crowd(
        self, texts: list[str], seed: int, when_some: Callable[[], object] = lambda: None
    ) -> list[str]:
        """A client each, all at once. `when_some` is called when the tenth part has its drawing."""
        url, done = f"http://127.0.0.1:{self.port}/v1", 0
        async with openai.AsyncOpenAI(
            base_url=url, api_key="none", max_retries=0, timeout=HANG_S
        ) as client:

            async def draw(text: str) -> str:
                nonlocal done
                drawn = await client.images.generate(
                    model="base", prompt=text, extra_body={"seed": seed}
                )
                done += 1
                if done == len(texts) // 10:
                    when_some()
                found: str = drawn.data[0].b64_json
                return found

            return list(await asyncio.gather(*map(draw, texts)))

    def say(self, *parts: str, shown: str = "", **more: Any) -> Any:
        content: list[dict[str, Any]] = [{"type": "text", "text": part} for part in parts]
        if shown:
            url = {"url": f"data:image/png;base64,{shown}"}
            content.insert(0, {"type": "image_url", "image_url": url})
        return self.client.chat.completions.create(
            model="base", messages=[{"role": "user", "content": content}], **more
        )

    def curl(self, *words: str, path: str = "/v1/chat/completions") -> tuple[int, dict[str, Any]]:
        url = f"http://127.0.0.1:{self.port}{path}"
        done = subprocess.run(
            ["curl", "-sS", "-w", "\n%{http_code}", *words, url],
            capture_output=True,
            text=True,
            timeout=HANG_S,
        )
        assert done.returncode == 0, done.stderr
        body, _, status = done.stdout.rpartition("\n")
        return int(status), json.loads(body)

    def replicas(self) -> list[psutil.Process]:
        """Those of the model."""
        children = psutil.Process(self.process.pid).children(recursive=True)
        return [child for child in children if ":Model" in "".join(child.cmdline())]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    env = {
        key: value for key, value in os.environ.items() if not key.startswith(("RAY_", "UNICORN_"))
    }
    command = [
        sys.executable,
        "-m",
        "cluster",
        "serve",
        "policies/tiny/base",
        "--port",
        "0",
        *SETTINGS,
    ]
    with subprocess.Popen(
        command, cwd=ROOT, env=env, stdout=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        watch = threading.Timer(HANG_S, process.kill)
        watch.start()
        try:
            said = process.stdout.readline()
            found = re.fullmatch(r"base answers at http://127\.0\.0\.1:(\d+)/v1\n", said)
            assert found, said
            yield Running(process, int(found[1]))
            process.send_signal(signal.SIGINT)
            assert process.wait(120) == 0
            assert process.stdout.read().endswith("stopped\n")
        finally:
            watch.cancel()
            process.kill()


def prompts(count: int) -> list[str]:
    return [text for text, _ in load_suite("tiny_world").prompts(count, 99)]


def test_every_route_by_the_official_client(server: Running) -> None:
    assert [each.id for each in server.client.models.list()] == ["base"]
    assert server.client.models.retrieve("base").owned_by == "unicorn-ray"
    drawn = server.client.images.generate(
        model="base", prompt="a red circle", n=3, extra_body={"seed": 5}
    )
    sizes = [Image.open(io.BytesIO(base64.b64decode(each.b64_json))).size for each in drawn.data]
    assert sizes == [(48, 48)] * 3 and len({each.b64_json for each in drawn.data}) > 1

    shown = drawn.data[0].b64_json
    said = server.say("describe", shown=shown, temperature=0)
    text, used = said.choices[0].message.content, said.usage.completion_tokens
    assert text and said.choices[0].finish_reason == "stop" and used == len(text.split())
    cut = server.say("describe", shown=shown, temperature=0, max_tokens=1)
    assert cut.choices[0].finish_reason == "length"
    assert text.startswith(cut.choices[0].message.content)

    pieces = list(server.say("describe", shown=shown, temperature=0, stream=True, n=2,
                             stream_options={"include_usage": True}))  # fmt: skip
    grown = [
        "".join(
            p.choices[0].delta.content or ""
            for p in pieces
            if p.choices and p.choices[0].index == i
        )
        for i in range(2)
    ]
    assert grown == [text, text] and pieces[-1].usage.completion_tokens == 2 * used
    assert len(pieces) >= 2 * used  # it came word by word

    picture = ("a.png", base64.b64decode(shown), "image/png")
    for more in ({}, {"judgement": "one blue circle"}):
        edited = server.client.images.edit(
            model="base", image=picture, prompt="a red circle", extra_body={"seed": 5, **more}
        )
        assert Image.open(io.BytesIO(base64.b64decode(edited.data[0].b64_json))).size == (48, 48)


def test_a_seed_gives_the_same_picture_whatever_else_is_asked_for(server: Running) -> None:
    texts = prompts(200)
    alone = {text: server.draw(text, 7) for text in texts[:20]}
    crowd = dict(zip(texts, asyncio.run(server.crowd(texts, 7)), strict=True))
    assert all(
        Image.open(io.BytesIO(base64.b64decode(each))).size == (48, 48) for each in crowd.values()
    )
    assert {text: crowd[text] for text in alone} == alone


def test_what_is_wrong_is_said_in_the_form_of_the_api(server: Running, tmp_path: Path) -> None:
    broken = tmp_path / "a.png"
    broken.write_bytes(b"no picture")

    def refused(status: int, says: str, *words: str, **more: Any) -> None:
        found, body = server.curl(*words, **more)
        assert found == status and says in body["error"]["message"], (found, body)
        assert set(body["error"]) == {"message", "type", "param", "code"}

    refused(400, "not JSON", "-d", "{")
    refused(400, "must be a JSON object", "-d", "[]")
    refused(400, "messages", "-d", '{"model": "base"}')
    refused(
        404, "no model", "-d", '{"model": "gpt", "messages": [{"role": "user", "content": "a"}]}'
    )
    refused(404, "Not Found", path="/v1/embeddings")
    refused(405, "Method Not Allowed", path="/v1/chat/completions")
    said = '{"model": "base", "messages": [{"role": "user", "content": "a xyzzy"}]%s}'
    refused(400, "does not know 'xyzzy'", "-d", said % "")
    refused(400, "does not know 'xyzzy'", "-d", said % ', "stream": true')
    refused(400, "size", "-d", '{"model": "base", "prompt": "a red circle", "size": "64x64"}',
            path="/v1/images/generations")  # fmt: skip
    small = tmp_path / "small.png"
    Image.new("RGB", (8, 8)).save(small)
    refused(400, "the tiny policy sees (48, 48, 3)", "-F", f"image=@{small}", "-F", "model=base",
            "-F", "prompt=a red circle", path="/v1/images/edits")  # fmt: skip
    refused(
        400, "no picture", "-F", "prompt=a red circle", "-F", "model=base", path="/v1/images/edits"
    )
    refused(400, "cannot be read", "-F", f"image=@{broken}", "-F", "model=base", "-F", "prompt=a",
            path="/v1/images/edits")  # fmt: skip
    refused(403, "not known as", "-H", "Host: evil.example.org", path="/v1/models")


def test_a_request_that_is_too_long_or_too_slow_disturbs_nobody(
    server: Running, tmp_path: Path
) -> None:
    big = tmp_path / "big"
    big.write_bytes(b"[" + b"1," * 2**20 + b"1]")
    status, body = server.curl("-H", "Expect:", "--data-binary", f"@{big}")
    assert status == 413 and "1 MiB" in body["error"]["message"]

    head = b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\n{"
    slow = [socket.create_connection(("127.0.0.1", server.port)) for _ in range(20)]
    for each in slow:
        each.sendall(head)
    assert server.draw("a red circle", 1)
    for each in slow[:10]:
        each.close()  # dropped
    for each in slow[10:]:
        each.settimeout(HANG_S)
        assert each.recv(4096).startswith(b"HTTP/1.1 408 ")
        each.close()

    # Clients that hang up while their pictures are drawn.
    text = json.dumps({"model": "base", "prompt": "a red circle", "n": 4}).encode()
    head = (
        b"POST /v1/images/generations HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n%s"
    )
    for _ in range(20):
        with socket.create_connection(("127.0.0.1", server.port)) as each:
            each.sendall(head % (len(text), text))
            time.sleep(0.02)
    assert server.draw("a red circle", 1)


def test_a_replica_that_is_killed_costs_no_request_its_answer(server: Running) -> None:
    texts = prompts(120)
    before = server.replicas()
    assert len(before) == 2
    with ThreadPoolExecutor(12) as clients:
        streamed = [
            clients.submit(lambda text: [*server.say(text, stream=True, seed=4)], text)
            for text in texts[:12]
        ]
        found = asyncio.run(server.crowd(texts, 3, before[0].kill))
        assert all(each.result(HANG_S)[-1].choices[0].finish_reason for each in streamed)
    assert len(found) == 120 and not before[0].is_running()
    assert found[:3] == [server.draw(text, 3) for text in texts[:3]]
    end = time.monotonic() + HANG_S
    while len(server.replicas()) < 2 and time.monotonic() < end:
        time.sleep(0.5)
    assert len(server.replicas()) == 2
