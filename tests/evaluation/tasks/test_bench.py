"""An evaluation over real pools: what it makes once, what it goes on with, and what it comes to."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from actors.config import SolverConfig
from evaluation.config import EvaluationConfig
from evaluation.judges.itself import ItselfJudge
from evaluation.tasks.bench import TaskBench
from evaluation.tasks.config import TaskConfig
from evaluation.tasks.folder import EvaluationError, TaskFolder
from evaluation.unicycle import OWN
from evaluation.unicycle.asking import asked
from evaluation.unicycle.instances import Instance, read
from evaluation.unicycle.scoring import hard, soft
from tests.evaluation.rules import Settings
from tests.evaluation.tasks.echo import FAILS, Actors, knows

EVERY = read(OWN)
FAILED = dataclasses.replace(EVERY[0], id="failed", prompt=FAILS)
INSTANCES = [FAILED, *EVERY[5::55]]
SETTINGS = Settings(
    "run", "", evaluation=EvaluationConfig(prompts_per_task=5), solver=SolverConfig()
)


@pytest.fixture(scope="module")
def actors(ray_cluster: str, tmp_path_factory: pytest.TempPathFactory) -> Actors:
    return Actors(INSTANCES, tmp_path_factory.mktemp("actors"))


def evaluate(
    actors: Actors, folder: Path, judge: str = "rules", replicas: int = 1,
    instances: list[Instance] = INSTANCES,
) -> tuple[dict[str, Any], Counter[tuple[str, str]]]:  # fmt: skip
    """The summary, and what was done for it."""

    async def run() -> dict[str, Any]:
        async with actors.pools(replicas) as (solvers, judges):
            task = TaskConfig(judge=judge)
            own = ItselfJudge(judges, "weights", 60) if judge == "itself" else None
            bench = TaskBench(
                task, SETTINGS, TaskFolder(folder), solvers, judges, own, lambda _: None
            )
            return await bench.run(instances)

    before = actors.done()
    found = asyncio.run(run())
    return found, actors.done() - before


def samples(folder: Path, judge: str = "rules") -> list[dict[str, Any]]:
    return [
        json.loads(line)
        for line in (folder / f"by-{judge}" / "samples.jsonl").read_text().splitlines()
    ]


Whole = tuple[Path, dict[str, Any], Counter[tuple[str, str]]]


@pytest.fixture(scope="module")
def whole(actors: Actors, tmp_path_factory: pytest.TempPathFactory) -> Whole:
    """One evaluation in peace."""
    folder = tmp_path_factory.mktemp("whole")
    return folder, *evaluate(actors, folder)


def test_the_scores_are_those_of_what_was_known(whole: Whole) -> None:
    _, found, _ = whole
    marks = [[float(knows(each.prompt, q.text)) for q in each.questions] for each in INSTANCES[1:]]
    count = len(INSTANCES)
    assert found["instances"] == count
    assert found["soft"]["score"] == pytest.approx(100 * sum(map(soft, marks)) / count)
    assert found["hard"]["score"] == pytest.approx(100 * sum(map(hard, marks)) / count)
    assert 0 < found["hard"]["low"] < found["hard"]["score"] < found["hard"]["high"] < 100
    assert found["counted"] == {"no_drawing": 1, "no_answer": 0, "unparsable": 0, "clamped": 0}


def test_every_sample_says_what_was_asked_and_found(whole: Whole) -> None:
    folder, *_ = whole
    rows = samples(folder)
    assert [row["id"] for row in rows] == [each.id for each in INSTANCES]
    assert [q["status"] for q in rows[0]["questions"]] == ["no_drawing"] * 2
    assert (folder / "by-rules" / rows[1]["drawing"]).resolve().is_file()
    assert {q["answer"] for q in rows[0]["questions"]} == {None}
    assert len({row["seed"] for row in rows}) == len(rows)


def test_each_question_is_asked_on_its_own_and_once(whole: Whole) -> None:
    _, _, done = whole
    assert set(done.values()) == {1}
    told = [what for what, _ in done if what == "answer"]
    assert len(told) == sum(len(each.questions) for each in INSTANCES[1:])


def test_the_same_again_makes_nothing(whole: Whole, actors: Actors) -> None:
    folder, found, _ = whole
    assert evaluate(actors, folder) == (found, Counter())


def test_one_drawing_that_was_deleted_is_drawn_again_as_it_was(
    whole: Whole, actors: Actors, tmp_path: Path
) -> None:
    folder, found, _ = whole
    again = shutil.copytree(folder, tmp_path / "again")
    lost = again / "drawings" / f"{INSTANCES[1].id}.png"
    was = lost.read_bytes()
    lost.unlink()
    assert evaluate(actors, again) == (found, Counter({("draw", INSTANCES[1].prompt): 1}))
    assert lost.read_bytes() == was


def test_what_broke_off_goes_on_and_ends_alike(
    whole: Whole, actors: Actors, tmp_path: Path
) -> None:
    """A slice that cannot be asked about ends it, while others are drawn, asked about, or neither."""
    folder, found, _ = whole
    actors.broken.touch()
    with pytest.raises(ExceptionGroup):
        evaluate(actors, tmp_path)
    actors.broken.unlink()
    assert not (tmp_path / "by-rules").exists()
    # As after a kill between two drawings: the last ones of a slice are not there.
    for each in INSTANCES[8:10]:
        (tmp_path / "drawings" / f"{each.id}.png").unlink()
    # No slice need have come as far as its answers.
    kept = {
        kind: {file.stem for file in (tmp_path / kind).glob("*.*")}
        for kind in ("drawings", "answers")
    }
    assert len(kept["drawings"]) >= 3
    again, done = evaluate(actors, tmp_path)
    assert again == found and samples(tmp_path) == samples(folder)
    drawn = {each.id for each in INSTANCES if done["draw", each.prompt]}
    answered = {each.id for each in INSTANCES[1:]
                if done["answer", f"{each.prompt} {asked(each.questions[0])}"]}  # fmt: skip
    every = {each.id for each in INSTANCES}
    assert drawn == every - kept["drawings"]
    assert answered == every - kept["answers"] - {FAILED.id}


def test_three_replicas_and_a_limit_that_grows_come_to_the_same(
    whole: Whole, actors: Actors, tmp_path: Path
) -> None:
    folder, found, _ = whole
    few, first = evaluate(actors, tmp_path, instances=INSTANCES[:7])
    assert few["instances"] == 7
    more, then = evaluate(actors, tmp_path, replicas=3)
    assert more == found and samples(tmp_path) == samples(folder)
    assert set((first + then).values()) == {1}


def test_the_model_itself_judges_through_its_pool_and_once(whole: Whole, actors: Actors) -> None:
    folder, found, _ = whole
    first, done = evaluate(actors, folder, judge="itself")
    assert {what for what, _ in done} == {"reply"}
    assert (first["soft"], first["hard"]) == (found["soft"], found["hard"])
    assert first["judge"]["name"] == "itself" and first["judge"]["version"] == "itself weights"
    assert first["judge"]["prompt_hash"]
    again, none = evaluate(actors, folder, judge="itself")
    assert again["judge"]["asked"] == 0 and none == Counter()


def test_a_folder_of_another_evaluation_is_refused(tmp_path: Path) -> None:
    folder = TaskFolder(tmp_path)
    folder.claim({"seed": 1, "sampling": (0.0, 1.0)})
    folder.claim({"seed": 1, "sampling": (0.0, 1.0)})
    with pytest.raises(EvaluationError, match="another evaluation: seed is 1 there and 2 here"):
        folder.claim({"seed": 2, "sampling": (0.0, 1.0)})


@pytest.mark.parametrize(("name", "told"), [("drawings/a.png", "cannot be read"),
    ("answers/a.json", "is damaged")])  # fmt: skip
def test_a_damaged_file_is_named(tmp_path: Path, name: str, told: str) -> None:
    (tmp_path / name).parent.mkdir()
    (tmp_path / name).write_bytes(b"{")
    folder = TaskFolder(tmp_path)
    with pytest.raises(EvaluationError, match=f"{name} {told}.*: delete it"):
        folder.drawing("a") if "png" in name else folder.answers("a", 2)


def test_answers_to_another_number_of_questions_are_refused(tmp_path: Path) -> None:
    folder = TaskFolder(tmp_path)
    folder.keep_answers("a", ["red"])
    assert folder.answers("a", 1) == ["red"]
    with pytest.raises(EvaluationError, match="has not 2 answers"):
        folder.answers("a", 2)


def test_judges_whose_names_do_for_no_file_keep_apart(tmp_path: Path) -> None:
    folder = TaskFolder(tmp_path)
    assert folder.result("large-2.5") == tmp_path / "by-large-2.5"
    found = [folder.result(name).name for name in ("a/b", "a_b", "a-b")]
    assert len(set(found)) == 3 and all(name.startswith("by-a-b") for name in found)
