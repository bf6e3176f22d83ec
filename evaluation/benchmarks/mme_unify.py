"""MME-Unify: questions of a choice about pictures, and tasks that are answered with a text and a drawing.

Xie et al., arXiv 2504.03641. The data are a folder that has the repository's Unify_Dataset and, beside it,
the hub's folders of pictures. Drawings are DRAWN/TASK/N.png of the task's N-th row, from 0. Scored by
evaluate/Evaluate_{Understanding,Math_Geo,CS,SpotDiff,IEE}.py: a text is right by its letter, a drawing if of
the four pictures that the task offers the right one is nearest to it in the space of CLIP ViT-B/32, and both
together make "combined". CLIP is read from clip-vit-base-patch32 in the data folder, as transformers saves
it; without it drawings are not compared, and of Image_Editing_and_Explaning (whose explanation CLIP
compares with the options) nothing is scored. The authors' prompts are not repeated; ours ask for the same.

Left out, since this program shows no videos and needs no further networks: the 364 questions about videos and
the 1,594 tasks of generation (PSNR, LPIPS, FVD). Visual_CoT is left out too: its script wants the drawing of
the last step, Finish, to be nearest to a picture that the data do not have, so no answer is ever right.

Invariant: a text or a drawing that is missing is wrong, and counted; ids are by row, for those of the files
repeat.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from actors.hygiene.clip import Clip
from evaluation.benchmarks.benchmark import Question, Scores
from evaluation.benchmarks.marks import MISSING, UNREADABLE, Marks
from evaluation.benchmarks.rows import Row, json_list
from policies.interface import Picture
from policies.pictures import read

CLIP = "clip-vit-base-patch32"
SETS = Path("Unify_Dataset")
UNDERSTANDING = SETS / "Understanding" / "Understanding_Unified.json"
VIDEO = "Video_Perception_and_Understanding"
FAKES = ("fake_image1", "fake_image2", "fake_image3")
EXPLAINED = "Image_Editing_and_Explaning"
MAX_TOKENS, EXPLAIN_TOKENS = 16, 256
"""The authors name none."""
ENDING = "Answer with the letter of the right option only."
PLACE = "<img>"
"""Where a picture stands in a question."""


@dataclass(frozen=True)
class _Task:
    """`shown` name the pictures of a row that the question is about, `offered` those that its drawing is
    compared with, the right one first."""

    file: str
    shown: tuple[str, ...]
    offered: tuple[str, ...]


TASKS = {
    "Auxiliary_Lines": _Task(
        "Auxiliary_Lines/Auxiliary_Lines..json",
        ("image",),
        ("image_Auxiliary_lines", *(f"image_Auxiliary_lines_negative{n}" for n in (1, 2, 3))),
    ),
    "Common_Sense_Question": _Task(
        "Common_Sense_Question/Common_Sense_Question.json", (), ("image", *FAKES)
    ),
    EXPLAINED: _Task(f"{EXPLAINED}/Unified_Explanation.json", ("image",), ("edited_image", *FAKES)),
    "SpotDiff": _Task(
        "SpotDiff/Spot_Diff.json",
        ("img_a", "img_b"),
        ("img_diff_a", *(f"img_diff_a_negative{n}" for n in (1, 2, 3))),
    ),
}


@dataclass(frozen=True)
class _Asked:
    """A row of `group`, which is a task or a kind of understanding."""

    id: str
    group: str
    row: Row

    @property
    def truth(self) -> str:
        return self.row.one_of("answer", tuple(self.options))

    @property
    def options(self) -> dict[str, str]:
        """By the letter that each begins with: they stand in any order."""
        found = {}
        for each in self.row.of("choice", list):
            lettered = re.match(
                r"\s*[(\uff08]?([A-E])[)\uff09:\uff1a.]\s*(.*)", str(each), re.DOTALL
            )
            if not lettered:
                self.row.refuse("an option of choice", each, "begin with its letter")
            found[lettered[1]] = lettered[2]
        return found

    @property
    def pictures(self) -> list[str]:
        if self.group not in TASKS:
            return [str(each) for each in self.row.of("image", list)]
        return [self.named(name) for name in TASKS[self.group].shown]

    def named(self, name: str) -> str:
        return self.row.nested("data").text(name)


class MmeUnify:
    name = "mme_unify"
    answered_by = "model"

    def questions(self, data: Path, drawn: Path | None) -> Sequence[Question]:
        found = []
        for each in _asked(data):
            files = [each.row.file(data / name) for name in each.pictures]
            tokens = EXPLAIN_TOKENS if each.group == EXPLAINED else MAX_TOKENS
            found.append(Question(each.id, _interleaved(_text(each), files), tokens))
        return found

    def doubts(self, data: Path, answers: Mapping[str, str]) -> Sequence[Question]:
        return ()

    def score(self, data: Path, drawn: Path | None, answers: Mapping[str, str]) -> Scores:
        clip = Clip(str(data / CLIP), "", "cpu") if (data / CLIP).is_dir() else None
        marks = Marks()
        for each in _asked(data):
            said = answers.get(each.id)
            marks.counted[MISSING] += said is None
            text = _text_right(each, said, clip, marks)
            if each.group not in TASKS:
                marks.add(bool(text), [each.group])
                continue
            picture = _drawing_right(each, data, drawn, clip, marks)
            known = {"text": text, "image": picture}
            if text is not None and picture is not None:
                known["combined"] = text and picture
            marks.counted["questions"] += 1
            for name, right in known.items():
                if right is not None:
                    marks.asked[f"{each.group}/{name}"] += 1
                    marks.right[f"{each.group}/{name}"] += right
        return Scores(_overall(marks.groups()), marks.groups(), marks.counted)


def read_letter(answer: str, options: Mapping[str, str]) -> str:
    """Returns the letter that is the answer, or that stands in it after "answer", or first of all that
    stand alone; nothing where there is none."""
    letters = "".join(options)
    named = re.search(rf"(?i:answer)\W*(?:is\W*)?([{letters}])\b", answer)
    found = named or re.search(rf"(?<![\w'])([{letters}])(?![\w'])", answer)
    return found[1] if found else ""


def _asked(data: Path) -> list[_Asked]:
    found = []
    for number, row in enumerate(json_list(data / UNDERSTANDING)):
        if (kind := row.text("category")) != VIDEO:
            found.append(_Asked(f"{UNDERSTANDING.stem}/{number}", kind, row))
    for name, task in TASKS.items():
        # Spelt so by the authors.
        file = data / SETS / "Uinfy_capability" / task.file
        for number, row in enumerate(json_list(file)):
            found.append(_Asked(f"{name}/{number}", name, row))
    return found


def _text(each: _Asked) -> str:
    if each.group == EXPLAINED:
        return (
            f"{each.row.text('question')}\nDescribe the picture, and what this edit changes in it."
        )
    asked = "How many differences are there between the two pictures?"  # SpotDiff has no question
    question = str(each.row.get("question") or asked)
    return "\n".join([question, *(f"{k}. {v}" for k, v in each.options.items()), ENDING])


def _interleaved(text: str, files: Sequence[Path]) -> tuple[str | Path, ...]:
    """Pictures at their places in the text, or before it where it has other places than there are."""
    texts = text.split(PLACE)
    if len(texts) != len(files) + 1:
        return (*files, text)
    parts: list[str | Path] = [texts[0]]
    for file, following in zip(files, texts[1:], strict=True):
        parts += [file, following]
    return tuple(part for part in parts if part)


def _text_right(each: _Asked, said: str | None, clip: Clip | None, marks: Marks) -> bool | None:
    """None where it is not scored."""
    if each.group != EXPLAINED:
        letter = read_letter(said or "", each.options)
        marks.counted[UNREADABLE] += said is not None and not letter
        return letter == each.truth
    if clip is None:
        return None
    if not (said or "").strip():
        return False
    letters, texts = zip(*each.options.items(), strict=True)
    read_ = clip.embedded([str(said), *texts], [_blank()])[1]
    return bool(letters[int((read_[1:] @ read_[0]).argmax())] == each.truth)


def _drawing_right(
    each: _Asked, data: Path, drawn: Path | None, clip: Clip | None, marks: Marks
) -> bool | None:
    """None where drawings are not compared."""
    if clip is None or drawn is None:
        return None
    name, number = each.id.split("/")
    file = drawn / name / f"{number}.png"
    if not file.is_file():
        marks.counted["not drawn"] += 1
        return False
    offered = [each.row.file(data / each.named(one)) for one in TASKS[name].offered]
    seen = clip.embedded([""], [read(one) for one in (file, *offered)])[0]
    return int((seen[1:] @ seen[0]).argmax()) == 0


def _blank() -> Picture:
    import numpy as np

    return Picture(np.zeros((1, 1, 3), np.uint8))


def _overall(groups: Mapping[str, float]) -> dict[str, float]:
    """The kinds of understanding, and of the tasks the mean of each score."""
    found = {name: value for name, value in groups.items() if "/" not in name}
    for score in ("text", "image", "combined"):
        values = [value for name, value in groups.items() if name.endswith(f"/{score}")]
        if len(values) == len(TASKS):
            found[score] = sum(values) / len(values)
    return found


BENCHMARK = MmeUnify()
