"""A stand-in for a language model behind a server: it judges by comparing texts, with a rule of its own."""

from __future__ import annotations

import json
import re
from collections import Counter
from typing import Any


def says(text: object, model: str = "judge-1") -> tuple[int, Any]:
    usage = {"prompt_tokens": 100, "completion_tokens": 7, "total_tokens": 107}
    message = {"role": "assistant", "content": text}
    return 200, {"choices": [{"message": message}], "model": model, "usage": usage}


def fields(body: Any) -> dict[str, str]:
    text = body["messages"][0]["content"]
    names = {"Question": "question", "Answer": "answer", "Reference answer": "reference"}
    return {
        own: re.search(rf"^{name}: (.*)$", text, re.MULTILINE)[1]  # type: ignore[index]
        for name, own in names.items()
    }


def honest(path: str, body: Any) -> tuple[int, Any]:
    """A judge that compares texts, in the form that it is asked for; it has no list of its models."""
    if body is None:
        return 404, {}
    said, text = fields(body), body["messages"][0]["content"]
    right = said["answer"].lower() == said["reference"].split(". ")[-1].lower()
    evaluation: Any = "yes" if right else "no"
    if "The words of the reference" in text:
        common = Counter(said["answer"].lower().split()) & Counter(
            said["reference"].lower().split()
        )
        evaluation = common.total()
    reply = {"question": said["question"], "answer": said["answer"], "evaluation": evaluation}
    return says(json.dumps(reply))
