"""What the server says when it does not do what it was asked for, in the API's own form.

Invariant: a refusal has a status, one sentence and, where one field is to blame, its name; it disturbs
no other request.
"""

from __future__ import annotations

from typing import Any

KINDS = {401: "authentication_error", 404: "not_found_error", 429: "rate_limit_error"}


class Refusal(Exception):
    """Ends one request. `param` is the field that is to blame, `code` a word for programs."""

    def __init__(self, status: int, message: str, param: str = "", code: str = "") -> None:
        super().__init__(message)
        self.status, self.param, self.code = status, param, code

    def body(self) -> dict[str, Any]:
        of_server = "server_error" if self.status >= 500 else "invalid_request_error"
        return {
            "error": {
                "message": str(self),
                "type": KINDS.get(self.status, of_server),
                "param": self.param or None,
                "code": self.code or None,
            }
        }


def bad(message: str, param: str = "") -> Refusal:
    return Refusal(400, message, param)
