"""Tools that tests call: they paint by rule, and fail in every way that a tool can."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from policies.seeds import generator

SIDE = 16


def paint(prompt: str, seed: int, size: tuple[int, int] | None = None, **_: Any) -> np.ndarray:
    """Four squares whose colours follow from the prompt and the seed."""
    height, width = size or (SIDE, SIDE)
    colours = generator("paint", prompt, seed).integers(0, 256, (2, 2, 3), dtype=np.uint8)
    rows, columns = np.arange(height) * 2 // height, np.arange(width) * 2 // width
    return colours[rows][:, columns]


def misbehave(prompt: str, seed: int, size: tuple[int, int] | None = None, mark: str = "") -> Any:
    """As the first word of the prompt says."""
    what = prompt.split()[0]
    if mark:
        with Path(mark).open("a") as file:
            file.write(what + "\n")
    if what == "hang":
        time.sleep(3600)
    if what == "spin":
        while True:
            pass
    if what == "leave":  # a child that goes on when its parent was killed
        subprocess.Popen([sys.executable, "-c", "import time; time.sleep(3600)"])
        time.sleep(3600)
    if what == "raise":
        raise RuntimeError(f"no {prompt}\nand a second line")
    if what == "exit":
        sys.exit(3)
    if what == "die":
        os._exit(7)
    if what == "print":
        print("{" * 100_000, flush=True)
        os.write(1, b"\x00\x00\x00\x02{}")
    if what == "input":
        input()
    odd = {
        "nothing": None, "text": "a picture", "number": 7, "float": np.zeros((8, 8, 3)),
        "grey": np.zeros((8, 8), np.uint8), "alpha": np.zeros((8, 8, 4), np.uint8),
        "empty": np.zeros((0, 8, 3), np.uint8), "list": [[0] * 8] * 8, "object": np.array([object()]),
        "huge": np.broadcast_to(np.zeros((1, 1, 3), np.uint8), (9000, 9000, 3)),
        "nan": np.full((8, 8, 3), np.nan),
    }  # fmt: skip
    if what in odd:
        return odd[what]
    if what == "larger":
        return paint(prompt, seed, (SIDE * 2, SIDE * 2))
    return paint(prompt, seed, size)


def fickle(
    prompt: str, seed: int, size: tuple[int, int] | None = None, mark: str = "", fails: str = "some"
) -> Any:
    """Notes each call in the file `mark`; fails at some prompts, or at all."""
    with Path(mark).open("a") as file:
        file.write(json.dumps([prompt, seed, size]) + "\n")
    if fails == "all" or unlucky(prompt):
        raise RuntimeError("no luck")
    return paint(prompt, seed, size)


def stuck(
    prompt: str, seed: int, size: tuple[int, int] | None = None, once: str = ""
) -> np.ndarray:
    """Hangs at its first call."""
    if not Path(once).exists():
        Path(once).touch()
        time.sleep(3600)
    return paint(prompt, seed, size)


def unlucky(prompt: str) -> bool:
    return sum(prompt.encode()) % 2 == 1


def thin(prompt: str, seed: int, size: tuple[int, int] | None = None) -> np.ndarray:
    """What no eye takes: of such a strip one side would have no patch."""
    return np.zeros((4, 4000, 3), np.uint8)


def unloadable() -> None:
    raise AssertionError
