"""WISE (Niu et al., arXiv 2503.07265): does a drawing show what its prompt only implies? In two editions.

Invariant: an edition's prompts, questions, marks and weights stay together, and its name is in every id
and score: the two cannot be compared. A category is the mean of its prompts. "weighted" is the overall
of the official scripts (WISE_legacy/Calculate.py, calculate_verified.py), "unweighted" the mean of the
six categories, which BAGEL's script prints and UniCorn's paper reports.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

from actors.roles.answers import without_thought
from evaluation.benchmarks.benchmark import BenchmarkError, Question, Scores
from evaluation.benchmarks.drawings import UNANSWERED, DrawingBenchmark, Place
from evaluation.benchmarks.rows import json_list, require_new

FILES = ("cultural_common_sense", "spatio-temporal_reasoning", "natural_science")
RESTORE = "restore the checkout of WISE"
PROMPTS = 1000

LEGACY = """\
You audit drawings that a model made from a prompt. Grade this one by three criteria, each with 0, 1 or 2, \
without mercy: a 2 is rare, and in doubt the lower grade is right.

Consistency, how exactly and completely the picture shows what the prompt means:
0: what matters is missing or contradicted. 1: some of it is there, not all, or not exactly. 2: every \
element and nuance is there, and nothing is left open.
Realism, how real it looks:
0: plainly artificial or physically impossible. 1: believable, with flaws that show. 2: not to be told \
from a photograph in detail, light, matter and space.
Aesthetic Quality, how good it is to look at:
0: poorly composed, without merit. 1: pleasant, and ordinary. 2: a masterpiece in composition, color and \
style.

PROMPT: "{prompt}"
EXPLANATION, what the prompt means: "{explanation}"

Reply with these three lines and nothing else, each with its grade:
Consistency: 0
Realism: 0
Aesthetic Quality: 0
"""
VERIFIED = """\
You audit drawings that a model made from a prompt. The prompt often only hints at what is to be seen, \
and knowledge of culture, time, space or nature is needed to infer it. The explanation says what that is, \
and is the truth that you judge by. Beauty and style do not matter.

Look whether the main things and the scene of the prompt are there, whether what the explanation infers is \
shown, whether relations (place, time, physical effect, behavior, custom) are right, and whether the \
picture can be judged at all.
Score 1: it means what prompt and explanation mean, and no failure of drawing stands in the way.
Score 0: what is inferred is missing or only the words of the prompt are followed; something that matters \
is absent, wrong or contradicted; it is too ambiguous to be verified; or it is collapsed, deformed or \
impossible. In serious doubt the score is 0.

PROMPT: "{prompt}"
EXPLANATION: "{explanation}"

Reply with exactly one line, "Score: 0" or "Score: 1", and nothing else.
"""

SHARES = {"consistency": 7, "realism": 2, "aesthetic quality": 1}
"""Of WiScore, in tenths; it is divided by the highest grade."""
BEST = 2
GRADED = re.compile(rf"\*{{0,2}}({'|'.join(SHARES)})\*{{0,2}}\s*:?\s*(\d)", re.IGNORECASE)
BARE_GRADE = re.compile(r"^\s*([0-2])\s*$", re.MULTILINE)
SCORED = re.compile(r"\*{0,2}score\*{0,2}\s*:?\s*([01])\b", re.IGNORECASE)
BARE_SCORE = re.compile(r"^\s*([01])\s*$", re.MULTILINE)


def wiscore(reply: str) -> float | None:
    """Returns legacy's mark, from 0 to 1: of grades by name the last of each, else of three bare lines. A
    digit above 2, which the official script would take, is no grade here."""
    found = {name.lower(): int(grade) for name, grade in GRADED.findall(reply)}
    bare = BARE_GRADE.findall(reply)
    if not found and len(bare) >= len(SHARES):
        found = dict(zip(SHARES, map(int, bare), strict=False))
    grades = [found.get(name, BEST + 1) for name in SHARES]
    if max(grades) > BEST:
        return None
    tenths = sum(share * grade for share, grade in zip(SHARES.values(), grades, strict=True))
    return tenths / (10 * BEST)


def verified_score(reply: str) -> float | None:
    """Returns WISE_Verified's mark, 0 or 1: the first that is named, else the only bare line."""
    said = without_thought(reply)
    if named := SCORED.search(said):
        return float(named[1])
    bare = BARE_SCORE.findall(said)
    return float(bare[0]) if len(bare) == 1 else None


