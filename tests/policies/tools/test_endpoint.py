"""An endpoint that answers pictures, prose, errors or nothing, on this machine."""

from __future__ import annotations

import base64
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import numpy as np
import pytest

from policies.interface import Picture
from policies.pictures import PictureError, decode, png
from policies.tools import endpoint as module
from policies.tools.endpoint import NoPicture, Refused, endpoint
from policies.tools.process import ToolFailed, ToolProcess, ToolUnusable
from policies.tools.specs import Spec
from tests.chat_server import Answer, Server, servers
from tests.mutations import BYTE_CHANGES, bounded, change_json_text, mutants
from tests.policies.tools.painting import paint

KEY = "sk-secret-of-the-test"


@pytest.fixture
def start(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[Answer], Server]]:
    """Starts a server, where the environment then says that the endpoint is."""
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.setattr(module, "PAUSE_S", 0.02)
    with servers() as begin:

        def begun(answer: Answer) -> Server:
            server = begin(answer)
            monkeypatch.setenv("OPENAI_BASE_URL", server.url)
            return server

        yield begun


def pictured(path: str, body: Any) -> tuple[int, Any]:
    width, height = map(int, body.get("size", "16x16").split("x"))
    pixels = paint(body["prompt"], body.get("seed", 0), (height, width))
    return 200, {"data": [{"b64_json": base64.b64encode(png(Picture(pixels))).decode()}]}


def test_it_is_asked_as_the_api_says(start: Callable[[Answer], Server]) -> None:
    server = start(pictured)
    file = endpoint("painter", {"seeded": True, "quality": "hd", "style": ""})(
        "two cats", 7, (16, 24), 5.0
    )
    assert np.array_equal(decode(file, "it").pixels, paint("two cats", 7, (16, 24)))
    ((path, body, key),) = server.asked
    assert path == "/v1/images/generations" and key == f"Bearer {KEY}"
    assert body == {
        "model": "painter", "prompt": "two cats", "n": 1, "response_format": "b64_json",
        "quality": "hd", "size": "24x16", "seed": 7,
    }  # fmt: skip
    endpoint("painter", {"response_format": None})("x", 7, None, 5.0)
    assert server.asked[-1][1] == {"model": "painter", "prompt": "x", "n": 1}


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (b"I am sorry, I cannot draw that.", "answered with no picture: 'I am sorry"),
        (b"", "answered with no picture: ''"), (b"\xff\xd8", "no picture"), ([], "no picture"),
        ({"data": []}, "no picture"), ({"data": [7]}, "no picture"), ({"data": {"0": 1}}, "no picture"),
        ({"error": KEY}, "no picture: '{\"error\": \"...\"}'"), (b"[" * 100_000, "no picture"),
        ({"data": [{"url": "http://elsewhere/x.png"}]}, "no b64_json"),
        ({"data": [{"b64_json": 7}]}, "no b64_json"),
        ({"data": [{"b64_json": "a picture!"}]}, "is no base64"),
    ],
)  # fmt: skip
def test_answers_without_a_picture_are_told(
    start: Callable[[Answer], Server], answer: Any, said: str
) -> None:
    server = start(lambda *_: (200, answer))
    with pytest.raises(NoPicture) as error:
        endpoint("m", {})("x", 0, None, 5.0)
    assert said in str(error.value) and KEY not in str(error.value)
    assert len(server.asked) == 1


def test_who_an_answer_names_gets_no_key(
    monkeypatch: pytest.MonkeyPatch, start: Callable[[Answer], Server]
) -> None:
    elsewhere = start(pictured)

    class Elsewhere(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.send_response(302)
            self.send_header("Location", f"{elsewhere.url}/images/generations")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Elsewhere) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setenv("OPENAI_BASE_URL", f"http://127.0.0.1:{server.server_address[1]}/v1")
        with pytest.raises(Refused, match="refuses \\(302"):
            endpoint("m", {})("x", 0, None, 5.0)
        server.shutdown()
    assert elsewhere.asked == []


