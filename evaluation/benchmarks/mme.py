"""MME: two yes-or-no questions about each of 1,187 pictures, in ten tasks of perception and four of cognition.

Fu et al., arXiv 2306.13394. The data are the unpacked MME_Benchmark_release_version: a folder a task,
with a text file for each picture that has two lines of question, tab, Yes or No. Asked as BAGEL's
evaluator asks (eval/vlm/eval/mme/eval.py, as InternVL's): the picture, the question, "Answer the question
using a single word or phrase.", 20 tokens. Read and scored by its calculation.py, as MME's own: yes or no
in the first four characters; a task's score is 100 times the accuracy of its questions and 100 times that
of its pictures, where both questions must be right.

Invariant: what is no yes and no no is wrong, and counted.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from evaluation.benchmarks.benchmark import BenchmarkError, Question, Scores
from evaluation.benchmarks.marks import MISSING, UNREADABLE, Marks
from evaluation.benchmarks.rows import read_text
from policies.errors import describe

PARTS = {
    "perception": (
        "existence", "count", "position", "color", "posters", "celebrity", "scene", "landmark",
        "artwork", "OCR",
    ),
    "cognition": (
        "commonsense_reasoning", "numerical_calculation", "text_translation", "code_reasoning",
    ),
}  # fmt: skip
ENDING = "Answer the question using a single word or phrase."
MAX_TOKENS = 20
PICTURES = (".jpg", ".png", ".jpeg")
CHINESE = {"不是": "No", "是": "Yes", "否": "No"}
LOOKED_AT = 4
"""Characters in which yes or no must stand."""


@dataclass(frozen=True)
class _Asked:
    """A line of a picture's text file."""

    id: str
    task: str
    picture: str
    """Without its ending."""
    folders: tuple[Path, ...]
    """Where the picture may lie."""
    text: str
    truth: str


class Mme:
    name = "mme"
    answered_by = "model"

    def questions(self, data: Path, drawn: Path | None) -> Sequence[Question]:
        return [
            Question(each.id, (_picture(each), f"{each.text} {ENDING}"), MAX_TOKENS)
            for each in _asked(data)
        ]

    def doubts(self, data: Path, answers: Mapping[str, str]) -> Sequence[Question]:
        return ()

    def score(self, data: Path, drawn: Path | None, answers: Mapping[str, str]) -> Scores:
        marks, right = Marks(), dict[tuple[str, str], list[bool]]()
        for each in _asked(data):
            said = answers.get(each.id)
            label = "" if said is None else read_label(said)
            marks.counted[MISSING] += said is None
            marks.counted[UNREADABLE] += said is not None and not label
            marks.add(label == each.truth, [each.task])
            right.setdefault((each.task, each.picture), []).append(label == each.truth)
        both = Marks()
        for (task, _), pair in right.items():
            both.add(all(pair), [task])
        tasks = {
            task: marks.percent(task) + both.percent(task)
            for part in PARTS.values()
            for task in part
        }
        overall = {part: sum(tasks[task] for task in of) for part, of in PARTS.items()}
        return Scores({**overall, "total": sum(overall.values())}, tasks, marks.counted)


def read_label(answer: str) -> str:
    """Returns "yes", "no", or nothing where the answer's beginning says neither."""
    text = answer.replace("\n", "")
    for word, meaning in CHINESE.items():
        text = text.replace(word, meaning)
    text = re.sub("[\u4e00-\u9fa5]", "", text.lower().replace("true", "yes").replace("false", "no"))
    beginning = text[:LOOKED_AT]
    return "yes" if "yes" in beginning else "no" if "no" in beginning else ""


def _asked(data: Path) -> Iterator[_Asked]:
    for task in (task for part in PARTS.values() for task in part):
        folder = data / task
        inner = folder / "questions_answers_YN"
        files = sorted((inner if inner.is_dir() else folder).glob("*.txt"))
        if not files:
            raise BenchmarkError(
                f"{folder} has no questions: name the unpacked MME_Benchmark_release_version, which has "
                f"a folder for each of the {sum(map(len, PARTS.values()))} tasks"
            )
        for file in files:
            lines = [line for line in read_text(file).splitlines() if line.strip()]
            if len(lines) != 2:
                raise BenchmarkError(f"{file} has {len(lines)} lines: a picture has two questions")
            for number, line in enumerate(lines):
                text, truth = _split(line, f"{file}, line {number + 1}")
                yield _Asked(
                    f"{task}/{file.stem}/{number}", task, file.stem,
                    (folder / "images", folder), text, truth,
                )  # fmt: skip


def _split(line: str, where: str) -> tuple[str, str]:
    text, tab, truth = line.strip().partition("\t")
    label = truth.strip().lower()
    if not tab or label not in ("yes", "no"):
        raise BenchmarkError(
            f"{where}: it is {describe(line)}: it must be a question, a tab, and Yes or No"
        )
    return text.strip(), label


def _picture(each: _Asked) -> Path:
    for folder in each.folders:
        for ending in PICTURES:
            if (file := folder / f"{each.picture}{ending}").is_file():
                return file
    raise BenchmarkError(
        f"{each.folders[-1]} has no picture {each.picture} ({', '.join(PICTURES)}): unpack the "
        "benchmark's pictures there"
    )


BENCHMARK = Mme()
