"""The process that a tool runs in, as the policy sees it: started when it is needed, and killed when it
hangs.

Invariant: a call gives pixels or raises within its deadline, whatever the tool does; the next call finds a
process that works. What comes from the process is looked at before it is believed.
"""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from typing import Any

import numpy as np

from policies.errors import UserError, one_line
from policies.pictures import PictureError, decode
from policies.tools.child import LENGTH, MOST_SIDE, send
from policies.tools.specs import Spec

START_S = 900.0
"""Within which a tool must be loaded: a pipeline has gigabytes."""
MOST_HEAD = 1 << 16
MOST_PIXELS = MOST_BYTES = 1 << 26


class ToolFailed(UserError, RuntimeError):
    """A call that came to no picture; the message says why, in one sentence."""


class ToolUnusable(UserError, RuntimeError):
    """A tool that no call can come to anything with; the message names it and the fix."""


class Silent(Exception):
    """What did not come in time."""


class ToolProcess:
    """One tool. Its process has the environment, the devices and the memory of this one's actor."""

    def __init__(self, spec: Spec, seconds: float, start_s: float = START_S) -> None:
        self.spec, self.seconds, self.start_s = spec, seconds, start_s
        self.starts = 0
        self._process: subprocess.Popen[bytes] | None = None
        self._kill: Callable[[], str | None] = lambda: None
        self._one_at_a_time = threading.Lock()

    def draw(self, prompt: str, seed: int, size: tuple[int, int] | None) -> np.ndarray:
        """Pixels uint8 [height, width, 3], of `size` where one is given. Raises ToolFailed, and
        ToolUnusable."""
        with self._one_at_a_time:
            pixels = self._drawn(prompt, seed, size)
        if size and pixels.shape[:2] != tuple(size):
            raise self._failed(
                f"gave {pixels.shape[0]} x {pixels.shape[1]} pixels where {size[0]} x {size[1]} "
                "were asked for"
            )
        return pixels

    def close(self) -> str:
        """Kills the process, with all that it started, and says how it ended."""
        self._process = None
        return self._kill() or "not started"

    def _drawn(self, prompt: str, seed: int, size: tuple[int, int] | None) -> np.ndarray:
        process = self._started()
        asked = {"prompt": prompt, "seed": seed, "size": size, "seconds": 0.9 * self.seconds}
        try:
            return self._asked(process, asked)
        except Silent:
            self.close()
            raise self._failed(
                f"did not answer within {self.seconds:g} s (policy.tool_deadline)"
            ) from None
        except (OSError, EOFError):
            raise self._failed(f"ended ({self.close()})") from None

    def _failed(self, why: str) -> ToolFailed:
        return ToolFailed(f"The tool {self.spec.name} {why}.")

    def _unusable(self, why: object) -> ToolUnusable:
        spec = self.spec
        return ToolUnusable(
            f"policy.tools names {spec.name} as {spec.kind}:{spec.where}, which cannot be used: "
            f"{one_line(why)}"
        )

    def _started(self) -> subprocess.Popen[bytes]:
        if self._process and _runs(self._process):
            return self._process
        self.close()
        self.starts += 1
        # What can be imported here can be imported there; a shell's own path would not do.
        path = os.pathsep.join(dict.fromkeys(os.path.abspath(each) for each in sys.path))  # noqa: PTH100
        self._process = process = subprocess.Popen(
            [sys.executable, "-m", "policies.tools.child"], stdin=subprocess.PIPE,
            stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, start_new_session=True,
            env={**os.environ, "PYTHONPATH": path},
        )  # fmt: skip
        self._kill = weakref.finalize(self, _kill, process)  # at the latest when this program ends
        spec = {"kind": self.spec.kind, "where": self.spec.where, "options": self.spec.options}
        try:
            said, _ = self._exchange(process, spec, self.start_s)
        except Silent:
            self.close()
            raise self._unusable(f"it did not start within {self.start_s:g} s") from None
        except (OSError, EOFError):
            raise self._unusable(
                f"its process ended ({self.close()}) before it had started"
            ) from None
        if said.get("ready") is not True:
            self.close()
            raise self._unusable(said.get("unusable", "it did not say that it was ready"))
        return process

    def _asked(self, process: subprocess.Popen[bytes], asked: dict[str, Any]) -> np.ndarray:
        said, until = self._exchange(process, asked, self.seconds)
        if "unusable" in said:
            self.close()
            raise self._unusable(said["unusable"])
        if "failed" in said:
            raise self._failed(f"failed: {one_line(said['failed'])}")
        if type(size := said.get("file")) is int and 0 <= size <= MOST_BYTES:
            data = _read(process, size, until)
            try:
                pixels = decode(data, f"The picture of the tool {self.spec.name}").pixels
            except PictureError as error:
                raise ToolFailed(f"{error}.") from None
            if _sides([*pixels.shape]) is None:
                raise self._failed(
                    f"gave a picture of {pixels.shape[0]} x {pixels.shape[1]} pixels"
                )
            return pixels
        if (sides := _sides(said.get("shape"))) is None:
            self.close()
            raise self._failed("answered with something else than a picture")
        height, width = sides
        data = _read(process, height * width * 3, until)
        return np.frombuffer(data, np.uint8).reshape(height, width, 3)

    def _exchange(
        self, process: subprocess.Popen[bytes], said: dict[str, Any], seconds: float
    ) -> tuple[dict[str, Any], float]:
        """The head of the reply, and until when the rest of it may come. Raises Silent, OSError,
        EOFError."""
        assert process.stdin is not None
        until = time.monotonic() + seconds
        send(process.stdin, said)  # never waits: a request is smaller than a pipe
        (length,) = LENGTH.unpack(_read(process, LENGTH.size, until))
        if length > MOST_HEAD:
            raise EOFError
        try:
            head = json.loads(_read(process, length, until))
        except (ValueError, RecursionError):
            raise EOFError from None
        return (head if isinstance(head, dict) else {}), until