@dataclass(frozen=True)
class Edition:
    """`first` are the lowest ids of the categories, and `weights` their weights in the overall."""

    name: str
    suffix: str
    """Of its files' names."""
    first: Mapping[str, int]
    weights: Mapping[str, float]
    asked: str
    max_tokens: int
    mark: Callable[[str], float | None]

    def category(self, number: int) -> str:
        return [name for name, first in self.first.items() if first <= number][-1]


EDITIONS = (
    Edition(
        "legacy", "",
        {"culture": 1, "time": 401, "space": 568, "biology": 701, "physics": 801, "chemistry": 901},
        {"culture": 0.4, "time": 0.167, "space": 0.133,
         "biology": 0.1, "physics": 0.1, "chemistry": 0.1},
        LEGACY, 2000, wiscore,
    ),
    Edition(
        "verified", "_verified",
        {"culture": 1, "time": 401, "space": 521, "biology": 641, "physics": 761, "chemistry": 881},
        {"culture": 0.4, "time": 0.12, "space": 0.12,
         "biology": 0.12, "physics": 0.12, "chemistry": 0.12},
        VERIFIED, 500, verified_score,
    ),
)  # fmt: skip


@dataclass(frozen=True)
class WiseItem:
    id: str
    edition: Edition
    number: int
    """Its prompt_id."""
    prompt: str
    explanation: str


class Wise(DrawingBenchmark[WiseItem, float]):
    """`data` is the folder of an edition's three files: WISE_legacy/data or data_verified."""

    name = "wise"
    layout = "1.png to 1000.png"
    suffixes = (".png",)

    def items(self, data: Path) -> list[WiseItem]:
        edition = _edition(data)
        found, seen = dict[int, WiseItem](), dict[int, str]()
        files = [data / f"{name}{edition.suffix}.json" for name in FILES]
        for row in (row for file in files for row in json_list(file)):
            number = row.number("prompt_id")
            require_new(seen, number, row, "prompt_id")
            if not 1 <= number <= PROMPTS:
                row.refuse("prompt_id", number, f"be from 1 to {PROMPTS}")
            name = f"{edition.name}-{number:04d}"
            found[number] = WiseItem(
                name, edition, number, row.text("Prompt"), row.text("Explanation")
            )
        if missing := sorted(set(range(1, PROMPTS + 1)) - set(found)):
            raise BenchmarkError(f"{data} has no prompt_id {missing[0]}: {RESTORE}")
        return [found[number] for number in sorted(found)]

    def places(self, drawn: Path, items: Sequence[WiseItem]) -> Iterable[Place]:
        return (Place(each.id, drawn, str(each.number)) for each in items)

    def ask(self, item: WiseItem, picture: Path) -> Question:
        text = item.edition.asked.format(prompt=item.prompt, explanation=item.explanation)
        return Question(item.id, (text, picture), item.edition.max_tokens)

    def mark(self, item: WiseItem, reply: str) -> float | None:
        return item.edition.mark(reply)

    def scores(
        self,
        items: Sequence[WiseItem],
        marks: Mapping[str, float | None],
        counted: Mapping[str, int],
    ) -> Scores:
        edition = items[0].edition
        of_all = [(each, marks.get(each.id)) for each in items]
        groups = _categories((each, mark) for each, mark in of_all if mark is not None)
        at_least = _categories((each, mark or 0.0) for each, mark in of_all)
        overall = {
            f"{edition.name}, {how}{beside}": value
            for beside, found in (("", groups), (f", {UNANSWERED}", at_least))
            for how, value in _overall(edition, found).items()
        }
        return Scores(overall, groups, counted)


def _edition(data: Path) -> Edition:
    for edition in EDITIONS:
        if (data / f"{FILES[0]}{edition.suffix}.json").is_file():
            return edition
    raise BenchmarkError(
        f"{data} has neither {FILES[0]}.json nor {FILES[0]}_verified.json: name WISE_legacy/data or "
        "data_verified of a checkout of WISE"
    )


def _categories(marked: Iterable[tuple[WiseItem, float]]) -> dict[str, float]:
    """The means of the categories that have an item."""
    found: dict[str, list[float]] = {}
    for item, mark in marked:
        found.setdefault(item.edition.category(item.number), []).append(mark)
    return {name: fmean(marks) for name, marks in found.items()}


def _overall(edition: Edition, categories: Mapping[str, float]) -> dict[str, float]:
    """Nothing, unless all categories are there."""
    if set(categories) != set(edition.weights):
        return {}
    weighted = sum(weight * categories[name] for name, weight in edition.weights.items())
    return {"weighted": weighted, "unweighted": fmean(categories.values())}


BENCHMARK = Wise()
