"""The page of an evaluation: every instance, whatever its texts are, and nothing from outside."""

from __future__ import annotations

import dataclasses
import json
import os
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cluster.report import task_page
from evaluation.tasks.config import TaskConfig
from evaluation.tasks.folder import EvaluationError, TaskFolder
from evaluation.tasks.ready import ready
from evaluation.unicycle.asking import reference
from evaluation.unicycle.instances import Instance, Question
from evaluation.unicycle.judging import NO_ANSWER, NO_DRAWING, UNPARSABLE, Verdict
from evaluation.unicycle.scoring import hard, soft
from evaluation.unicycle.summary import Scored, summary
from policies.interface import Picture
from tests.cluster.report.test_page import Page
from trainer.config import RunConfig

HARM = '<script>alert("x")</script>'
RIGHT = Verdict(1.0, "judged")
COUNTED = {
    "nothing drawn": (NO_DRAWING, "nothing was drawn"),
    "nothing said": (NO_ANSWER, "an empty answer"),
    "nothing read": (UNPARSABLE, "the judge could not be read"),
    "half read": (Verdict(0.5, "judged"), "wanted words"),
}


def scored(kind: str, name: str, verdict: Verdict) -> Scored:
    """Two questions, of which the first one has `verdict`."""
    asked = (
        Question("open", f"what is {name} ?", "red"),
        Question("choice", "which one ?", "a cube", ("a cube", "a ball")),
    )
    second = NO_DRAWING if verdict is NO_DRAWING else RIGHT
    return Scored(Instance(name, kind, f"a {name}", asked), (verdict, second))


def evaluation(folder: Path, found: list[Scored], side: int = 32) -> Path:
    """As TaskBench leaves it: the folder of the judge."""
    kept, task = TaskFolder(folder), ready("unicycle", TaskConfig(), 1)
    kept.claim(task.facts(RunConfig(), "digest-of-weights"))
    rows: list[dict[str, Any]] = []
    for place, (instance, verdicts) in enumerate(found):
        kept.keep_drawing(instance.id, Picture(np.full((side, side, 3), place % 256, np.uint8)))
        questions = [
            {"kind": q.kind, "text": q.text, "options": list(q.options), "reference": reference(q),
             "answer": None if v is NO_DRAWING else "red", "mark": v.mark, "status": v.status,
             "clamped": v.clamped}
            for q, v in zip(instance.questions, verdicts, strict=True)
        ]  # fmt: skip
        marks = [v.mark for v in verdicts]
        row = {"id": instance.id, "kind": instance.kind, "prompt": instance.prompt, "seed": 2**62 + 1,
               "drawing": f"../drawings/{instance.id}.png", "soft": soft(marks), "hard": hard(marks),
               "questions": questions}  # fmt: skip
        rows.append(row)
    judge = {"judge": {"name": "large", "version": "server 1", "models": ["large-2026"]}}
    return kept.keep_result("large", rows, {**summary(found), **judge}).parent


@pytest.fixture(scope="module")
def result(tmp_path_factory: pytest.TempPathFactory) -> Path:
    found = [scored("color", "lamp", RIGHT), scored("color", "cup", Verdict(0.0, "judged"))]
    found += [scored("text", name, verdict) for name, (verdict, _) in COUNTED.items()]
    harm = scored(HARM, "harm", RIGHT)
    instance = dataclasses.replace(harm.instance, id="100% #1", prompt=f"{HARM}\u2028 end")
    return evaluation(tmp_path_factory.mktemp("mine"), [*found, Scored(instance, harm.verdicts)])


@pytest.fixture(scope="module")
def page(result: Path) -> Page:
    return Page(task_page.write(result).read_text())


def test_the_page_is_whole_and_escapes_every_text(page: Page, result: Path) -> None:
    text = (result / "report.html").read_text()
    assert page.open == [] and "script" not in page.tags and "<script" not in text
    assert page.text.count(HARM) == 3  # in the table of kinds, and as the prompt and kind of a card
    wanted = ("data:image/png;base64,", "#n", "../drawings/")
    assert all(address.startswith(wanted) for address in page.addresses)
    assert "../drawings/100%25%20%231.png" in page.addresses


def test_every_number_of_the_summary_is_there(page: Page, result: Path) -> None:
    found = json.loads((result / "summary.json").read_text())
    for name in ("soft", "hard"):
        of = found[name]
        assert f"{of['score']:.1f} 95 % from {of['low']:.1f} to {of['high']:.1f}" in page.text
        assert f"at most {of['at_most']:.1f}" in page.text
    for kind, of in found["kinds"].items():
        assert f"{kind} {of['instances']} {of['soft']:.1f} {of['hard']:.1f}" in page.text
    for name, count in found["counted"].items():
        assert f"{name} {count} " in page.text
    assert "judge large (server 1)" in page.text and "replied large-2026" in page.text


def test_right_and_wrong_are_told_apart_and_what_is_missing_is_said(result: Path) -> None:
    text = task_page.render(result)
    assert text.count('instance right"') == 2 and text.count('instance wrong"') == 5
    assert text.count("no drawing</div>") == 1
    for _, told in list(COUNTED.values())[:3]:
        assert told in text
    assert '<td class="sign">0.5</td>' in text and "A. a cube, B. a ball" in text


def test_it_is_made_again_only_where_the_verdicts_are_newer(result: Path) -> None:
    file = task_page.write(result)
    file.write_text("mine")
    later = time.time_ns() + 10**9
    os.utime(file, ns=(later, later))
    assert task_page.write(result).read_text() == "mine"
    os.utime(result / "summary.json", ns=(later + 1, later + 1))
    assert "<html" in task_page.write(result).read_text()


def test_a_damaged_folder_is_named(tmp_path: Path) -> None:
    damaged = evaluation(tmp_path, [scored("color", "lamp", RIGHT)])
    (damaged / "samples.jsonl").write_text('{"id": \n')
    with pytest.raises(EvaluationError, match=r"samples\.jsonl cannot be read .*evaluate again"):
        task_page.render(damaged)


def test_a_large_evaluation_stays_a_small_page(tmp_path: Path) -> None:
    """Of 100 drawings, 20 are of 512 x 512, of noise that no format makes smaller."""
    rng = np.random.default_rng(0)
    found = [scored(f"kind {i % 10}", f"thing {i}", RIGHT) for i in range(100)]
    folder = evaluation(tmp_path, found, side=8)
    noise = Picture(rng.integers(0, 256, (512, 512, 3), dtype=np.uint8))
    for i in range(20):
        TaskFolder(tmp_path).keep_drawing(f"thing {i}", noise)
    text = task_page.render(folder)
    thumbnails = [part.split('"')[0] for part in text.split('src="')[1:] if "jpeg" in part[:20]]
    assert len(thumbnails) == 20 and max(map(len, thumbnails)) < 40_000
    assert len(text) - sum(map(len, thumbnails)) < 300_000
