"""Data of benchmarks in miniature, in the layouts that their authors release."""

from __future__ import annotations

import io
from pathlib import Path

from PIL import Image

from evaluation.benchmarks.mme import PARTS

TASKS = [task for of in PARTS.values() for task in of]


def picture(shade: int, side: int = 8) -> bytes:
    """A PNG of one grey."""
    file = io.BytesIO()
    Image.new("RGB", (side, side), (shade, shade, shade)).save(file, "PNG")
    return file.getvalue()


def put(file: Path, data: bytes | str) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(data.encode() if isinstance(data, str) else data)
    return file


def mme(folder: Path, pictures: int = 1) -> Path:
    """Both layouts that its release has: with the pictures beside the texts, and apart. The first question
    of a picture is right with yes, the second with no."""
    for number, task in enumerate(TASKS):
        texts, shown = (
            (task, task) if number % 2 else (f"{task}/questions_answers_YN", f"{task}/images")
        )
        for each in range(pictures):
            lines = f"Is it {task} {each}? Please answer yes or no.\tYes\nIs it not?\tNo\n"
            put(folder / texts / f"{each}.txt", lines)
            put(folder / shown / f"{each}.{'png' if each % 2 else 'jpg'}", picture(each + number))
    return folder
