"""Replies of judges, kept by content.

Invariant: an entry's name is the sha256 of who was asked, with which version, what and for which time;
an entry is whole or not there. Keys of servers are in none of it.
"""

from __future__ import annotations

import hashlib
import json
from typing import NamedTuple

from actors.retry import patiently
from actors.storage import storage
from actors.storage.paths import StoragePath
from policies.errors import UserError


class CacheError(UserError):
    """An entry that cannot be read; the message names the file and the fix."""


class Reply(NamedTuple):
    """What a judge said, which model said it by its own account, and what it cost in tokens."""

    text: str
    model: str = ""
    prompt_tokens: int = 0
    completion_tokens: int = 0


class Cache:
    """`pause_s` as of a TaskFolder."""

    def __init__(self, folder: StoragePath, pause_s: float = 0.0) -> None:
        self.folder, self.pause_s = folder, pause_s

    def get(self, judge: str, text: str, attempt: int) -> Reply | None:
        """Returns what `judge` replied to `text` when asked for the `attempt`th time (from 0), None if
        it was not asked yet. Raises CacheError."""
        file = self._file(judge, text, attempt)
        if not storage.exists(file):
            return None
        try:
            return Reply(**json.loads(storage.read(file))["reply"])
        except (ValueError, KeyError, TypeError) as error:
            raise CacheError(f"{file} is damaged: delete it, and it is asked again") from error

    def put(self, judge: str, text: str, attempt: int, reply: Reply) -> None:
        asked = {"judge": judge, "attempt": attempt, "text": text, "reply": reply._asdict()}
        data = json.dumps(asked, ensure_ascii=True).encode()
        file = self._file(judge, text, attempt)
        patiently(lambda: storage.write(file, data), str(file), self.pause_s)

    def _file(self, judge: str, text: str, attempt: int) -> StoragePath:
        name = hashlib.sha256(json.dumps([judge, text, attempt]).encode()).hexdigest()
        return self.folder / name[:2] / f"{name}.json"
