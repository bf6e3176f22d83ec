"""Mutants of inputs, and what must become of each of them.

Invariant: a mutant follows from its seed and number alone. It is read as it stands or refused with
one sentence that names its file; all else (an error of another class, ten seconds of work, four
gigabytes) fails the test with the mutant's name.
"""

from __future__ import annotations

import json
import os
import resource
import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from policies.errors import UserError

T = TypeVar("T")
Rng = np.random.Generator
Change = Callable[[Rng, bytes], bytes]


class TooLong(BaseException):
    """No Exception, so that nothing under test takes it for its own."""


SHARE = float(os.environ.get("MUTANTS", "0.3"))
"""Of the mutants that a test names: the first of them. `MUTANTS=1` takes all, after a change of what
reads them."""
SECONDS = 10.0
"""Of work, not of waiting: a busy machine is slow, not wrong. What waits is pytest's to end."""
BYTES = 4 * 2**30

# What parsers stumble over: structure, numbers out of bounds, texts that are none.
TOKENS = (
    b"{", b"}", b"[", b"]", b'"', b"'", b":", b": ", b",", b"\n", b"\n  ", b"\t", b"\\", b"#", b"-",
    b"- ", b"? ", b"&a ", b"*a", b"!!int ", b"!", b"|", b">", b"%", b"@", b"---\n", b"<<: *a", b"~",
    b"0", b"-1", b"1e999", b"-0.0", b"1_0", b"0x1f", b"010", b"1:30", b"NaN", b".nan", b"-.inf",
    b"Infinity", b"true", b"on", b"null", b"18446744073709551616", b"9" * 5000, b"[" * 2000,
    b"{a: " * 500, b"\x00", b"\x1b", b"\x7f", b"\xff", b"\xed\xa0\x80", b"\xef\xbb\xbf",
    b"\xc2\x85", b"\xe2\x80\xa8", b"\xf0\x9f\xa6\x84", b"\\ud800", b"\\u0000", b"\\UFFFFFFFF",
)  # fmt: skip


def mutants(
    seed: int, count: int, good: Sequence[T], changes: Sequence[Callable[[Rng, T], T]]
) -> Iterator[tuple[str, int, T]]:
    """`count` mutants: their name, which of `good` they come from, and what they are. Changes take
    turns; every third mutant has more than one."""
    for number in range(round(count * SHARE)):
        random = np.random.default_rng((seed, number))
        source = int(random.integers(len(good)))
        mutant = changes[number % len(changes)](random, good[source])
        for _ in range(int(random.integers(1, 4)) if number % 3 == 0 else 0):
            mutant = changes[int(random.integers(len(changes)))](random, mutant)
        yield f"mutant {number} of seed {seed}", source, mutant


def tally(what: str, read: int, count: int, least: float, most: float) -> None:
    """Prints how many of the mutants that a test named as `count` were read. Fails unless their share
    is between `least` and `most`: otherwise the mutants prove little."""
    tried = round(count * SHARE)
    print(f"\n{what}: {read} read, {tried - read} refused")
    assert least <= read / tried < most


def verdict(name: str, read: Callable[[], T], file: str | Path) -> T | None:
    """What `read` gives, or None if it refuses in one sentence that names `file`."""
    try:
        with bounded(name):
            return read()
    except UserError as error:
        said = str(error)
        assert said and "\n" not in said and len(said) < 2000, f"{name}: {said[:300]!r}"
        assert str(file) in said, f"{name}: {file} is not in {said[:300]!r}"
        return None
    except Exception as error:
        raise AssertionError(f"{name}: {type(error).__name__}: {error}") from error


def mutate_file(
    load: Callable[[Path], T], folder: Path, file: str, seed: int, count: int,
    changes: Sequence[Change], require: Callable[[T, bytes], object],
) -> None:  # fmt: skip
    """Loads `folder` with each mutant of one of its files; of what is read `require` says whether it
    is what stands there. Fails unless more are refused than read."""
    good, read = (folder / file).read_bytes(), 0
    for name, _, data in mutants(seed, count, (good,), changes):
        (folder / file).write_bytes(data)
        loaded = verdict(name, lambda: load(folder), folder)
        if loaded is not None:
            require(loaded, data)
        read += loaded is not None
    tally(file, read, count, 0.0, 0.5)


@contextmanager
def bounded(name: str) -> Iterator[None]:
    """Ends what works for too long or asks for too much memory."""

    def stop(*_: object) -> None:
        raise TooLong(f"{name} took {SECONDS:g} s of work")

    before, handler = resource.getrlimit(resource.RLIMIT_AS), signal.signal(signal.SIGPROF, stop)
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + BYTES, before[1]))
    signal.setitimer(signal.ITIMER_PROF, SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, handler)
        resource.setrlimit(resource.RLIMIT_AS, before)


# Changes of bytes


