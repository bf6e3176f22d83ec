"""A judge behind a server: whom it asks, what it counts, and what it never does twice."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from evaluation.judges import server as judge_server
from evaluation.judges.asking import Answered, Judged, judged
from evaluation.judges.cache import Cache, CacheError
from evaluation.judges.server import JudgeError, ServerJudge
from evaluation.unicycle import OWN
from evaluation.unicycle.instances import read
from evaluation.unicycle.judging import by_rules
from evaluation.unicycle.rules import NUMBERS
from tests.chat_server import servers
from tests.evaluation.judges.comparing import honest, says

pytest.importorskip("openai")
SECRET = "sk-not-to-be-told"
INSTANCES = read(OWN)


@pytest.fixture
def serve(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    monkeypatch.setenv(judge_server.KEY, SECRET)
    monkeypatch.setattr(judge_server, "RETRIES", 1)
    with servers() as start:
        yield start


def answers(count: int = 40) -> list[Answered]:
    """Right and wrong ones of every kind, by turns."""
    every = [(each, q) for each in INSTANCES for q in each.questions]
    step = len(every) // count
    return [
        Answered(each, q, q.answer if i % 2 else "a thing")
        for i, (each, q) in enumerate(every[::step][:count])
    ]


def ask(
    url: str, folder: Path, asked: list[Answered], attempts: int = 2, at_once: int = 4
) -> Judged:
    judge = ServerJudge(url, "large", at_once, wait_s=5)
    return asyncio.run(judged(judge, Cache(folder), asked, attempts))


def test_a_judge_that_compares_agrees_with_the_rules_and_is_counted(
    serve: Any, tmp_path: Path
) -> None:
    own, asked = serve(honest), answers()
    found = ask(own.url, tmp_path, asked)
    assert [v.mark for v in found.verdicts] == [by_rules(q, a).mark for _, q, a in asked]
    assert 0 < sum(v.mark for v in found.verdicts) < len(asked)
    texts = {body["messages"][0]["content"] for _, body, _ in own.asked}
    assert found.counted == {
        "used": len(texts), "asked": len(texts),
        "prompt_tokens": 100 * len(texts), "completion_tokens": 7 * len(texts),
    }  # fmt: skip
    assert found.models == ["judge-1"]
    assert {key for _, _, key in own.asked} == {f"Bearer {SECRET}"}
    assert all(body["temperature"] == 0 for _, body, _ in own.asked)


def test_a_rerun_asks_nobody_and_finds_the_same(serve: Any, tmp_path: Path) -> None:
    own, asked = serve(honest), answers()
    first = ask(own.url, tmp_path, asked)
    count = len(own.asked)
    again = ask(own.url, tmp_path, asked)
    assert len(own.asked) == count
    assert again.verdicts == first.verdicts
    assert again.counted == {**first.counted, "asked": 0}


def test_another_model_is_asked_anew(serve: Any, tmp_path: Path) -> None:
    own, asked = serve(honest), answers(4)
    ask(own.url, tmp_path, asked)
    judge = ServerJudge(own.url, "small", 4)
    assert asyncio.run(judged(judge, Cache(tmp_path), asked, 1)).counted["asked"] == 4


def test_what_broke_off_goes_on_and_no_question_is_asked_twice(serve: Any, tmp_path: Path) -> None:
    replied: Counter[str] = Counter()
    broken = True

    def falls_over(path: str, body: Any) -> tuple[int, Any]:
        if broken and len(replied) >= 10:
            return 401, {"error": {"message": f"no such key {SECRET}"}}
        replied[body["messages"][0]["content"]] += 1
        return honest(path, body)

    own, asked = serve(falls_over), answers()
    with pytest.raises(JudgeError) as refused:
        ask(own.url, tmp_path, asked, at_once=1)
    assert "it answers 401" in str(refused.value) and own.url in str(refused.value)
    broken = False
    found = ask(own.url, tmp_path, asked)
    assert set(replied.values()) == {1} and found.counted["asked"] == len(replied) - 10


def test_the_key_is_in_no_message_and_no_file(serve: Any, tmp_path: Path) -> None:
    own = serve(lambda path, body: (401, {"error": {"message": f"bad key {SECRET}"}}))
    with pytest.raises(JudgeError) as refused:
        ask(own.url, tmp_path, answers(2))
    assert SECRET not in str(refused.value) and "bad key ..." in str(refused.value)
    ask(serve(honest).url, tmp_path, answers(2))
    files = [file for file in tmp_path.rglob("*") if file.is_file()]
    assert files and not [file for file in files if SECRET in file.read_text()]


@pytest.mark.parametrize("code", [429, 500, 503])
def test_a_busy_server_is_asked_again_and_then_named(serve: Any, tmp_path: Path, code: int) -> None:
    busy = iter([code])
    own = serve(lambda path, body: (c, {}) if (c := next(busy, 0)) else honest(path, body))
    assert len(ask(own.url, tmp_path / "soon", answers(1)).verdicts) == 1
    assert len(own.asked) == 2
    never = serve(lambda path, body: (code, {}))
    with pytest.raises(JudgeError, match=f"it answers {code}"):
        ask(never.url, tmp_path / "never", answers(1))
    assert len(never.asked) == 2


def test_a_server_that_is_not_there_is_named(serve: Any, tmp_path: Path) -> None:
    gone = serve(honest)
    gone.close()
    with pytest.raises(JudgeError, match="does not answer within 5 s"):
        ask(gone.url, tmp_path, answers(1))


@pytest.mark.parametrize(
    "data", [b"<html>", b"", b"[]", b"{}", b'{"choices": []}', b'{"choices": {"a": 1}}']
)
def test_a_server_of_something_else_is_refused(serve: Any, tmp_path: Path, data: bytes) -> None:
    own = serve(lambda path, body: (200, data))
    with pytest.raises(JudgeError, match=r"task\.judge_server is http"):
        ask(own.url, tmp_path, answers(1))


@pytest.mark.parametrize(
    "data",
    [
        b"<html>",
        b'"ok"',
        b"[]",
        b"null",
        b'{"data": ["m"]}',
        b'{"data": [{}]}',
        b'{"data": {"a": 1}}',
    ],
)
def test_what_lists_no_models_is_refused_before_any_work(serve: Any, data: bytes) -> None:
    own = serve(lambda path, body: (200, data))
    with pytest.raises(JudgeError, match=r"task\.judge_server is http"):
        ServerJudge(own.url, "large", 1).require()


def test_a_thought_before_a_reply_is_no_part_of_it(serve: Any, tmp_path: Path) -> None:
    def thinks(path: str, body: Any) -> tuple[int, Any]:
        said = honest(path, body)[1]["choices"][0]["message"]["content"]
        return says(f"<think>is it {{so}}?</think>\n\n{said}")

    found = ask(serve(thinks).url, tmp_path, answers(3), attempts=1)
    assert [v.status for v in found.verdicts] == ["judged"] * 3


def test_counts_that_are_none_are_not_kept(serve: Any, tmp_path: Path) -> None:
    own = serve(lambda path, body: (200, honest(path, body)[1] | {"usage": {"prompt_tokens": "7"}}))
    for _ in range(2):
        assert ask(own.url, tmp_path, answers(1)).counted["prompt_tokens"] == 0


@pytest.mark.parametrize("said", ["I think that it is right.", "", None, '{"evaluation": "yes"}',
    '{"question": "Why?", "answer": "", "evaluation": "yes"}'])  # fmt: skip
def test_a_judge_that_cannot_be_read_is_asked_again_and_then_counted(
    serve: Any, tmp_path: Path, said: object
) -> None:
    own = serve(lambda path, body: says(said))
    found = ask(own.url, tmp_path, answers(3), attempts=3)
    assert [(v.mark, v.most, v.status) for v in found.verdicts] == [(0, 1, "unparsable")] * 3
    assert sorted(body["temperature"] for _, body, _ in own.asked) == [0] * 3 + [0.7] * 6


def test_a_second_attempt_may_be_readable(serve: Any, tmp_path: Path) -> None:
    own = serve(lambda path, body: honest(path, body) if body["seed"] else says("hm"))
    found = ask(own.url, tmp_path, answers(4))
    assert [v.status for v in found.verdicts] == ["judged"] * 4
    assert found.counted["used"] == 8


def test_no_answer_is_no_question_for_a_judge(serve: Any, tmp_path: Path) -> None:
    own = serve(honest)
    each = answers(1)[0]
    assert ask(own.url, tmp_path, [each._replace(answer=" ")]).verdicts[0].status == "no_answer"
    assert own.asked == []


def test_no_more_requests_are_in_flight_than_allowed(serve: Any, tmp_path: Path) -> None:
    flying, most = [0], [0]

    def watched(path: str, body: Any) -> tuple[int, Any]:
        flying[0] += 1
        most[0] = max(most[0], flying[0])
        try:
            return honest(path, body)
        finally:
            flying[0] -= 1

    ask(serve(watched).url, tmp_path, answers(20), at_once=2)
    assert 1 <= most[0] <= 2


def test_a_damaged_entry_is_named(serve: Any, tmp_path: Path) -> None:
    own = serve(honest)
    ask(own.url, tmp_path, answers(1))
    file = next(tmp_path.rglob("*.json"))
    file.write_text("{")
    with pytest.raises(CacheError, match=f"{file.name} is damaged: delete it"):
        ask(own.url, tmp_path, answers(1))


def test_rules_take_a_digit_for_its_word() -> None:
    count = next(q for each in INSTANCES for q in each.questions if q.answer == "four")
    assert [by_rules(count, said).mark for said in ("4", "Four.", "5", "14")] == [1, 1, 0, 0]
    assert NUMBERS[4] == "four"
