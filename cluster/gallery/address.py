"""Decides where a gallery listens and who may look at it.

Invariant: that of `cluster.access`; and a link for one run alone never leads to another.
"""

from __future__ import annotations

import socket
from dataclasses import dataclass
from urllib.parse import quote

from aiohttp import web

from cluster.access import bearer, digest_of, fits, is_known, is_loopback, origin
from policies.errors import UserError, printable

TOKEN = "UNICORN_GALLERY_TOKEN"
RUN = "run"
"""The query of a link that is for one run alone."""
LOCAL = "127.0.0.1"


class GalleryError(UserError):
    """The gallery cannot be served; the message says where, and what to do."""


@dataclass(frozen=True)
class GalleryAddress:
    """Where a gallery listens, and the SHA-256 of the token that it asks for ("" for no token)."""

    host: str = LOCAL
    port: int = 0
    digest: str = ""

    @classmethod
    def of(cls, host: str, port: int, token: str) -> GalleryAddress:
        """Returns the address and the token's hash. Raises GalleryError for a wrong port."""
        if not 0 <= port <= 65535:
            raise GalleryError(
                f"the gallery's port is {port}: it must be from 0, which is any free one, to 65535"
            )
        return cls(host, port, digest_of(token))

    @property
    def link(self) -> str:
        return self.link_at(socket.gethostname())

    def link_at(self, machine: str, folder: str = "") -> str:
        """Returns the link; `machine` is its host if the gallery listens on every address. With the
        `folder` of a run, the link never leads to another run's gallery on the same port."""
        host = machine if self.host in ("0.0.0.0", "::", "") else self.host
        link = f"{origin(host, self.port)}/"
        return f"{link}?{_asking(folder)}" if folder else link

    @property
    def announcement(self) -> str:
        """The link, how to give the token, and a warning if others can open the gallery."""
        if self.digest:
            return (
                f"gallery {self.link} | open it once as {self.link}?token=..., the value of {TOKEN}"
            )
        if is_loopback(self.host):
            return f"gallery {self.link}"
        return f"gallery {self.link} | open to whoever reaches this machine; {TOKEN} would close it"

    def answer(self, request: web.Request) -> web.StreamResponse | None:
        """Returns a refusal, or the redirect that stores a valid token; None to let it pass."""
        if not self.digest:
            if is_known(request.host, self.host):
                return None
            return _refusal(403, f"this gallery is not known as {request.host!r}: open {self.link}")
        run = _asking(request.query[RUN]) if RUN in request.query else ""
        offered = request.query.get("token", "")
        if offered and fits(offered, self.digest):
            welcome = web.Response(status=303, headers={"Location": f"/?{run}" if run else "/"})
            welcome.set_cookie(self._cookie, offered, httponly=True, samesite="Lax")
            return welcome
        tokens = (
            bearer(request.headers.get("Authorization", "")),
            request.cookies.get(self._cookie, ""),
        )
        if any(fits(each, self.digest) for each in tokens):
            return None
        query = f"{run}&token=..." if run else "token=..."
        return _refusal(
            401, f"this gallery asks for a token: open /?{query}, with the value of {TOKEN}"
        )

    @property
    def _cookie(self) -> str:
        """The name has the port, as browsers send a cookie to every port of a machine."""
        return f"unicorn_gallery_{self.port}"


def refuse_another(request: web.Request, folder: str) -> web.StreamResponse | None:
    """What a request gets that asks for another run than the one in `folder`; else None."""
    asked = request.query.get(RUN, folder)
    if asked == folder:
        return None
    return _refusal(
        404,
        f"this is the gallery of the run {folder}, not of {printable(asked)}: the log of that run "
        "says where its gallery is, or why it has none",
    )


def _asking(folder: str) -> str:
    return f"{RUN}={quote(folder, safe='/:')}"


def _refusal(status: int, sentence: str) -> web.Response:
    headers = {"WWW-Authenticate": "Bearer"} if status == 401 else {}
    return web.Response(status=status, text=f"{sentence}\n", headers=headers)
