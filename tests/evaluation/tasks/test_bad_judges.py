"""Judges that answer badly, over a whole evaluation: each one named, counted, and never averaged in silence."""

from __future__ import annotations

import asyncio
import json
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from evaluation.judges import server as judge_server
from evaluation.judges.server import JudgeError, ServerJudge
from evaluation.tasks.bench import TaskBench
from evaluation.tasks.config import TaskConfig
from evaluation.tasks.folder import EvaluationError, TaskFolder
from evaluation.unicycle.instances import Instance, Question
from policies.interface import Picture
from tests.chat_server import servers
from tests.evaluation.judges.comparing import honest, says
from tests.evaluation.rules import Settings

pytest.importorskip("openai")
SECRET = "sk-not-to-be-told"
OTHER = '{"question": "Is it a dog?", "answer": "red", "evaluation": "yes"}'
SAYS = {
    "prose": "The answer seems right to me.",
    "wrong JSON": '{"evaluation": yes}',
    "half of it": '{"question": "What color is the ',
    "nothing": "",
    "no message": None,
    "another question": OTHER,
    "a score": '{"score": 10}',
}
"""What a judge says in vain, by the color of the thing that it is asked about."""
BUSY = {"a 429": 429, "a 500": 500}
"""What it answers the first time; then it judges."""
EVERY = (*SAYS, *BUSY, "well", "no drawing", "no answer")


def instance(name: str) -> Instance:
    asked = Question("open", f"What color is the {name} thing?", "red")
    return Instance(name.replace(" ", "-"), "color", f"a {name} thing in red", (asked,))


INSTANCES = [instance(name) for name in EVERY]


@pytest.fixture
def serve(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    monkeypatch.setenv(judge_server.KEY, SECRET)
    monkeypatch.setattr(judge_server, "RETRIES", 1)
    with servers() as start:
        yield start


class Bad:
    """Judges as it is asked to; `times` counts what it was asked, by name."""

    def __init__(self) -> None:
        self.times: Counter[str] = Counter()

    def __call__(self, path: str, body: Any) -> tuple[int, Any]:
        text = body["messages"][0]["content"]
        name = next(name for name in EVERY if f"the {name} thing?" in text)
        self.times[name] += 1
        if name in BUSY and self.times[name] == 1:
            return BUSY[name], {"error": {"message": f"not now, {SECRET}"}}
        return says(SAYS[name]) if name in SAYS else honest(path, body)


def evaluate(path: Path, url: str, wait_s: float = 5) -> dict[str, Any]:
    """The summary of drawings that are there, whose thing the model took for red."""
    folder = TaskFolder(path)
    folder.claim({"task": "mine"})
    for each in INSTANCES:
        drawn = np.full((8, 8, 3), 0 if each.id == "no-drawing" else 200, np.uint8)
        folder.keep_drawing(each.id, Picture(drawn))
        said = [" "] if each.id == "no-answer" else ["red"]
        folder.keep_answers(each.id, said if drawn.any() else None)
    task = TaskConfig(judge="server", judge_server=url, judge_model="large", attempts=2)
    judge, nobody = ServerJudge(url, "large", 4, wait_s), _nobody()
    bench = TaskBench(task, Settings("run", ""), folder, nobody, nobody, judge, lambda _: None)
    return asyncio.run(bench.run(INSTANCES))


def _nobody() -> Any:
    """Nothing is left to draw or to ask."""


def test_each_way_to_answer_badly_is_counted_and_none_is_averaged_in_silence(
    serve: Any, tmp_path: Path
) -> None:
    bad = Bad()
    found = evaluate(tmp_path / "evaluation", serve(bad).url)
    assert found["counted"] == {
        "no_drawing": 1, "no_answer": 1, "unparsable": len(SAYS), "clamped": 0,
    }  # fmt: skip
    count, right = len(EVERY), len(BUSY) + 1
    assert found["soft"]["score"] == pytest.approx(100 * right / count)
    assert found["soft"]["at_most"] == pytest.approx(100 * (right + len(SAYS)) / count)
    assert found["hard"]["at_most"] == found["soft"]["at_most"]
    rows = (tmp_path / "evaluation/by-large/samples.jsonl").read_text().splitlines()
    status = {row["id"]: row["questions"][0]["status"] for row in map(json.loads, rows)}
    assert {name for name, of in status.items() if of == "unparsable"} == {
        name.replace(" ", "-") for name in SAYS
    }
    assert (status["no-drawing"], status["no-answer"]) == ("no_drawing", "no_answer")
    assert {name: bad.times[name] for name in EVERY} == {
        **dict.fromkeys(SAYS, 2), **dict.fromkeys(BUSY, 2), "well": 1, "no drawing": 0, "no answer": 0,
    }  # fmt: skip


def test_the_key_is_in_no_file_of_an_evaluation(
    serve: Any, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    own = serve(Bad())
    evaluate(tmp_path / "evaluation", own.url)
    assert {key for *_, key in own.asked} == {f"Bearer {SECRET}"}
    files = [file for file in tmp_path.rglob("*") if file.is_file()]
    assert {"manifest.json", "summary.json"} <= {file.name for file in files}
    assert any("judge-cache" in file.parts for file in files)
    assert not [file for file in files if SECRET.encode() in file.read_bytes()]
    assert SECRET not in "".join(capfd.readouterr())


def test_a_judge_that_never_replies_is_named_in_time(serve: Any, tmp_path: Path) -> None:
    own = serve(lambda path, body: (time.sleep(3), honest(path, body))[1])
    begun = time.monotonic()
    with pytest.raises(JudgeError, match=r"does not answer within 0\.2 s") as refused:
        evaluate(tmp_path / "evaluation", own.url, wait_s=0.2)
    assert own.url in str(refused.value) and time.monotonic() - begun < 10
    assert not (tmp_path / "evaluation/by-large").exists()


@pytest.mark.parametrize("cut", [0, 20, 100])
def test_a_drawing_that_cannot_be_read_is_named_and_ends_it(tmp_path: Path, cut: int) -> None:
    """It is not taken for one that failed, which would count 0."""
    folder = TaskFolder(tmp_path)
    for each in INSTANCES:
        noise = np.random.default_rng(0).integers(0, 255, (8, 8, 3), np.uint8)
        folder.keep_drawing(each.id, Picture(noise))
        if each != INSTANCES[3]:
            folder.keep_answers(each.id, ["red"])
    file = tmp_path / "drawings" / f"{INSTANCES[3].id}.png"
    file.write_bytes(file.read_bytes()[:cut])
    nobody = _nobody()
    bench = TaskBench(
        TaskConfig(), Settings("run", ""), folder, nobody, nobody, None, lambda _: None
    )
    with pytest.raises(ExceptionGroup) as refused:
        asyncio.run(bench.run(INSTANCES))
    named = refused.value.subgroup(EvaluationError)
    assert named is not None
    said = str(named.exceptions[0])
    assert str(file) in said and "delete it, and it is drawn again" in said
    assert not (tmp_path / "by-rules").exists()
