"""The page of an evaluation by a task: the scores, what was counted, and every instance with its drawing.

Invariant: it follows from the evaluation's folder alone, stands on its own and can be made again at any
time. Drawings are in it, large ones as thumbnails: a page that is handed on shows them all, and one of
500 instances stays small. Each links to the whole drawing, for whoever has the folder.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from actors.storage import storage
from actors.storage.paths import StoragePath
from cluster.report.template import filled
from evaluation.pictures import data_uri
from evaluation.tasks.folder import SUMMARY, TaskFolder
from evaluation.unicycle.rules import LETTERS

FILE = "report.html"
TEMPLATE = "task.html"
STATUS = {
    "no_drawing": "nothing was drawn: not asked, counts 0",
    "no_answer": "an empty answer: not judged, counts 0",
    "unparsable": "the judge could not be read: counts 0, might be right",
}
COUNTED = {
    "no_drawing": "prompts without a drawing: all their questions count 0",
    "no_answer": "questions with an empty answer: 0, no judge is asked",
    "unparsable": "answers whose judge could not be read: 0, and 1 in “at most”",
    "clamped": "verdicts that counted more words than there are: all words",
}


@dataclass(frozen=True)
class Asked:
    """One question. `way` is "right", "wrong" or "part"."""

    text: str
    options: str
    answer: str | None
    reference: str
    mark: str
    way: str
    status: str


@dataclass(frozen=True)
class InstanceView:
    """One instance. `picture` is empty where nothing was drawn."""

    number: int
    id: str
    kind: str
    prompt: str
    seed: str
    drawing: str
    picture: str
    soft: str
    right: bool
    questions: tuple[Asked, ...]


def write(result: StoragePath) -> StoragePath:
    """Makes the page in the folder of a judge's verdicts, unless the one there is newer than they are.
    Raises EvaluationError."""
    file = result / FILE
    if storage.changed(file) <= storage.changed(result / SUMMARY):
        storage.write(file, render(result).encode())
    return file


def render(result: StoragePath) -> str:
    """`result` has samples.jsonl and summary.json, and lies in the evaluation's folder."""
    folder = TaskFolder(result.parent)
    shown = [_instance(folder, *each) for each in enumerate(folder.samples(result), 1)]
    return filled(TEMPLATE, _page(result, folder, shown))


def _page(result: StoragePath, folder: TaskFolder, shown: list[InstanceView]) -> dict[str, Any]:
    summary, facts = folder.summary(result), folder.manifest()
    judge, sampling = summary["judge"], facts["sampling"]
    kinds: dict[str, list[InstanceView]] = {kind: [] for kind in summary["kinds"]}
    for each in shown:
        kinds[each.kind].append(each)
    right = sum(each.right for each in shown)
    return {
        "title": facts["task"],
        "folder": result.parent.name,
        "lead": f"Of {len(shown)} prompts, {right} were drawn so that the model reads every answer "
        "back from its own drawing.",
        "facts": [
            ("judge", f"{judge['name']} ({judge['version']})"),
            *([("its prompts", judge["prompt_hash"])] if "prompt_hash" in judge else []),
            *([("replied", ", ".join(judge["models"]))] if judge.get("models") else []),
            ("family", facts["family"]),
            ("weights", facts["weights"][:16]),
            ("temperature", f"{sampling['temperature']:g}"),
            ("guidance", f"{sampling['guidance']:g}"),
            ("seed", str(facts["seed"])),
            ("instances", facts["instances"]),
        ],
        "numbers": [
            (name, summary[own], how)
            for name, own, how in (
                ("Soft", "soft", "mean mark of a prompt's questions"),
                ("Hard", "hard", "prompts with every mark 1"),
            )
        ],
        "counts": [("prompts", summary["instances"]), ("questions", summary["questions"])],
        "kinds": summary["kinds"],
        "question_kinds": summary["question_kinds"],
        "counted": [(name, summary["counted"][name], how) for name, how in COUNTED.items()],
        "shown": kinds,
    }


def _instance(folder: TaskFolder, number: int, sample: Mapping[str, Any]) -> InstanceView:
    drawn = any(each["status"] != "no_drawing" for each in sample["questions"])
    return InstanceView(
        number=number,
        id=sample["id"],
        kind=sample["kind"],
        prompt=sample["prompt"],
        seed=str(sample["seed"]),
        drawing=sample["drawing"],
        picture=data_uri(folder.drawing(sample["id"]).pixels) if drawn else "",
        soft=_mark(sample["soft"]),
        right=sample["hard"] == 1,
        questions=tuple(_asked(each) for each in sample["questions"]),
    )


def _asked(question: Mapping[str, Any]) -> Asked:
    mark = question["mark"]
    options = [f"{LETTERS[i].upper()}. {text}" for i, text in enumerate(question["options"])]
    status = STATUS.get(
        question["status"], "more words counted than there are" * question["clamped"]
    )
    return Asked(
        text=question["text"],
        options=", ".join(options),
        answer=question["answer"],
        reference=question["reference"],
        mark=_mark(mark),
        way="right" if mark == 1 else "part" if mark else "wrong",
        status=status,
    )


def _mark(value: float) -> str:
    return f"{value:.2f}".rstrip("0").rstrip(".")
