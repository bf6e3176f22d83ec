"""Where this program serves over HTTP, and who may ask.

Invariant: only the hash of a token is kept; the token itself is never stored or written. Without a token,
requests under a foreign host name are refused, so that no page of another site can make a browser read from
a server that listens on this machine alone.
"""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import socket


def digest_of(token: str) -> str:
    """Its SHA-256; "" of no token."""
    return hashlib.sha256(token.encode(errors="surrogateescape")).hexdigest() if token else ""


def fits(token: str, digest: str) -> bool:
    return hmac.compare_digest(digest_of(token), digest)


def bearer(header: str) -> str:
    """The token of an Authorization header."""
    scheme, _, token = header.partition(" ")
    return token.strip() if scheme.lower() == "bearer" else header


def is_known(asked: str, host: str) -> bool:
    """Whether a server that listens at `host` is meant by the Host header `asked`."""
    name = asked.rsplit(":", 1)[0] if not asked.endswith("]") else asked
    name = name.strip("[]").lower()
    return name in ("localhost", host.lower(), socket.gethostname().lower()) or is_ip(name)


def is_own(origin: str, asked: str) -> bool:
    """Whether the Origin header of a request is that of no page, or of one from the server itself, which
    the Host header `asked` names. A browser lets any page send a form or a text, and says whose it is."""
    return not origin or origin.partition("://")[2].lower() == asked.lower()


def is_ip(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def is_loopback(host: str) -> bool:
    return host == "localhost" or (is_ip(host) and ipaddress.ip_address(host).is_loopback)


def listen(host: str, port: int, backlog: int) -> socket.socket:
    """A listening socket; port 0 is any that is free. Raises OSError, UnicodeError, OverflowError."""
    family, *_, address = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)[0]
    # The port is not looked up with the host: 70000 would come back as another one.
    return socket.create_server((address[0], port, *address[2:]), family=family, backlog=backlog)


def origin(host: str, port: int) -> str:
    return f"http://{f'[{host}]' if ':' in host else host}:{port}"