def pick(random: Rng, options: Sequence[T]) -> T:
    return options[int(random.integers(len(options)))]


def span(random: Rng, length: int, most: int = 40) -> tuple[int, int]:
    start = int(random.integers(length + 1))
    return start, min(length, start + int(random.integers(1, most)))


def flip(random: Rng, data: bytes) -> bytes:
    if not data:
        return b"\x01"
    at = int(random.integers(len(data)))
    return data[:at] + bytes([data[at] ^ 1 << int(random.integers(8))]) + data[at + 1 :]


def overwrite(random: Rng, data: bytes) -> bytes:
    """Noise, nothing or the largest number: what a length or an offset turns into."""
    start, end = span(random, len(data), 9)
    noise = random.integers(0, 256, end - start, dtype=np.uint8).tobytes()
    new = pick(random, (noise, b"\xff" * 7 + b"\x7f", bytes(8)))[: end - start]
    return data[:start] + new + data[end:]


def delete(random: Rng, data: bytes) -> bytes:
    start, end = span(random, len(data))
    return data[:start] + data[end:]


def duplicate(random: Rng, data: bytes) -> bytes:
    start, end = span(random, len(data))
    return data[:end] + data[start:end] + data[end:]


def exchange(random: Rng, data: bytes) -> bytes:
    """Two spans change places."""
    (a, b), (c, d) = sorted((span(random, len(data)), span(random, len(data))))
    b = min(b, c)
    return data[:a] + data[c:d] + data[b:c] + data[a:b] + data[d:]


def insert(random: Rng, data: bytes) -> bytes:
    at = int(random.integers(len(data) + 1))
    return data[:at] + pick(random, TOKENS) + data[at:]


def replace(random: Rng, data: bytes) -> bytes:
    start, end = span(random, len(data), 9)
    return data[:start] + pick(random, TOKENS) + data[end:]


def truncate(random: Rng, data: bytes) -> bytes:
    return data[: int(random.integers(len(data) + 1))]


def append(random: Rng, data: bytes) -> bytes:
    return data + pick(random, (*TOKENS, data, data[-1:], bytes(1000)))


BYTE_CHANGES = (flip, overwrite, delete, duplicate, exchange, insert, replace, truncate, append)


# Changes of lines


def _lines(change: Callable[[Rng, list[bytes]], object]) -> Change:
    def changed(random: Rng, data: bytes) -> bytes:
        lines = data.split(b"\n")
        change(random, lines)
        return b"\n".join(lines)

    return changed


def _drop(random: Rng, lines: list[bytes]) -> None:
    del lines[int(random.integers(len(lines)))]


def _repeat(random: Rng, lines: list[bytes]) -> None:
    lines.insert(int(random.integers(len(lines) + 1)), pick(random, lines))


def _swap(random: Rng, lines: list[bytes]) -> None:
    a, b = random.integers(len(lines), size=2)
    lines[a], lines[b] = lines[b], lines[a]


def _indent(random: Rng, lines: list[bytes]) -> None:
    at = int(random.integers(len(lines)))
    lines[at] = pick(random, (b" " + lines[at], b"  " + lines[at], lines[at].lstrip()))


LINE_CHANGES = tuple(map(_lines, (_drop, _repeat, _swap, _indent)))


# Changes of JSON

ODD: tuple[Any, ...] = (
    None, True, False, 0, -1, 1, 2**64, 10**400, 0.0, -0.0, 1.5, float("nan"), float("inf"), 1e300,
    "", "0", "a\nb", "\0", "\ud800", "x" * 5000, [], {}, [[]], {"": None}, [0] * 1000,
)  # fmt: skip


def change_json(random: Rng, value: Any) -> Any:
    """Another value, with one place in it changed: its type, its value, its name, or its place."""
    inside = list(value) if isinstance(value, dict) else range(len(value)) if _long(value) else ()
    if not inside or random.random() < 0.1:
        return pick(random, ODD)
    at = pick(random, inside)
    changed = value.copy()
    action = random.integers(10)
    if action < 6:
        changed[at] = change_json(random, value[at])
    elif action == 6:
        del changed[at]
    elif action == 7:
        other = pick(random, inside)
        changed[at], changed[other] = value[other], value[at]
    elif isinstance(value, dict):
        new = pick(random, (f"{at}s", "", "x\n", "\ud800", "../x", at[:-1], at.upper()))
        changed[new] = changed.pop(at) if action == 8 else changed[at]
    else:
        changed.insert(at, pick(random, ODD))
    return changed


def change_json_text(random: Rng, data: bytes) -> bytes:
    """The same of a text; what is no JSON any more gets a flipped bit."""
    try:
        value = json.loads(data)
    except (ValueError, RecursionError):
        return flip(random, data)
    return json.dumps(change_json(random, value)).encode()


def _long(value: Any) -> bool:
    return isinstance(value, list) and len(value) > 0
