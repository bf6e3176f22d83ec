"""MMBench: questions of one choice, each asked once for every rotation of its options (CircularEval).

Liu et al., arXiv 2307.06281. The data are one of the TSV files that its authors release with rotations,
such as mmbench_dev_20230712.tsv: rows of index, image (base64, or the index of the row that has it), hint,
question, A to E, answer, category and l2-category; the k-th rotation of a question has its index and k
millions. Asked as BAGEL's evaluator asks (eval/vlm/eval/mmbench/evaluate_mmbench.py, as InternVL's): the
picture, hint, question, options and "Answer with the option's letter from the given choices directly.",
100 tokens. Read by the rules of VLMEvalKit (vlmeval/utils/matching_util.py), MMBench's official scorer: a
letter that stands alone, else the only option whose text is there, else a language model.

Invariant: a question is right only if every rotation of it is. An answer that nobody could read is wrong.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

from evaluation.benchmarks.benchmark import BenchmarkError, Question, Scores
from evaluation.benchmarks.marks import MISSING, UNREADABLE, Marks
from evaluation.benchmarks.rows import Row, require_new, table
from policies.errors import describe

ENDING = "Answer with the option's letter from the given choices directly."
MAX_TOKENS = 100
MATCH_TOKENS = 16
LETTERS = "ABCDE"
TURN = 1_000_000
"""What each rotation adds to an index."""
GROUPS = ("split", "l2-category", "category")
NONE = "Z"
"""A language model's letter for an answer that fits no option."""
SHORTEST = 64
"""Of a picture in base64; what is shorter is the index of a row."""


@dataclass(frozen=True)
class _Asked:
    """A row: one rotation of the question whose index is `base`."""

    id: str
    base: int
    row: Row
    options: Mapping[str, str]

    @property
    def doubt(self) -> str:
        return f"{self.id}/option"

    @property
    def truth(self) -> str:
        """Raises BenchmarkError for a file without answers."""
        truth = self.row.get("answer")
        if truth not in self.options:
            raise BenchmarkError(
                f"{self.row.where}: answer is {describe(truth)}: it must be one of the options' letters; "
                "a test file without answers can only be answered, not scored"
            )
        return str(truth)


class MMBench:
    name = "mmbench"
    answered_by = "model"

    def questions(self, data: Path, drawn: Path | None) -> Sequence[Question]:
        asked = _asked(data)
        images = {each.id: each.row.get("image") for each in asked}
        return [
            Question(each.id, (_picture(each, images), _text(each)), MAX_TOKENS) for each in asked
        ]

    def doubts(self, data: Path, answers: Mapping[str, str]) -> Sequence[Question]:
        """Where a rotation is wrong already, the others are not asked about."""
        found = []
        for turns in _by_question(_asked(data)):
            read = {each.id: read_option(answers.get(each.id, ""), each.options) for each in turns}
            if all(read[each.id] in ("", each.truth) for each in turns):
                found += [
                    Question(each.doubt, (_matching(each, answers[each.id]),), MATCH_TOKENS)
                    for each in turns
                    if not read[each.id] and answers.get(each.id, "").strip()
                ]
        return found

    def score(self, data: Path, drawn: Path | None, answers: Mapping[str, str]) -> Scores:
        marks = Marks()
        for turns in _by_question(_asked(data)):
            right = True
            for each in turns:
                said = answers.get(each.id)
                letter = read_option(said or "", each.options)
                letter = letter or read_option(answers.get(each.doubt, ""), each.options)
                marks.counted[MISSING] += said is None
                marks.counted[UNREADABLE] += said is not None and not letter
                right = right and letter == each.truth
            row = turns[0].row
            own = [f"{group}/{row.get(group)}" for group in GROUPS if row.get(group)]
            marks.add(right, ["accuracy", *own])
            marks.counted["rotations"] += len(turns)
        groups = {name: value for name, value in marks.groups().items() if name != "accuracy"}
        return Scores({"accuracy": marks.percent("accuracy")}, groups, marks.counted)


def read_option(answer: str, options: Mapping[str, str]) -> str:
    """Returns the letter of `options` that an answer chooses, "Z" where it says that none fits, or nothing:
    the letter that alone of them stands by itself among the last four words; "the answer is" with it; the
    only option whose text the answer has, unless that is more than twice as long as all of them."""
    words = re.sub(r"[.()\[\],:;!*#{}]", " ", answer).split()
    there = [letter for letter in options if letter in words]
    if len(there) == 1 and words.index(there[0]) >= len(words) - 4:
        return there[0]
    if not there and NONE in words:
        return NONE
    named = re.search(r"(?i)answer\s+is\s+\**([ABCD])\**", answer)
    if named and named[1].upper() in options:
        return named[1].upper()
    text = answer.lower()
    if len(text) > 2 * sum(map(len, options.values())):
        return ""
    held = [letter for letter, option in options.items() if option.lower() in text]
    return held[0] if len(held) == 1 else ""


def _asked(data: Path) -> list[_Asked]:
    """Sorted by question and rotation."""
    found, seen = list[_Asked](), dict[str, str]()
    for row in table(data):
        index = row.text("index")
        if not index.isdecimal():
            row.refuse("index", index, "be a whole number")
        require_new(seen, index, row, "index")
        row.text("question")
        options = {letter: row.of(letter, str) for letter in LETTERS if row.get(letter)}
        if len(options) < 2 or list(options) != list(LETTERS[: len(options)]):
            raise BenchmarkError(
                f"{row.where}: its options are {', '.join(options) or 'none'}: they must be two or "
                "more, from A on"
            )
        found.append(_Asked(index, int(index) % TURN, row, options))
    asked = sorted(found, key=lambda each: (each.base, int(each.id)))
    for turns in _by_question(asked):
        base = turns[0].base
        # An option such as "none of these" stays the last, so there may be fewer rows than options.
        if len(turns) < 2 or [int(each.id) // TURN for each in turns] != list(range(len(turns))):
            raise BenchmarkError(
                f"{turns[0].row.where}: question {base} has {len(turns)} rows, the first {turns[0].id}: name a "
                "file in which each question has its rotations, numbered by millions"
            )
    return asked


def _by_question(asked: Iterable[_Asked]) -> list[list[_Asked]]:
    return [list(turns) for _, turns in groupby(asked, key=lambda each: each.base)]


def _text(each: _Asked) -> str:
    options = [f"{letter}. {option}" for letter, option in each.options.items()]
    hint = each.row.get("hint")
    return "\n".join([*([hint] if hint else []), each.row.text("question"), *options, ENDING])


def _picture(each: _Asked, images: Mapping[str, object]) -> bytes:
    image, where = images[each.id], f"{each.row.where}: image"
    if isinstance(image, str) and len(image) < SHORTEST and image in images:
        image = images[image]
    if not isinstance(image, str):
        raise BenchmarkError(f"{where} is missing: get the file again")
    try:
        return base64.b64decode(image, validate=True)
    except binascii.Error as error:
        raise BenchmarkError(f"{where} is not base64 ({error}): get the file again") from error


def _matching(each: _Asked, answer: str) -> str:
    """What a language model is asked; its words are our own."""
    options = "\n".join(f"{letter}. {option}" for letter, option in each.options.items())
    return (
        "Somebody answered a question of one choice in words of their own. Say which option they mean.\n"
        f"Reply with one capital letter and nothing else: that of the option, or {NONE} if the answer "
        "fits none of them.\n\n"
        f"Question: {each.row.text('question')}\nOptions:\n{options}\n\nAnswer: {answer}\n\nLetter:"
    )


BENCHMARK = MMBench()
