"""Bodies of requests: what they ask of the model, and what is refused by name."""

from __future__ import annotations

import base64
import io
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from actors.roles.templates import load_templates
from cluster.serving import asks
from cluster.serving.asks import ChatBody, ImagesBody
from cluster.serving.config import ServeConfig
from cluster.serving.refusals import Refusal
from policies.interface import Picture, PictureSampling, TextSampling

CONFIG = ServeConfig(name="tiny", pictures=4, megapixels=0.01)
TEMPLATES = load_templates("tiny")
USUAL = PictureSampling(0.3, 1.25)


def url(width: int = 8, height: int = 6, kind: str = "PNG") -> str:
    file = io.BytesIO()
    Image.fromarray(np.full((height, width, 3), 200, np.uint8)).save(file, kind)
    return f"data:image/{kind.lower()};base64,{base64.b64encode(file.getvalue()).decode()}"


def chat(**body: Any) -> Any:
    return asks.chat(asks.parsed(ChatBody, {"model": "tiny", **body}), CONFIG)


def images(shown: Picture | None = None, **body: Any) -> Any:
    parsed = asks.parsed(ImagesBody, {"model": "tiny", "prompt": "a red circle", **body})
    return asks.images(parsed, shown, TEMPLATES, USUAL, CONFIG)


def refusal(ask: Any, **body: Any) -> Refusal:
    with pytest.raises(Refusal) as found:
        ask(**body)
    assert found.value.status == 400
    return found.value


def test_texts_and_pictures_keep_their_order() -> None:
    parts = [
        {"type": "text", "text": "answer"},
        {"type": "image_url", "image_url": {"url": url()}},
        {"type": "text", "text": "what is it?"},
    ]
    (ask,) = chat(
        messages=[{"role": "system", "content": "look"}, {"role": "user", "content": parts}]
    )
    first, second, shown, last = ask.context
    assert (first, second, last) == ("look", "answer", "what is it?")
    assert shown.pixels.shape == (6, 8, 3) and (shown.pixels == 200).all()
    assert ask.sampling == TextSampling(1.0, CONFIG.max_tokens)


def test_a_seed_gives_the_same_asks_and_each_answer_another_one() -> None:
    said = {"messages": [{"role": "user", "content": "describe"}], "n": 3}
    first, again, other = chat(**said, seed=7), chat(**said, seed=7), chat(**said)
    assert first == again and len({ask.seed for ask in first}) == 3
    assert {ask.seed for ask in first}.isdisjoint(ask.seed for ask in other)


def test_what_a_request_says_of_sampling_is_followed() -> None:
    said = {"messages": [{"role": "user", "content": "describe"}], "temperature": 0}
    assert chat(**said, max_tokens=5)[0].sampling == TextSampling(0.0, 5)
    assert chat(**said, max_completion_tokens=9)[0].sampling == TextSampling(0.0, 9)
    drawn = images(temperature=0.5, guidance=2, steps=9, size="640x512", n=2)
    how = PictureSampling(0.5, 2.0, steps=9, size=(512, 640))
    assert [ask.sampling for ask in drawn] == [how, how]
    assert images()[0].sampling == USUAL == images(size="auto")[0].sampling


def test_a_picture_to_be_drawn_anew_is_read_as_the_solver_reads_it() -> None:
    shown = Picture(np.zeros((4, 4, 3), np.uint8))
    assert images()[0].context == TEMPLATES.draw("a red circle")
    assert images(shown)[0].context == TEMPLATES.repair("a red circle", shown)
    found = images(shown, judgement="2 of 10")[0].context
    assert found == TEMPLATES.reflection("a red circle", shown, "2 of 10")


@pytest.mark.parametrize(
    ("field", "value", "says"),
    [
        ("stop", ["."], "does not know it at"),
        ("top_p", 0.9, "does not know it at"),
        ("tools", [{"type": "function"}], "does not know it at"),
        ("logprobs", True, "does not know it at"),
        ("response_format", {"type": "json_object"}, "does not know it at"),
        ("beam_search", True, "leave it out"),
        ("n", 0, "greater than or equal to 1"),
        ("n", 5, "at most 4"),
        ("n", "two", "valid integer"),
        ("temperature", -1, "greater than or equal to 0"),
        ("temperature", "hot", "valid number"),
        ("seed", 2**64, "less than"),
        ("max_tokens", 0, "greater than or equal to 1"),
        ("messages", [], "at least 1"),
        ("messages", "hello", "valid list"),
        ("messages", [{"role": "user"}], "nothing in them"),
        ("messages", [{"role": "user", "content": 3}], "a text or a list"),
        ("messages", [{"role": "user", "content": [{"type": "audio"}]}], "text or image_url"),
        ("messages", [{"role": "user", "content": ["text"]}], "text or image_url"),
    ],
)  # fmt: skip
def test_what_a_model_would_not_follow_is_refused_by_name(
    field: str, value: Any, says: str
) -> None:
    body = {"messages": [{"role": "user", "content": "describe"}], field: value}
    found = refusal(chat, **body)
    assert says in str(found)
    assert found.param.startswith(field)
    assert found.body()["error"]["type"] == "invalid_request_error"


