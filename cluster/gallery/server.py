"""Serves the gallery over HTTP: a page, its values as JSON, and drawings.

Invariant: nothing in a request becomes a path: the page's files are a fixed list, and drawings are
found by checksum. An error in one answer affects that answer only. The page can load nothing from
elsewhere, and no request changes anything.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import socket
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from aiohttp import web

from cluster.access import listen as listen_at
from cluster.gallery.address import GalleryAddress, GalleryError, refuse_another
from cluster.gallery.views import Gallery
from policies.errors import UserError

HERE = Path(__file__).parent
PAGE = {
    "/": (HERE / "page.html", "text/html"),
    "/gallery.css": (HERE / "gallery.css", "text/css"),
    "/report.css": (HERE.parent / "report" / "report.css", "text/css"),
    **{f"/{name}.js": (HERE / f"{name}.js", "text/javascript")
       for name in ("gallery", "cards", "lineage")},
}  # fmt: skip
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; "
    "img-src 'self' data:; connect-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
    "Server": "unicorn-ray",
}
FOR_EVER = "private, max-age=31536000, immutable"
MOST = 10**9
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class BadRequest(UserError):
    """The request asks for something that does not exist; the message names it."""


def listen(address: GalleryAddress) -> tuple[socket.socket, GalleryAddress]:
    """Returns a listening socket, and the address with the port it got. Raises GalleryError."""
    try:
        listening = listen_at(address.host, address.port, 128)
    except (OSError, UnicodeError) as error:
        errno = getattr(error, "errno", None) or 0
        why = os.strerror(errno) if errno > 0 else getattr(error, "strerror", None) or error
        raise GalleryError(
            f"the gallery cannot listen at {address.host}:{address.port} ({why}): give another "
            "port, or 0 for any that is free"
        ) from error
    return listening, replace(address, port=listening.getsockname()[1])


async def serve(gallery: Gallery, address: GalleryAddress, listening: socket.socket) -> None:
    """Answers requests until the task is cancelled."""
    runner = web.AppRunner(
        application(gallery, address), access_log=None
    )  # an access log would contain tokens
    await runner.setup()
    try:
        await web.SockSite(runner, listening).start()
        await asyncio.Event().wait()
    finally:
        await runner.cleanup()


def application(gallery: Gallery, address: GalleryAddress) -> web.Application:
    app = web.Application(middlewares=[_guarded(address, str(gallery.folder.absolute()))])
    for path, (file, kind) in PAGE.items():
        app.router.add_get(path, _file(file.read_bytes(), kind))
    answers = Answers(gallery)
    app.router.add_get("/api/run", answers.run)
    app.router.add_get("/api/groups", answers.groups)
    app.router.add_get("/api/groups/{round}/{index}", answers.lineage)
    app.router.add_get("/api/curves", answers.curves)
    app.router.add_get(
        "/{kind:picture|thumbnail}/{checksum:[0-9a-f]{32}}/{row}/{number}.png", answers.picture
    )
    return app


class Answers:
    """Answers as JSON and PNG. Threads read the files, so a slow disk delays one reader only."""

    def __init__(self, gallery: Gallery) -> None:
        self._gallery = gallery

    async def run(self, _request: web.Request) -> web.Response:
        return _json(await asyncio.to_thread(self._gallery.run))

    async def groups(self, request: web.Request) -> web.Response:
        query = request.query
        accepted = _one_of(
            "accepted", query.get("accepted", ""), {"": None, "yes": True, "no": False}
        )
        round_ = _whole("round", query["round"]) if query.get("round") else None
        page = max(1, _whole("page", query.get("page", "1")))
        category = query.get("category") or None
        return _json(
            await asyncio.to_thread(self._gallery.groups, round_, category, accepted, page)
        )

    async def lineage(self, request: web.Request) -> web.Response:
        place = [_whole(name, request.match_info[name]) for name in ("round", "index")]
        found = await asyncio.to_thread(self._gallery.lineage, *place)
        if found is None:
            raise BadRequest(f"there is no group {place[1]} of round {place[0]}")
        return _json(found)

    async def curves(self, _request: web.Request) -> web.Response:
        return _json(await asyncio.to_thread(self._gallery.curves))

    async def picture(self, request: web.Request) -> web.Response:
        asked = request.match_info
        row, number = _whole("row", asked["row"]), _whole("number", asked["number"])
        whole = asked["kind"] == "picture"
        found = await asyncio.to_thread(
            self._gallery.picture, asked["checksum"], row, number, whole
        )
        if found is None:
            raise BadRequest("there is no such drawing")
        return web.Response(
            body=found, content_type="image/png", headers={"Cache-Control": FOR_EVER}
        )


def _guarded(address: GalleryAddress, folder: str) -> Any:
    @web.middleware
    async def guarded(request: web.Request, handler: Handler) -> web.StreamResponse:
        refusal = address.answer(request) or refuse_another(request, folder)
        response = refusal or await _answered(request, handler)
        for name, value in HEADERS.items():
            response.headers.setdefault(name, value)
        return response

    return guarded


async def _answered(request: web.Request, handler: Handler) -> web.StreamResponse:
    try:
        return await handler(request)
    except web.HTTPException as error:
        return web.Response(status=error.status, text=f"{error.status}: {error.reason}\n")
    except BadRequest as error:
        return _json({"error": str(error)}, 404)
    except UserError as error:
        return _json({"error": str(error)}, 500)
    except Exception:
        logging.getLogger(__name__).exception("the gallery cannot answer %s", request.path)
        return _json({"error": "the gallery has a defect: its log says where"}, 500)


def _file(data: bytes, kind: str) -> Handler:
    async def answer(_request: web.Request) -> web.Response:
        return web.Response(body=data, content_type=kind, charset="utf-8")

    return answer


def _json(value: Any, status: int = 200) -> web.Response:
    return web.json_response(value, status=status, dumps=lambda v: json.dumps(v, allow_nan=False))


def _whole(name: str, text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 10):
        raise BadRequest(f"{name} is {text[:50]!r}: it must be a whole number below {MOST}")
    return int(text)


def _one_of(name: str, text: str, values: dict[str, Any]) -> Any:
    if text not in values:
        raise BadRequest(
            f"{name} is {text[:50]!r}: it must be one of {', '.join(filter(None, values))}"
        )
    return values[text]
