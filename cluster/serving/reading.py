"""Reads requests.

Invariant: nobody who is not let in makes the server read a body; no body is longer, slower or larger than
the configuration allows. Everything that is wrong with a request ends in a Refusal.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from aiohttp import BodyPartReader, web
from aiohttp.http import HttpProcessingError

from cluster import access
from cluster.serving import pictures
from cluster.serving.config import ServeConfig
from cluster.serving.refusals import Refusal, bad
from cluster.serving.room import Room
from policies.interface import Picture

NUMBERS: dict[str, Callable[[str], Any]] = {
    "n": int, "seed": int, "steps": int, "temperature": float, "guidance": float,
    "partial_images": int, "stream": {"false": False, "true": True}.__getitem__,
}  # fmt: skip
"""Fields of a form are texts; these are something else in JSON."""
FIELDS = 64
"""The most parts of a form."""
BROKEN = (ValueError, LookupError, AssertionError, HttpProcessingError,
          web.RequestPayloadError)  # fmt: skip
"""What reading raises where the bytes are not what their headers say."""

T = TypeVar("T")


class Reader:
    """`digest` is that of the token which requests must bring, "" for none. The application it reads for
    takes bodies of at most `config.body_mib`."""

    def __init__(self, config: ServeConfig, host: str, digest: str) -> None:
        self._config, self._host, self._digest = config, host, digest
        self.room = Room(config.memory_mib * 2**20)

    def let_in(self, request: web.BaseRequest) -> None:
        header = request.headers.get("Authorization", "")
        if self._digest and not access.fits(access.bearer(header), self._digest):
            raise Refusal(401, "this server asks for its token: Authorization: Bearer TOKEN",
                          code="invalid_api_key")  # fmt: skip
        host, origin = request.headers.get("Host", ""), request.headers.get("Origin", "")
        if not self._digest and not access.is_known(host, self._host):
            raise Refusal(403, f"this server is not known as {host!r:.80}")
        if not self._digest and not access.is_own(origin, host):
            raise Refusal(403, f"a page of {origin!r:.80} may not ask this server: it has no token")

    def _begin(self, request: web.BaseRequest) -> None:
        self.let_in(request)
        most, length = int(self._config.body_mib * 2**20), request.content_length
        if (length or 0) > most:
            raise self._too_long()
        known = length is not None and "Content-Encoding" not in request.headers
        self.room.take(request, length or 0 if known else most)

    async def json(self, request: web.BaseRequest) -> Any:
        self._begin(request)
        body = await self._in_time(request.read(), "JSON")
        try:
            return json.loads(body)
        except (ValueError, RecursionError) as error:
            raise bad(f"the request's body is not JSON ({error})") from None

    async def form(self, request: web.BaseRequest) -> tuple[dict[str, Any], Picture]:
        """The fields of a form, and its picture."""
        self._begin(request)
        fields = await self._in_time(self._parts(request), "a form with a picture")
        file = fields.pop("image", None)
        if file is None:
            raise bad("image: there is no picture", "image")
        limit = self._config.megapixels
        shown = await asyncio.to_thread(pictures.decoded, file, limit, "image")
        self.room.take(request, shown.pixels.nbytes)
        return fields, shown

    async def _parts(self, request: web.BaseRequest) -> dict[str, Any]:
        """Fields by their names; the one file stands as bytes under "image"."""
        # Not `request.post()`: that opens a file of the disk for each part that calls itself one.
        left, found = int(self._config.body_mib * 2**20), dict[str, Any]()
        async for part in await request.multipart():
            if not isinstance(part, BodyPartReader) or not part.name or len(found) >= FIELDS:
                raise bad("the request's body is not a plain form of named fields")
            name = part.name.removesuffix("[]")
            if name in found or (part.filename is not None) != (name == "image"):
                one = (
                    "this server takes one picture, as image, and each other field once, as a text"
                )
                raise bad(f"{name}: {one}", name)
            value = bytearray()
            while chunk := await part.read_chunk(2**16):
                value += chunk
                left -= len(chunk)
                if left < 0:
                    raise self._too_long()
            found[name] = bytes(value) if name == "image" else _of_form(name, value.decode())
        return found

    async def _in_time(self, body: Awaitable[T], what: str) -> T:
        try:
            async with asyncio.timeout(self._config.body_deadline):
                return await body
        except web.HTTPRequestEntityTooLarge:
            raise self._too_long() from None
        except TimeoutError:
            raise Refusal(
                408, f"the request did not arrive within {self._config.body_deadline:g} s"
            ) from None
        except BROKEN as error:
            raise bad(f"the request's body is not {what} ({error})") from None

    def _too_long(self) -> Refusal:
        return Refusal(413, f"the request is longer than {self._config.body_mib:g} MiB")


def _of_form(name: str, value: str) -> Any:
    try:
        return NUMBERS.get(name, str)(value)
    except (ValueError, KeyError):
        kind = "true or false" if name == "stream" else "a number"
        raise bad(f"{name} is {value!r:.40}: it must be {kind}", name) from None
