"""A tool that is an OpenAI-compatible endpoint of images, POST /images/generations.

Invariant: address and key come from the environment alone, and the key is in no message. A server that is
busy is asked again while there is time; what it refuses for good is told so.
"""

from __future__ import annotations

import base64
import binascii
import json
import os
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from http.client import HTTPException
from typing import Any

from policies.errors import UserError, describe, one_line

ADDRESS, KEY = "OPENAI_BASE_URL", "OPENAI_API_KEY"
"""The environment's names for where the endpoint is and for the key, if it wants one."""
BUSY = (408, 425, 429, 500, 502, 503, 504)
"""Answers of a server that may have another one soon."""
CLOSED = (301, 302, 303, 307, 308, 401, 403, 404, 405)
"""Answers of one that will have no other until a person mends something."""
PAUSE_S = 1.0
MOST_BYTES = 64 * 2**20
"""Of an answer."""


class _Stays(urllib.request.HTTPRedirectHandler):
    """Goes nowhere else: whom an answer names would get the key."""

    def redirect_request(self, *_: Any) -> None:
        return None


class Refused(UserError):
    """An endpoint that cannot be used as it was named; the message says what to mend."""


class NoPicture(UserError):
    """An answer without a picture."""


def endpoint(model: str, options: dict[str, Any]) -> Callable[..., bytes]:
    """What asks for a picture of `model`; `options` go into each request, but for `seeded`, which says
    that the server takes a "seed". Raises Refused."""
    address = os.environ.get(ADDRESS, "").rstrip("/")
    if not address.startswith(("http://", "https://")):
        raise Refused(
            f"the environment's {ADDRESS} is {describe(address)}: it must be the endpoint's address, such "
            "as http://host:8000/v1"
        )
    fields = {"response_format": "b64_json"} | {k: v for k, v in options.items() if k != "seeded"}

    def draw(prompt: str, seed: int, size: tuple[int, int] | None, seconds: float) -> bytes:
        body = {"model": model, "prompt": prompt, "n": 1, **fields}
        if size:
            body["size"] = f"{size[1]}x{size[0]}"
        if options.get("seeded"):
            body["seed"] = seed
        sent = {name: value for name, value in body.items() if value not in (None, "")}
        return _picture(_asked(f"{address}/images/generations", sent, time.monotonic() + seconds))

    return draw


def _asked(address: str, body: dict[str, Any], until: float) -> bytes:
    headers = {"Content-Type": "application/json"}
    if key := os.environ.get(KEY):
        headers["Authorization"] = f"Bearer {key}"
    opener = urllib.request.build_opener(_Stays)
    while True:
        request = urllib.request.Request(address, json.dumps(body).encode(), headers)
        left = until - time.monotonic()
        try:
            with opener.open(request, timeout=max(0.1, left)) as answer:
                data: bytes = answer.read(MOST_BYTES + 1)
            if len(data) > MOST_BYTES:
                raise NoPicture(f"{address} answered with more than {MOST_BYTES >> 20} MiB")
            return data
        except urllib.error.HTTPError as error:
            said = _without_key(one_line(error.read(2000).decode(errors="replace")))
            if error.code in CLOSED:
                raise Refused(
                    f"{address} refuses ({error.code}: {said}): see to its address and the key in {KEY}"
                ) from None
            why = NoPicture(f"{address} answered {error.code} ({said})")
            again = error.code in BUSY
        except (OSError, HTTPException) as error:
            why, again = (
                NoPicture(f"{address} does not answer ({_without_key(one_line(error))})"),
                True,
            )
        # Not up to the deadline itself: at that the process is killed, and nothing is told.
        if not again or time.monotonic() + 2 * PAUSE_S > until:
            raise why
        time.sleep(PAUSE_S)


def _picture(data: bytes) -> bytes:
    """The file in an answer. Raises NoPicture."""
    try:
        said = json.loads(data)
        first = said["data"][0]
        given = first.get("b64_json")
    except (ValueError, RecursionError, KeyError, IndexError, TypeError, AttributeError):
        shown = _without_key(one_line(data[:100].decode(errors="replace")))
        raise NoPicture(f"the endpoint answered with no picture: {shown!r}") from None
    if not isinstance(given, str):
        raise NoPicture(
            "the endpoint answered with no b64_json: ask for it by response_format, if it has it"
        )
    try:
        return base64.b64decode(given, validate=True)
    except (binascii.Error, ValueError):
        raise NoPicture("the endpoint's b64_json is no base64") from None


def _without_key(text: str) -> str:
    """What a server said without the key, which some repeat when they refuse it."""
    key = os.environ.get(KEY)
    return text.replace(key, "...") if key else text
