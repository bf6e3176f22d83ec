"""Who is asked, what is shown, and what is asked once: by a server, and by a model of ours."""

from __future__ import annotations

import asyncio
import base64
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from actors.config import JudgeConfig
from actors.roles.judge import Judge
from actors.roles.requests import Request
from actors.roles.templates import load_templates
from evaluation.benchmarks import mathvista
from evaluation.benchmarks.asking import ask_pool, ask_server, shown
from evaluation.benchmarks.benchmark import Question
from evaluation.benchmarks.scoring import score
from evaluation.judges import server as judge_server
from evaluation.judges.server import ChatServer, JudgeError
from policies.config import BagelPolicyConfig
from policies.interface import Picture
from policies.pictures import PictureError
from policies.registry import load_policy
from tests.chat_server import servers
from tests.evaluation.benchmarks.making import picture, put
from tests.evaluation.judges.comparing import says

SECRET = "sk-not-to-be-told"


@pytest.fixture
def serve(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    pytest.importorskip("openai")
    monkeypatch.setenv(judge_server.KEY, SECRET)
    monkeypatch.setattr(judge_server, "RETRIES", 1)
    with servers() as start:
        yield start


def test_what_is_shown_is_decoded_in_its_order(tmp_path: Path) -> None:
    file = put(tmp_path / "one.png", picture(40))
    parts = shown(Question("q", ("First", file, picture(90, side=4), "then"), 20, enlarged=2))
    assert parts[0] == "First" and parts[3] == "then"
    sides = [part.pixels.shape for part in parts if isinstance(part, Picture)]
    assert sides == [(16, 16, 3), (4, 4, 3)]  # the first one twice as large
    assert {int(part.pixels[0, 0, 0]) for part in parts if isinstance(part, Picture)} == {40, 90}
    with pytest.raises(PictureError, match="the picture of q is not a picture"):
        shown(Question("q", (b"none",), 20))
    put(file, picture(40)[:50])
    with pytest.raises(PictureError, match="one.png cannot be read"):
        shown(Question("q", (file,), 20))


def test_a_server_gets_pictures_and_the_limit_and_is_asked_what_is_left(
    serve: Any, tmp_path: Path
) -> None:
    own = serve(lambda path, body: says(f"at most {body['max_tokens']}"))
    file = put(tmp_path / "one.png", picture(40))
    asked = [
        Question("a", (file, "What?"), 20),
        Question("b", ("Who?",), 7),
        Question("c", ("Why?",), 9),
    ]
    kept: dict[str, str] = {}

    async def keep(id_: str, answer: str) -> None:
        kept[id_] = answer

    asyncio.run(ask_server(ChatServer(own.url, "large", 2), asked, {"c": "since"}, keep))
    assert kept == {"a": "at most 20", "b": "at most 7"}
    bodies = {body["max_tokens"]: body for _, body, _ in own.asked}
    assert bodies[7]["messages"][0]["content"] == "Who?" and bodies[7]["temperature"] == 0
    image, text = bodies[20]["messages"][0]["content"]
    assert text == {"type": "text", "text": "What?"}
    head, _, data = image["image_url"]["url"].partition(",")
    seen = np.asarray(Image.open(io.BytesIO(base64.b64decode(data))))
    assert head == "data:image/png;base64" and (seen == 40).all()
    assert {key for _, _, key in own.asked} == {f"Bearer {SECRET}"}


def test_a_server_that_refuses_is_named_by_the_option(serve: Any) -> None:
    own = serve(lambda path, body: (401, {"error": {"message": f"bad key {SECRET}"}}))

    async def keep(id_: str, answer: str) -> None:
        raise AssertionError

    server = ChatServer(own.url, "large", 2, setting="--server")
    with pytest.raises(
        JudgeError, match=f"^--server is {own.url}, model large: it answers 401"
    ) as told:
        asyncio.run(ask_server(server, [Question("b", ("Who?",), 7)], {}, keep))
    assert SECRET not in str(told.value)


def test_doubts_are_asked_once_and_stand_in_the_score(serve: Any, tmp_path: Path) -> None:
    def takes(path: str, body: Any) -> tuple[int, Any]:
        if path.endswith("/models"):
            return 200, {"data": [{"id": "large"}]}
        assert body["messages"][0]["content"].endswith("Value:")
        return says("14")

    own = serve(takes)
    row = {"question": "How many?", "choices": None, "precision": None, "answer": "14", "image": "1.jpg",
           "question_type": "free_form", "answer_type": "integer", "metadata": {"skills": ["counting"]}}  # fmt: skip
    put(tmp_path / "testmini.json", json.dumps({"1": row, "2": row}))
    put(tmp_path / "query.json", json.dumps({"1": "Count.", "2": "Count."}))
    answers = [{"id": "1", "answer": "It is fourteen."}, {"id": "2", "answer": "15"}]
    file = put(
        tmp_path / "a" / "answers.jsonl", "".join(json.dumps(each) + "\n" for each in answers)
    )
    server = ChatServer(own.url, "large", 2)
    found = score(mathvista.BENCHMARK, tmp_path, None, file, server)
    assert found["overall"] == {"accuracy": 50}
    assert found["doubts"] == {"judge": f"{own.url} large", "used": 1, "asked": 1,
                               "prompt_tokens": 100, "completion_tokens": 7}  # fmt: skip
    again = score(mathvista.BENCHMARK, tmp_path, None, file, server)
    assert again["doubts"]["asked"] == 0 and again["overall"] == found["overall"]
    assert len([path for path, _, _ in own.asked if not path.endswith("/models")]) == 1


class InProcess:
    """A pool of one replica, which is this process: a real Judge with a real model does the requests."""

    def __init__(self, judge: Judge) -> None:
        self.judge, self.tasks = judge, list[tuple[int, int]]()

    async def run(self, request: Request[Any], asked: Any) -> Any:
        self.tasks.append((request.task.index, len(asked)))
        with torch.inference_mode():
            payload = request.do(self.judge, 5, asked).payload
        done = asyncio.get_running_loop().create_future()
        done.set_result(payload)
        return done


def test_a_model_of_ours_answers_in_slices_what_is_left() -> None:
    policy = load_policy(BagelPolicyConfig(family="bagel"))
    pool = InProcess(Judge(policy, JudgeConfig(), load_templates("json")))
    data = picture(120, side=48)
    asked = [Question(str(n), (data, f"is there {n} star ?"), 3 + n % 2) for n in range(5)]
    kept: dict[str, str] = {}

    async def keep(id_: str, answer: str) -> None:
        kept[id_] = answer

    asyncio.run(ask_pool(pool, asked, {"1": "no"}, keep, size=2, at_once=1, deadline=300))  # type: ignore[arg-type]
    assert sorted(kept) == ["0", "2", "3", "4"]
    assert sorted(pool.tasks) == [(0, 1), (1, 2), (2, 1)]
    before = dict(kept)
    asyncio.run(ask_pool(pool, asked, {}, keep, size=2, at_once=2, deadline=300))  # type: ignore[arg-type]
    # Greedy: the same again, whoever else is asked in the same slice.
    assert {id_: kept[id_] for id_ in before} == before and len(kept) == 5
