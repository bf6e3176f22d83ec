"""A server that plays a role: what it is asked, what it is believed, and what is refused."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from PIL import Image

from actors.config import JudgeConfig, ProposerConfig
from actors.replay.records import Drawing, Proposal, Task
from actors.roles import server
from actors.roles.judge import Judge
from actors.roles.proposer import Proposer
from actors.roles.server import ServerRefused, ServerSilent, ServerWriter
from actors.roles.templates import load_templates
from actors.roles.topics import Topic
from policies.config import ConfigError, changed
from policies.interface import Picture, PictureSampling, TextSampling, learned
from tests.chat_server import Answer, Server, servers
from trainer.config import RunConfig

TINY = load_templates("tiny")


@pytest.fixture
def serve() -> Iterator[Callable[[Answer], Server]]:
    with servers() as start:
        yield start


def says(text: object) -> Any:
    return {"choices": [{"message": {"role": "assistant", "content": text}}]}


def writer(url: str, patience_s: float = 5.0) -> ServerWriter:
    return ServerWriter("judge", url, "large", patience_s)


def picture() -> Picture:
    return Picture(np.arange(48 * 48 * 3, dtype=np.uint8).reshape(48, 48, 3))


def ask(own: ServerWriter, count: int = 1) -> list[str]:
    contexts = [("judge", "red", picture())] * count
    return own.write(contexts, [TextSampling(0.5, 30)] * count, range(count))


def test_texts_pictures_and_sampling_arrive(
    serve: Callable[[Answer], Server], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(server.KEY, "secret")
    found = serve(lambda _, body: (200, says(f"seed {body['seed']}")))
    assert ask(writer(found.url), 3) == ["seed 0", "seed 1", "seed 2"]
    path, body, key = found.asked[0]
    assert (path, key) == ("/v1/chat/completions", "Bearer secret")
    assert {k: body[k] for k in ("model", "temperature", "max_tokens")} == {
        "model": "large", "temperature": 0.5, "max_tokens": 30,
    }  # fmt: skip
    *texts, image = body["messages"][0]["content"]
    assert [part["text"] for part in texts] == ["judge", "red"]
    data = image["image_url"]["url"].removeprefix("data:image/png;base64,")
    pixels = np.asarray(Image.open(io.BytesIO(base64.b64decode(data))))
    assert np.array_equal(pixels, picture().pixels)


def test_a_busy_server_is_asked_again(
    serve: Callable[[Answer], Server], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "PAUSE_S", 0.01)
    answers = iter([(503, {}), (429, {}), (200, says("ready"))])
    assert ask(writer(serve(lambda *_: next(answers)).url)) == ["ready"]


def test_a_server_that_stays_silent_is_named(
    serve: Callable[[Answer], Server], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "PAUSE_S", 0.01)
    found = serve(lambda *_: (503, {"error": "loading"}))
    with pytest.raises(ServerSilent, match=r"judge.server is .*does not answer \(503: .*loading"):
        ask(writer(found.url, 0.1))
    found.close()
    with pytest.raises(ServerSilent, match="start it, then resume the run"):
        ask(writer(found.url, 0.1))


@pytest.mark.parametrize(
    ("code", "said", "message"),
    [
        (404, {"error": "no model"}, "it answers 404"),
        (200, b"<html>", "does not answer in JSON"),
        (200, [1], "its answer is no object"),
        (200, {"choices": []}, r"no choices\[0\].message.content"),
        (200, says(None), r"no choices\[0\].message.content"),
    ],
)
def test_what_is_no_answer_is_refused_at_once(
    serve: Callable[[Answer], Server], code: int, said: Any, message: str
) -> None:
    found = serve(lambda *_: (code, said))
    with pytest.raises(ServerRefused, match=message):
        ask(writer(found.url))
    assert len(found.asked) == 1


@pytest.mark.parametrize(
    ("code", "error"), [(401, ServerRefused), (429, ServerSilent), (200, ServerRefused)]
)
def test_the_key_is_in_no_message(
    serve: Callable[[Answer], Server], monkeypatch: pytest.MonkeyPatch, code: int,
    error: type[Exception],
) -> None:  # fmt: skip
    monkeypatch.setenv(server.KEY, "sk-not-to-be-told")
    monkeypatch.setattr(server, "PAUSE_S", 0.01)
    found = serve(lambda *_: (code, {"error": "no such key: sk-not-to-be-told"}))
    with pytest.raises(error, match=r"no such key: \.\.\.") as refused:
        ask(writer(found.url, 0.1 if code == 429 else 5.0))
    assert "not-to-be-told" not in str(refused.value)


def test_a_model_that_is_not_served_is_refused_before_anything_starts(
    serve: Callable[[Answer], Server],
) -> None:
    writer(serve(lambda *_: (200, {"data": [{"id": "large"}]})).url).require()
    found = serve(lambda *_: (200, {"data": [{"id": "other"}]}))
    with pytest.raises(ServerRefused, match="judge.server_model is 'large': .* serves other;"):
        writer(found.url).require()


def test_every_record_names_the_server(serve: Callable[[Answer], Server]) -> None:
    wrote = '{"major_category": "counting", "subcategory": "one kind", "prompt": "two cats"}'
    judged = '{"analysis": "all yes", "score": 9}'
    found = serve(
        lambda _, body: (200, says(wrote if "propose" in str(body["messages"]) else judged))
    )
    settings = {"server": found.url, "server_model": "large"}
    proposer = Proposer(
        ServerWriter("proposer", *settings.values()),  # type: ignore[arg-type]
        ProposerConfig(**settings),  # type: ignore[arg-type]
        TINY,
    )
    topic = Topic(0, "counting", "one kind", external="personas some.jsonl 1234")
    (proposal,) = proposer.propose(Task(1, "proposer", 0, 0), 0, [topic], {})
    assert proposal is not None
    assert proposal.external == f"personas some.jsonl 1234, proposer large at {found.url}"
    judge = Judge(writer(found.url), JudgeConfig(**settings), TINY)  # type: ignore[arg-type]
    drawing = Drawing(0, PictureSampling(), 0, learned(picture()))
    own = Proposal(0, "counting", "one kind", "two cats", 0)
    (group,) = judge.judge(Task(1, "judge", 0, 0), 0, [own], [[drawing]])
    assert group.external == f"judge large at {found.url}" and group.accepted


def test_a_server_and_its_model_come_together() -> None:
    with pytest.raises(ConfigError, match="judge.server_model is ''"):
        JudgeConfig(server="http://host:8000/v1")
    with pytest.raises(ConfigError, match="proposer.server_model is 'm'"):
        ProposerConfig(server_model="m")
    with pytest.raises(ConfigError, match="judge.engine is 'vllm': it must be own"):
        JudgeConfig(server="http://host/v1", server_model="m", engine="vllm")
    for url in ("host:8000", "ftp://host", "http://name:key@host/v1", "http://host/v1?key=k"):
        with pytest.raises(ConfigError, match=r"judge\.server"):
            JudgeConfig(server=url, server_model="m")


def test_a_server_measures_nothing() -> None:
    judge = JudgeConfig(server="http://host:8000/v1", server_model="m")
    with pytest.raises(ConfigError, match="evaluation.suite is 'tiny_world'"):
        changed(RunConfig(), judge=judge)
    run = RunConfig()
    changed(run, judge=judge, evaluation=changed(run.evaluation, suite="none"))
