"""A file in a bucket as Python's libraries want files: read by parts, written as it comes."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

BUFFER_BYTES = 2**20


def opened(fetch: Callable[[int, int], Any], size: int) -> io.BufferedReader:
    """Returns a file of `size` bytes of which `fetch` gives those from a start to an end."""
    return io.BufferedReader(_Remote(fetch, size), BUFFER_BYTES)


class _Remote(io.RawIOBase):
    def __init__(self, fetch: Callable[[int, int], Any], size: int) -> None:
        self._fetch, self._size, self._at = fetch, size, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._at = offset + (0, self._at, self._size)[whence]
        return self._at

    def tell(self) -> int:
        return self._at

    def readinto(self, buffer: Any) -> int:
        end = min(self._at + len(buffer), self._size)
        if end <= self._at:
            return 0
        data = memoryview(self._fetch(self._at, end))
        buffer[: len(data)] = data
        self._at += len(data)
        return len(data)


class Sink:
    """What a writer of torch's checkpoints asks of a file: it says where it is."""

    def __init__(self, stream: Any) -> None:
        self._stream, self._at = stream, 0

    def write(self, data: Any) -> int:
        copy = bytes(data)  # obstore keeps what it is given, and torch uses that memory again
        self._stream.write(copy)
        self._at += len(copy)
        return len(copy)

    def tell(self) -> int:
        return self._at

    def flush(self) -> None:
        """Does nothing: parts are sent when they are full."""

    def close(self) -> None:
        """Does nothing: who opened it closes it, if all went well."""