def test_settings_at_the_values_that_change_nothing_are_taken() -> None:
    said = {"top_p": 1, "stop": None, "tools": [], "frequency_penalty": 0.0, "logprobs": False,
            "metadata": {"a": "b"}, "user": "someone", "response_format": {"type": "text"}}  # fmt: skip
    assert chat(messages=[{"role": "user", "content": "describe"}], **said)
    assert images(quality="hd", style="vivid", response_format="b64_json", background="auto")


@pytest.mark.parametrize(
    ("field", "value", "says"),
    [
        ("response_format", "url", "b64_json"),
        ("output_format", "jpeg", "png"),
        ("size", "large", "WIDTHxHEIGHT"),
        ("size", "0x512", "WIDTHxHEIGHT"),
        ("size", "99999x512", "WIDTHxHEIGHT"),
        ("size", "٣x٣", "WIDTHxHEIGHT"),
        ("prompt", "", "at least 1"),
        ("guidance", -1, "greater than or equal to 0"),
        ("mask", "x", "leave it out"),
        ("background", "transparent", "does not know it at"),
    ],
)
def test_what_cannot_be_drawn_is_refused_by_name(field: str, value: Any, says: str) -> None:
    found = refusal(images, **{field: value})
    assert says in str(found) and found.param == field


def shown(address: str) -> Refusal:
    part = {"type": "image_url", "image_url": {"url": address}}
    return refusal(chat, messages=[{"role": "user", "content": [part]}])


def test_pictures_that_cannot_be_read_are_named() -> None:
    assert "fetches nothing" in str(shown("https://example.org/a.png"))
    assert "fetches nothing" in str(shown("file:///etc/passwd"))
    assert "base64 is broken" in str(shown("data:image/png;base64,a"))
    assert "cannot be read" in str(shown("data:image/png;base64,aGVsbG8="))
    assert "120 x 90 pixels: at most 0.01 million" in str(shown(url(120, 90)))
    cut = url()
    assert "cannot be read" in str(shown(cut[: len(cut) - 40]))
    many = [{"type": "image_url", "image_url": {"url": url()}}] * 5
    assert "at most 4" in str(refusal(chat, messages=[{"role": "user", "content": many}]))
    assert shown("data:image/png;base64,aGVsbG8=").param == "messages.0.content.0"


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3)
    ),
    max_leaves=8,
)
FIELDS = ("model", "messages", "n", "seed", "temperature", "max_tokens", "stream", "prompt", "size",
          "guidance", "steps", "content", "role", "type", "image_url", "url", "text")  # fmt: skip


@given(st.dictionaries(st.sampled_from(FIELDS), JSON, max_size=6) | JSON)
def test_any_body_is_understood_or_refused(body: Any) -> None:
    for kind, ask in (
        (ChatBody, lambda parsed: asks.chat(parsed, CONFIG)),
        (ImagesBody, lambda parsed: asks.images(parsed, None, TEMPLATES, USUAL, CONFIG)),
    ):
        try:
            found = ask(asks.parsed(kind, body))
        except Refusal as refused:
            assert refused.status == 400 and str(refused)
        else:
            assert all(each.context for each in found)


@given(
    st.binary(max_size=200),
    st.sampled_from(["PNG", "JPEG", "GIF", "BMP", "WEBP"]),
    st.integers(0, 150),
)
def test_any_bytes_are_a_picture_or_refused(noise: bytes, kind: str, at: int) -> None:
    file = bytearray(base64.b64decode(url(kind=kind).partition(",")[2]))
    file[at : at + len(noise)] = noise
    try:
        found = asks.pictures.decoded(bytes(file), 0.01, "image")
    except Refusal:
        return
    assert found.pixels.dtype == np.uint8 and found.pixels.ndim == 3
