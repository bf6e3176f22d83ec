"""`unicorn-ray answer` and `score`: a server that is asked nothing twice, refusals, and a model of ours."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cluster.session.lock import locked
from tests.chat_server import servers
from tests.cluster.program import ROOT, refused, unicorn
from tests.evaluation.benchmarks.making import mme, put
from tests.evaluation.judges.comparing import says

HANG_S = 600.0
BAGEL, TINY = ROOT / "policies/bagel/base", ROOT / "policies/tiny/base"


@pytest.fixture
def serve() -> Iterator[Any]:
    pytest.importorskip("openai")
    with servers() as start:
        yield start


def text_of(body: Any) -> str:
    """The question in a message of a picture and a question."""
    return str(body["messages"][0]["content"][1]["text"])


class Answers:
    """Says yes, but waits with the reply to one question after the first `few` until `goes_on`."""

    def __init__(self, few: int) -> None:
        self.few, self.goes_on = few, threading.Event()
        self.replied: Counter[str] = Counter()

    def __call__(self, path: str, body: Any) -> tuple[int, Any]:
        if path.endswith("/models"):
            return 200, {"data": [{"id": "large"}]}
        if len(self.replied) == self.few:
            self.goes_on.wait(HANG_S)
        self.replied[text_of(body)] += 1
        return says("Yes")


def lines(file: Path) -> list[str]:
    return file.read_text().splitlines() if file.exists() else []


@pytest.mark.slow
def test_killed_and_started_again_nothing_is_asked_twice(serve: Any, tmp_path: Path) -> None:
    answers = Answers(few=9)
    url, data, out = serve(answers).url, mme(tmp_path / "mme"), tmp_path / "out"
    words = ["answer", "--server", url, "--model", "large", "--benchmark", "mme", "--data", str(data),
             "--output", str(out), "--at-once", "1"]  # fmt: skip
    # The questions of MME repeat: each task has one of its own, and another that all have.
    process = subprocess.Popen([sys.executable, "-m", "cluster", *words], cwd=ROOT)
    file, end = out / "answers.jsonl", time.monotonic() + HANG_S
    while len(answers.replied) < 9 or len(lines(file)) < sum(answers.replied.values()):
        assert process.poll() is None and time.monotonic() < end
        time.sleep(0.05)
    os.kill(process.pid, signal.SIGKILL)
    assert process.wait(60) == -signal.SIGKILL
    kept, before = lines(file), Counter(answers.replied)
    assert before.total() == len(kept) < 28
    with file.open("a") as torn:
        torn.write('{"id": "OCR/0/1", "ans')
    answers.few = 1000
    answers.goes_on.set()
    done = unicorn(*words)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == str(file) and "answered: 28 of 28" in done.stdout
    rows = [json.loads(line) for line in lines(file)]
    assert lines(file)[: len(kept)] == kept and len(rows) == len({row["id"] for row in rows}) == 28
    assert {row["model"] for row in rows} == {"large"}
    # 14 tasks ask the same second question. The one that was waited for when the kill came may have
    # been answered into nowhere.
    assert answers.replied.total() in (28, 29)
    again = unicorn(*words)
    assert again.returncode == 0 and answers.replied.total() in (28, 29)

    put(data / "count/0.txt", "Are there 2?\tYes\nIs it not?\tNo\n")
    where = {"cwd": tmp_path}
    assert f"{out} holds another evaluation: data is " in refused(*words, **where)  # type: ignore[arg-type]
    words[words.index("large")] = "small"
    put(data / "count/0.txt", "Is it count 0? Please answer yes or no.\tYes\nIs it not?\tNo\n")
    assert f"model is '{url} large' there and '{url} small' here" in refused(*words, **where)  # type: ignore[arg-type]


def test_a_second_one_on_the_same_answers_is_refused(tmp_path: Path) -> None:
    out = tmp_path / "out"
    words = ("answer", "--server=http://127.0.0.1:9/v1", "--model=large", "--benchmark=mme",
             f"--data={mme(tmp_path / 'mme')}", f"--output={out}")  # fmt: skip
    with locked(out):
        said = refused(*words, cwd=tmp_path)
    assert f"the answering in {out} is being done by process {os.getpid()} " in said
    assert said.strip().endswith("or give another --output")


def test_anybodys_answers_are_scored_and_kept_beside_them(tmp_path: Path) -> None:
    data = mme(tmp_path / "mme")
    rows = [{"id": f"{task}/0/0", "answer": "yes"} for task in ("OCR", "count")]
    file = put(tmp_path / "theirs.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
    done = unicorn("score", "--benchmark=mme", f"--data={data}", f"--answers={file}")
    assert done.returncode == 0, done.stderr
    assert [line.split() for line in done.stdout.splitlines()[:3]] == [
        ["perception", "100.00"], ["cognition", "0.00"], ["total", "100.00"],
    ]  # fmt: skip
    assert done.stdout.splitlines()[-1] == f"scores: {tmp_path / 'scores.json'}"
    found = json.loads((tmp_path / "scores.json").read_text())
    assert found["overall"]["total"] == 100 and found["counted"]["missing"] == 26


def test_what_is_missing_or_does_not_fit_is_told_in_one_sentence(tmp_path: Path) -> None:
    asked = ("--benchmark=mme", f"--data={mme(tmp_path / 'mme')}")
    server = ("--server=http://127.0.0.1:9/v1", "--model=large")
    for words, told in (
        (("answer", *asked), "name a FOLDER, such as runs/tiny, or a --server, and not both"),
        (("answer", str(TINY), *asked, *server), "and not both"),
        (("answer", str(TINY), f"--data={tmp_path}"), "--benchmark is missing"),
        (("answer", str(TINY), "--benchmark=mme"), "--data is missing"),
        (("answer", *asked, server[0]), "--model is missing"),
        (("answer", *asked, *server), "--output is missing"),
        (("answer", str(TINY), *asked, "--limit=0"), "--limit is 0: it must be 1 or more"),
        (("answer", *asked, *server, "--at-once=0"), "--at-once is 0: it must be 1 or more"),
        (("answer", str(TINY), "--benchmark=mine", asked[1]), "no benchmark is called 'mine'"),
        (("answer", str(tmp_path), *asked), "it is no run"),
        (("answer", *asked, *server, f"--output={tmp_path / 'out'}"), "--server is http://127.0.0.1:9/v1, "
         "model large: it does not answer within 10 s"),
        (("score", *asked), "--answers is missing"),
        (("score", *asked, "--answers=none.jsonl"), "none.jsonl cannot be read"),
    ):  # fmt: skip
        assert told in refused(*words, cwd=tmp_path), words


@pytest.mark.slow
def test_a_model_of_ours_answers_and_goes_on(ray_cluster: str, tmp_path: Path) -> None:
    data, out = mme(tmp_path / "mme"), tmp_path / "out"
    how = ("policy.family=bagel", "solver.cpus=0.2", "judge.cpus=0.2", "proposer.cpus=0.2",
           "evaluation.prompts_per_task=4", "actors.start_deadline=900")  # fmt: skip
    asked = ("--benchmark=mme", f"--data={data}", f"--output={out}")

    def answer(folder: Path, *more: str) -> subprocess.CompletedProcess[str]:
        words = [sys.executable, "-m", "cluster", "answer", str(folder), *asked, *more]
        env = {**os.environ, "RAY_ADDRESS": ray_cluster}
        return subprocess.run(
            words, cwd=ROOT, env=env, capture_output=True, text=True, timeout=HANG_S
        )

    first = answer(BAGEL, *how, "--limit=6")
    assert first.returncode == 0, first.stderr
    kept = lines(out / "answers.jsonl")
    assert len(kept) == 6
    whole = answer(BAGEL, *how)
    assert whole.returncode == 0, whole.stderr
    rows = [json.loads(line) for line in lines(out / "answers.jsonl")]
    assert lines(out / "answers.jsonl")[:6] == kept and len({row["id"] for row in rows}) == 28
    assert {row["model"].split()[0] for row in rows} == {"base"}
    done = unicorn("score", *asked[:2], f"--answers={out / 'answers.jsonl'}")
    assert done.returncode == 0 and "missing 0" in done.stdout
    # Weights of another family are another model; and the embedded one reads no such pictures.
    other = answer(TINY)
    assert other.returncode == 2 and "holds another evaluation: family is" in other.stderr
    refusal = answer(TINY, *how[1:], f"--output={tmp_path / 'tiny'}")
    assert refusal.returncode == 2 and "the tiny policy sees (48, 48, 3)" in refusal.stderr, (
        refusal.stderr
    )
