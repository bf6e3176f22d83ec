"""A real OCR that reads the words in drawings, beside whoever judges: RapidOCR, whose models come with it.

Invariant: what is read follows from the pixels and the OCR's version alone: on the CPU, in one thread.
It judges nothing: its words are marked by the same rule as the model's.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from typing import Any

import numpy as np
from PIL import Image

from evaluation.judges.cache import Cache, Reply
from evaluation.unicycle import rules
from evaluation.unicycle.instances import Instance, Question
from evaluation.unicycle.scoring import final, interval
from policies.config import ConfigError
from policies.errors import one_line

PACKAGE = "rapidocr-onnxruntime"
SIDE = 1024
"""Smaller drawings are enlarged until their shorter side has so many pixels: of small letters the OCR
finds the letters, and not the spaces between words."""


class Ocr:
    def __init__(self) -> None:
        """Raises ConfigError where the package, or a library that it needs, is not installed."""
        try:
            from rapidocr_onnxruntime import RapidOCR
        except ImportError as error:
            raise ConfigError(
                f"task.ocr is true, which needs {PACKAGE} ({one_line(error)}): pip install "
                "'unicorn-ray[ocr]' (docs/unicycle.md says what it needs of the system), or set it to "
                "false"
            ) from error
        self._engine: Any = RapidOCR(intra_op_num_threads=1, inter_op_num_threads=1)
        self.identity = f"{PACKAGE} {version(PACKAGE)}, shorter side {SIDE}"

    def read(self, pixels: np.ndarray) -> str:
        """Returns the words in `pixels` (uint8 [height, width, 3]), from the top; empty if there are none."""
        image = Image.fromarray(np.ascontiguousarray(pixels))
        if (larger := SIDE / min(image.size)) > 1:
            width, height = (round(larger * side) for side in image.size)
            image = image.resize((width, height), Image.Resampling.BICUBIC)
        # It reads files with OpenCV, whose channels are blue, green, red.
        lines, _ = self._engine(np.ascontiguousarray(np.asarray(image)[..., ::-1]))
        return " ".join(text for _, text, _ in lines or ())


def kept(ocr: Ocr, cache: Cache, pixels: np.ndarray) -> str:
    """Returns what `ocr` reads in `pixels`, which it reads once."""
    seen = hashlib.sha256(repr(pixels.shape).encode() + pixels.tobytes()).hexdigest()
    found = cache.get(ocr.identity, seen, 0)
    if found is None:
        found = Reply(ocr.read(pixels))
        cache.put(ocr.identity, seen, 0, found)
    return found.text


def has_text(instance: Instance) -> bool:
    return any(question.kind == "text" for question in instance.questions)


def reading(question: Question, read: str | None) -> dict[str, Any]:
    """What a sample says of a text question; `read` is None where there was no drawing."""
    return {"read": read, "mark": rules.mark(question, read)}


def ocr_summary(
    identity: str, instances: Sequence[Instance], read: Mapping[str, str | None]
) -> dict[str, Any]:
    """Returns the mean mark of text questions by what the OCR read, times 100, with its 95 % interval
    over instances; `read` is by id. Without text questions there is no score."""
    marks = [
        [rules.mark(q, read[each.id]) for q in each.questions if q.kind == "text"]
        for each in instances
        if has_text(each)
    ]
    found: dict[str, Any] = {"version": identity, "questions": sum(map(len, marks))}
    if not marks:
        return found
    low, high = interval([sum(each) / len(each) for each in marks], [len(each) for each in marks])
    score = final([mark for each in marks for mark in each])
    no_drawing = sum(read[each.id] is None for each in instances if has_text(each))
    return found | {"score": score, "low": low, "high": high, "no_drawing": no_drawing}
