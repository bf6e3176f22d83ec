"""A tool in a process of its own: `python -m policies.tools.child` does one call after the other.

Invariant: requests come and replies go as a length and JSON, a reply's bytes after it. Whatever the tool
raises becomes one sentence of a reply; what it prints goes nowhere near the replies. The process ends when
nobody is there any more to ask it.
"""

from __future__ import annotations

import importlib
import inspect
import json
import os
import queue
import signal
import struct
import threading
from collections.abc import Callable
from typing import IO, Any, BinaryIO

import numpy as np

from policies.errors import UserError, one_line
from policies.tools.endpoint import Refused, endpoint

Made = np.ndarray | bytes
"""Pixels uint8 [height, width, 3], or a file of a picture."""
Drawer = Callable[..., Made]
MOST_SIDE = 8192
LENGTH = struct.Struct(">I")


class Lacking(UserError):
    """A tool that is not there as it was named; the message says how to mend it."""


def drawer(kind: str, where: str, options: dict[str, Any]) -> Drawer:
    """A function of prompt, seed, size (height and width, or None) and the seconds that it has."""
    if kind == "endpoint":
        return endpoint(where, options)
    return _pipeline(where, options) if kind == "diffusers" else _callable(where, options)


def _callable(where: str, options: dict[str, Any]) -> Drawer:
    module, name = where.split(":")
    found = getattr(importlib.import_module(module), name)
    _require_takes(found, "prompt", "seed", "size", *options)

    def draw(prompt: str, seed: int, size: tuple[int, int] | None, seconds: float) -> Made:
        return pixels_of(found(prompt=prompt, seed=seed, size=size, **options))

    return draw


def _pipeline(where: str, options: dict[str, Any]) -> Drawer:
    import torch

    try:
        from diffusers import DiffusionPipeline
    except ImportError:
        raise Lacking("it needs diffusers: pip install diffusers") from None
    place = "cuda" if torch.cuda.is_available() else "cpu"
    kind = torch.bfloat16 if place == "cuda" else torch.float32
    pipeline = DiffusionPipeline.from_pretrained(where, torch_dtype=kind, local_files_only=True)
    pipeline.to(place)
    pipeline.set_progress_bar_config(disable=True)
    _require_takes(pipeline.__call__, "prompt", "generator", "output_type", *options)

    def draw(prompt: str, seed: int, size: tuple[int, int] | None, seconds: float) -> Made:
        how = {"height": size[0], "width": size[1]} if size else {}
        chance = torch.Generator("cpu").manual_seed(seed)
        drawn = pipeline(prompt=prompt, generator=chance, output_type="np", **how, **options).images
        return pixels_of(np.rint(np.asarray(drawn[0]) * 255).clip(0, 255).astype(np.uint8))

    return draw


def _require_takes(called: Callable[..., object], *names: str) -> None:
    """Raises TypeError where no call by these names can come to anything; what does not say what it takes
    is believed."""
    try:
        taken = inspect.signature(called)
    except ValueError:
        return
    taken.bind(**dict.fromkeys(names))


def pixels_of(drawn: object) -> np.ndarray:
    """The pixels that a tool gave. Raises ValueError for what is no picture."""
    if type(drawn).__module__.startswith("PIL."):
        drawn = np.asarray(drawn.convert("RGB"))  # type: ignore[attr-defined]
    if drawn is None:
        raise ValueError("it gave no picture")
    if not isinstance(drawn, np.ndarray):
        raise ValueError(f"it gave a {type(drawn).__name__}, no array uint8 [height, width, 3]")
    if max(drawn.shape[:2], default=0) > MOST_SIDE:
        raise ValueError(f"it gave {drawn.shape}, and a side has at most {MOST_SIDE} pixels")
    if drawn.dtype != np.uint8 or drawn.ndim != 3 or drawn.shape[2] != 3 or 0 in drawn.shape:
        raise ValueError(f"it gave {drawn.dtype} {drawn.shape}, not uint8 [height, width, 3]")
    return drawn


def send(stream: IO[bytes], said: dict[str, Any], data: bytes = b"") -> None:
    head = json.dumps(said).encode()
    stream.write(LENGTH.pack(len(head)) + head + data)
    stream.flush()


def receive(stream: BinaryIO) -> dict[str, Any] | None:
    """The next request; None where there will be none."""
    head = stream.read(LENGTH.size)
    if len(head) < LENGTH.size:
        return None
    said: dict[str, Any] = json.loads(stream.read(LENGTH.unpack(head)[0]))
    return said


def _why(error: BaseException) -> str:
    said = one_line(error)
    return said if isinstance(error, UserError) else f"{type(error).__name__}: {said}".rstrip(": ")


def _reply(stream: BinaryIO, draw: Drawer, asked: dict[str, Any]) -> None:
    try:
        size = asked["size"] and (int(asked["size"][0]), int(asked["size"][1]))
        made = draw(asked["prompt"], asked["seed"], size, asked["seconds"])
    except Refused as error:
        send(stream, {"unusable": _why(error)})
    except BaseException as error:  # a tool is the code of others: what it raises is its answer
        send(stream, {"failed": _why(error)})
    else:
        if isinstance(made, bytes):
            send(stream, {"file": len(made)}, made)
        else:
            send(stream, {"shape": list(made.shape)}, np.ascontiguousarray(made).tobytes())


def _listen(stream: BinaryIO, requests: queue.SimpleQueue[dict[str, Any]]) -> None:
    while (asked := receive(stream)) is not None:
        requests.put(asked)
    # Whatever the tool is doing, or what it started, nobody waits for it.
    if os.getpgrp() == os.getpid():
        os.killpg(0, signal.SIGKILL)
    os._exit(0)


def main() -> None:
    asked, replies = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.dup2(2, 1)
    requests: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
    threading.Thread(target=_listen, args=(asked, requests), daemon=True).start()
    spec = requests.get()
    try:
        draw = drawer(spec["kind"], spec["where"], spec["options"])
    except BaseException as error:  # as above
        send(replies, {"unusable": _why(error)})
        os._exit(0)
    send(replies, {"ready": True})
    while True:
        _reply(replies, draw, requests.get())


if __name__ == "__main__":
    main()
