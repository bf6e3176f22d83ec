"""The folder of one drawing of a benchmark.

Invariant: a picture's file is whole or not there, and `images` never holds anything but what the layout
says: files are written aside, in a folder of their own, and then moved. Pictures in one folder follow from
one manifest; any other is refused.

    manifest.json   what the pictures follow from
    images/...      the layout, for the official scorer
    aside/          what is being written, and what a writer that died left
"""

from __future__ import annotations

import io
import secrets
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from actors.retry import patiently
from actors.storage import storage
from evaluation.tasks.folder import TaskFolder

IMAGES, ASIDE = "images", "aside"
NOTED = ("program",)
"""Facts of the manifest for whoever reads it: a newer program goes on with an older one's folder."""


class PictureFolder:
    """`pause_s` is how long a write waits for a disk that takes none."""

    def __init__(self, path: Path, pause_s: float = 0.0) -> None:
        self.path, self.images, self.pause_s = path, path / IMAGES, pause_s

    def claim(self, facts: Mapping[str, Any]) -> None:
        """Begins what `facts` describe, or goes on with it. Raises EvaluationError where the folder's
        manifest says otherwise, with the field that differs."""
        TaskFolder(self.path, self.pause_s).claim(facts, NOTED)

    def has(self, file: str) -> bool:
        return storage.exists(self.images / file)

    def keep(self, file: str, data: bytes) -> None:
        """Stores it whole."""
        patiently(lambda: self._store(self.images / file, data), file, self.pause_s)

    def keep_record(self, file: str, lines: Sequence[str]) -> None:
        """Stores the lines, unless they are there."""
        data = "".join(f"{line}\n" for line in lines).encode()
        if not self.has(file) or storage.read(self.images / file) != data:
            self.keep(file, data)

    def size(self, file: str) -> tuple[int, int]:
        """Width and height of a picture's file."""
        with Image.open(self.images / file) as image:
            return image.size

    def finish(self) -> None:
        """Removes what was aside."""
        if storage.exists(self.path / ASIDE):
            storage.remove(self.path / ASIDE)

    def _store(self, file: Path, data: bytes) -> None:
        # Its name is short: one that is as long as a disk takes leaves no room for an ending.
        aside = self.path / ASIDE / secrets.token_hex(8)
        storage.write(aside, data)
        storage.make_folder(file.parent)
        storage.move(aside, file)


def encoded(pictures: Sequence[np.ndarray], grid: tuple[int, int], ending: str) -> bytes:
    """Returns a .png or .webp file of `pictures`, uint8 [height, width, 3], in a grid of (columns, rows),
    row by row, without loss. One that failed is black all over, as large as the others are."""
    columns, rows = grid
    shown = [each for each in pictures if each.any()] or pictures
    height, width = (max(each.shape[side] for each in shown) for side in (0, 1))
    made = Image.new("RGB", (columns * width, rows * height))
    for number, each in enumerate(pictures):
        if each.any():
            place = (number % columns * width, number // columns * height)
            made.paste(Image.fromarray(np.ascontiguousarray(each)), place)
    sink = io.BytesIO()
    if ending == ".webp":
        made.save(sink, "WEBP", lossless=True)
    else:
        made.save(sink, "PNG")
    return sink.getvalue()
