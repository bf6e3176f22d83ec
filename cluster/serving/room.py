"""How much memory requests may hold together.

Invariant: what bodies and pictures of all open requests take is at most `most` bytes; a request gives back
what it took when it ends, however it ends.
"""

from __future__ import annotations

from aiohttp import web
from aiohttp.typedefs import Handler

from cluster.serving.refusals import Refusal

TAKEN = "taken"


class Room:
    def __init__(self, most: float) -> None:
        self._left = most

    def take(self, request: web.BaseRequest, size: int) -> None:
        """So many bytes, until the request ends. Raises Refusal."""
        if size > self._left:
            raise Refusal(503, "the requests that wait take all memory that they may: ask again soon",
                          code="overloaded")  # fmt: skip
        self._left -= size
        request[TAKEN] = request.get(TAKEN, 0) + size

    @web.middleware
    async def give_back(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        try:
            return await handler(request)
        finally:
            self._left += request.get(TAKEN, 0)