def test_a_busy_server_is_asked_again(start: Callable[[Answer], Server]) -> None:
    codes = [429, 500, 503]

    def answer(path: str, body: Any) -> tuple[int, Any]:
        return (codes.pop(0), {"error": "later"}) if codes else pictured(path, body)

    server = start(answer)
    assert endpoint("m", {})("x", 0, None, 5.0) and len(server.asked) == 4


@pytest.mark.parametrize("code", [429, 500, 503])
def test_one_that_stays_busy_is_given_up_in_time(
    start: Callable[[Answer], Server], code: int
) -> None:
    start(lambda *_: (code, {"error": f"busy, {KEY}"}))
    began = time.monotonic()
    with pytest.raises(NoPicture, match=f"answered {code}") as error:
        endpoint("m", {})("x", 0, None, 0.3)
    assert time.monotonic() - began < 3 and KEY not in str(error.value)


def test_a_prompt_that_is_refused_is_not_asked_again(start: Callable[[Answer], Server]) -> None:
    server = start(lambda *_: (400, {"error": "content policy"}))
    with pytest.raises(NoPicture, match="answered 400 .*content policy"):
        endpoint("m", {})("x", 0, None, 5.0)
    assert len(server.asked) == 1


@pytest.mark.parametrize("code", [401, 403, 404])
def test_one_that_is_closed_is_for_a_person_to_mend(
    start: Callable[[Answer], Server], code: int
) -> None:
    start(lambda *_: (code, {"error": f"bad key {KEY}"}))
    with pytest.raises(Refused, match=f"refuses .{code}.*OPENAI_API_KEY") as error:
        endpoint("m", {})("x", 0, None, 5.0)
    assert KEY not in str(error.value)


def test_nobody_there_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PAUSE_S", 0.02)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    monkeypatch.setenv("OPENAI_BASE_URL", f"http://127.0.0.1:{port}/v1")
    with pytest.raises(NoPicture, match="does not answer .*refused"):
        endpoint("m", {})("x", 0, None, 0.3)
    monkeypatch.delenv("OPENAI_BASE_URL")
    with pytest.raises(Refused, match="OPENAI_BASE_URL is '': it must be"):
        endpoint("m", {})


def test_through_the_process_pictures_come_and_errors_are_one_sentence(
    start: Callable[[Answer], Server],
) -> None:
    said = {"bad": (200, {"data": [{"b64_json": base64.b64encode(b"no picture").decode()}]}),
            "prose": (200, b"no"), "closed": (401, {"error": KEY})}  # fmt: skip

    def answer(path: str, body: Any) -> tuple[int, Any]:
        if body["prompt"] == "never":
            time.sleep(2)
        return said.get(body["prompt"]) or pictured(path, body)

    start(answer)
    tool = ToolProcess(Spec("web", "endpoint", "m"), 1.0, 60.0)
    assert np.array_equal(tool.draw("cats", 3, (16, 24)), paint("cats", 0, (16, 24)))
    for prompt, why in (("bad", "not a picture that Pillow reads"), ("prose", "no picture: 'no'"),
                        ("never", "web")):  # fmt: skip
        with pytest.raises(ToolFailed, match=why) as error:
            tool.draw(prompt, 3, None)
        assert "\n" not in str(error.value)
    with pytest.raises(
        ToolUnusable, match="web as endpoint:m, which cannot be used: .*401"
    ) as closed:
        tool.draw("closed", 3, None)
    assert KEY not in str(closed.value) and json.dumps(str(closed.value))
    tool.close()


def test_mutated_answers_are_pictures_or_told() -> None:
    _, whole = pictured("", {"prompt": "two cats"})
    changes = (*BYTE_CHANGES, change_json_text)
    counts = {"drawn": 0, "told": 0, "broken": 0}
    for name, _, mutant in mutants(83, 3000, (json.dumps(whole).encode(),), changes):
        with bounded(name):
            try:
                kind = "drawn"
                assert decode(module._picture(mutant), "it").pixels.dtype == np.uint8
            except NoPicture:
                kind = "told"
            except PictureError:
                kind = "broken"
        counts[kind] += 1
    assert min(counts.values()) > 20, counts