@cache
def _shared(name: str, kind: str, where: str, options: str, seconds: float) -> ToolProcess:
    return ToolProcess(Spec(name, kind, where, json.loads(options)), seconds)


def tool_process(spec: Spec, seconds: float) -> ToolProcess:
    """The process of this tool, one for all policies of this process: it keeps nothing between calls."""
    return _shared(spec.name, spec.kind, spec.where, json.dumps(spec.options), seconds)


def _runs(process: subprocess.Popen[bytes]) -> bool:
    """Without taking note of its end: until then nobody else gets its number."""
    return os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None


def _kill(process: subprocess.Popen[bytes]) -> str:
    """Ends it with all that it started. For once, for later its number may be another's."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    code = process.wait()
    for stream in (process.stdin, process.stdout):
        with suppress(OSError):  # what was not written yet
            stream.close()  # type: ignore[union-attr]
    return "killed" if code == -signal.SIGKILL else f"exit code {code}"


def _read(process: subprocess.Popen[bytes], size: int, until: float) -> bytes:
    """So many bytes. Raises Silent when time is up, EOFError when there are no more."""
    assert process.stdout is not None
    descriptor, data = process.stdout.fileno(), bytearray()
    ready = select.poll()  # which knows descriptors of any number
    ready.register(descriptor, select.POLLIN)
    while len(data) < size:
        left = until - time.monotonic()
        if left <= 0 or not ready.poll(1000 * left):
            raise Silent
        piece = os.read(descriptor, min(size - len(data), 1 << 20))
        if not piece:
            raise EOFError
        data += piece
    return bytes(data)


def _sides(shape: object) -> tuple[int, int] | None:
    """Height and width of a picture's shape; None of what is none, or too large."""
    if not isinstance(shape, list) or len(shape) != 3 or any(type(n) is not int for n in shape):
        return None
    height, width, channels = shape
    small = 0 < height <= MOST_SIDE and 0 < width <= MOST_SIDE and height * width <= MOST_PIXELS
    return (height, width) if channels == 3 and small else None
