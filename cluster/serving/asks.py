"""Turns the bodies of requests into what a model is asked, and has names for what it answers.

Invariant: a request is understood whole or refused: a setting that the model would not follow is
refused by its name and never dropped in silence, unless it stands at the value that changes nothing.
Pure functions; nothing here waits.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Generic, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from actors.roles.templates import Templates
from cluster.serving import pictures
from cluster.serving.config import ServeConfig
from cluster.serving.refusals import bad
from policies.interface import Context, Picture, PictureSampling, Segment, TextSampling
from policies.seeds import derive

S = TypeVar("S", TextSampling, PictureSampling)


@dataclass(frozen=True)
class Ask(Generic[S]):
    """One text to write or one picture to draw."""

    context: Context
    sampling: S
    seed: int


@dataclass(frozen=True)
class Refused:
    """Why the model does not do what it is asked."""

    why: str


@dataclass(frozen=True)
class Written:
    text: str
    tokens: int
    """So many were sampled, the one that ends it left out."""


class Body(BaseModel):
    """What every request may have. Fields that are not named here are in `model_extra`; one that is null is
    as one that is not there."""

    model_config = ConfigDict(extra="allow")
    model: str
    n: int = Field(default=1, ge=1)
    seed: int | None = Field(default=None, ge=-(2**63), lt=2**64)
    user: str | None = None
    temperature: float | None = Field(default=None, ge=0, le=10)


class ChatBody(Body):
    messages: list[dict[str, Any]] = Field(min_length=1)
    max_tokens: int | None = Field(default=None, ge=1, le=10**6)
    max_completion_tokens: int | None = Field(default=None, ge=1, le=10**6)
    stream: bool = False
    stream_options: dict[str, Any] | None = None


class ImagesBody(Body):
    model: str = ""  # may be left out, unlike that of a chat
    prompt: str = Field(min_length=1)
    size: str | None = None
    response_format: str | None = None
    output_format: str | None = None
    guidance: float | None = Field(default=None, ge=0, le=1000)
    steps: int | None = Field(default=None, ge=1, le=10**4)
    judgement: str = ""


NEUTRAL: Mapping[str, tuple[Any, ...]] = {
    "top_p": (1,), "frequency_penalty": (0,), "presence_penalty": (0,), "logprobs": (False,),
    "top_logprobs": (0,), "logit_bias": ({},), "stop": ([], ""), "tools": ([],), "functions": ([],),
    "tool_choice": ("none", "auto"), "function_call": ("none", "auto"), "modalities": (["text"],),
    "response_format": ({"type": "text"},), "num_beams": (1,), "top_k": (-1,),
    "do_sample": (True, False), "background": ("auto", "opaque"), "moderation": ("auto", "low"),
    "partial_images": (0,), "stream": (False,),
}  # fmt: skip
"""Settings of the API that no family here has, with the values at which they change nothing."""
SAID = frozenset({"role", "name", "content"})
"""The fields of a message."""
IGNORED = frozenset(
    {"metadata", "store", "service_tier", "parallel_tool_calls", "quality", "style", "safety_identifier",
     "prompt_cache_key", "prompt_cache_options", "prompt_cache_retention", "output_compression",
     "input_fidelity", "verbosity", "reasoning_effort"}
)  # fmt: skip
"""What asks for nothing that could be seen in the answer, or is a hint."""


def parsed(kind: type[Any], body: Any) -> Any:
    """The body as `kind`. Raises Refusal."""
    if not isinstance(body, dict):
        raise bad("the request's body must be a JSON object")
    try:
        found = kind.model_validate({name: v for name, v in body.items() if v is not None})
    except ValidationError as error:
        first = error.errors()[0]
        param = ".".join(map(str, first["loc"]))
        raise bad(f"{param}: {first['msg']}", param) from None
    for name, value in (found.model_extra or {}).items():
        if name in IGNORED or value in NEUTRAL.get(name, ()):
            continue
        known = name in NEUTRAL
        raise bad(
            f"{name}: this server does not know it at {value!r:.80}" if known
            else f"{name}: this server does not know it; leave it out", name,
        )  # fmt: skip
    return found


def chat(body: ChatBody, config: ServeConfig) -> list[Ask[TextSampling]]:
    """One ask for each of the `n` answers. Raises Refusal."""
    _few(body.n, config)
    said = body.max_completion_tokens or body.max_tokens or config.max_tokens
    temperature = 1.0 if body.temperature is None else body.temperature
    context, shown, pixels = list[Segment](), 0, 0
    for i, each in enumerate(body.messages):
        for part in _parts(i, each, config):
            context.append(part)
            if isinstance(part, Picture):
                shown, pixels = shown + 1, pixels + part.pixels[..., 0].size
            if shown > config.pictures or pixels > config.megapixels * 1e6:
                raise bad(f"messages show too much: at most {config.pictures} pictures, of "
                          f"{config.megapixels:g} million pixels together, are taken", "messages")  # fmt: skip
    if not context:
        raise bad("messages: there is nothing in them", "messages")
    return _asks(tuple(context), TextSampling(temperature, said), body)


def images(
    body: ImagesBody, shown: Picture | None, templates: Templates, usual: PictureSampling,
    config: ServeConfig,
) -> list[Ask[PictureSampling]]:  # fmt: skip
    """One ask for each of the `n` pictures; with a picture that is `shown`, to draw it anew. Raises
    Refusal."""
    _few(body.n, config)
    if body.response_format not in (None, "b64_json"):
        raise bad("response_format: this server answers in b64_json alone", "response_format")
    if body.output_format not in (None, "png"):
        raise bad("output_format: this server answers in png alone", "output_format")
    if shown is None:
        context = templates.draw(body.prompt)
    elif body.judgement:
        context = templates.reflection(body.prompt, shown, body.judgement)
    else:
        context = templates.repair(body.prompt, shown)
    fields: dict[str, Any] = {name: value for name in ("temperature", "guidance", "steps")
              if (value := getattr(body, name)) is not None}  # fmt: skip
    return _asks(context, replace(usual, **fields, **_size(body.size)), body)


def _few(n: int, config: ServeConfig) -> None:
    if n > config.pictures:
        raise bad(f"n is {n}: at most {config.pictures} are made for one request", "n")


def _asks(context: Context, sampling: S, body: Body) -> list[Ask[S]]:
    seed = secrets.randbits(63) if body.seed is None else body.seed % 2**64
    return [Ask(context, sampling, derive(seed, "served", i)) for i in range(body.n)]


def _size(size: str | None) -> dict[str, Any]:
    """OpenAI says width x height, a sampling height and width."""
    if size in (None, "auto"):
        return {}
    width, x, height = str(size).partition("x")
    if not (x and all(side.isascii() and side.isdigit() and 0 < int(side[:6]) <= 8192
                      for side in (width, height))):  # fmt: skip
        raise bad(
            f"size is {size!r:.40}: it must be WIDTHxHEIGHT, such as 512x512, or auto", "size"
        )
    return {"size": (int(height), int(width))}


def _parts(at: int, message: Mapping[str, Any], config: ServeConfig) -> Iterator[Segment]:
    """What one message says and shows, in its order; a picture is decoded when it is its turn. Who says it
    is not told: these families read one turn."""
    content, where = message.get("content"), f"messages.{at}.content"
    for name in message.keys() - SAID:
        if message[name]:
            param = f"messages.{at}.{name}"
            raise bad(f"{param}: this server does not know it; leave it out", param)
    if isinstance(content, str):
        content = [{"type": "text", "text": content}]
    if not isinstance(content, list | None):
        raise bad(f"{where} must be a text or a list of parts", where)
    for i, part in enumerate(content or ()):
        param = f"{where}.{i}"
        kind = part.get("type") if isinstance(part, dict) else None
        if kind == "text" and isinstance(part.get("text"), str):
            if part["text"]:
                yield part["text"]
        elif kind == "image_url":
            url = part.get("image_url")
            url = url.get("url") if isinstance(url, dict) else url
            if not isinstance(url, str):
                raise bad(f"{param}.image_url.url must be a data URL", param)
            yield pictures.from_url(url, config.megapixels, param)
        else:
            raise bad(f"{param}: a part must be of type text or image_url", param)
