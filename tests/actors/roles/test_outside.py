"""Personas and seed prompts from outside: keyed choices, marked records, and files refused by line."""

from __future__ import annotations

import csv
import hashlib
import io
import json
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.category_shares import CategoryShares
from actors.config import JudgeConfig, ProposerConfig
from actors.replay.records import Drawing, Proposal, Task, undone
from actors.roles.judge import Judge
from actors.roles.outside import Outside, load_outside
from actors.roles.proposer import Proposer
from actors.roles.templates import load_templates
from actors.roles.topics import Topic
from policies.config import ConfigError
from policies.interface import PictureSampling

JSON = load_templates("json")
CATEGORIES = tuple(JSON.categories)
NAMES = ("p.jsonl", "s.csv")
HEADER = "Major Category,Subcategory,Seed\n"
ROWS = "".join(
    f"{category},kind {k},{category} seed {k}{i}\n"
    for category in CATEGORIES for k in range(2) for i in range(4)
)  # fmt: skip
TOPIC = Topic(7, "counting", "one kind")


def file(folder: Path, text: str | bytes, name: str = "own.csv") -> str:
    path = folder / name
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return str(path)


def load(**settings: object) -> Outside:
    return load_outside(ProposerConfig(**settings), CATEGORIES)


def test_without_files_a_topic_stays_as_it_is() -> None:
    assert load() == Outside() and load().add(TOPIC, 0, 1, 3) == TOPIC


def test_a_persona_follows_from_seed_round_and_number_alone(tmp_path: Path) -> None:
    lines = "".join(json.dumps({"persona": f"person {i}", "more": i}) + "\n" for i in range(50))
    outside = load(personas=file(tmp_path, lines, "personas.jsonl"))
    assert len(outside.personas) == 50
    chosen = [
        outside.add(TOPIC._replace(number=n), seed, round_, 3).persona
        for seed in (0, 1) for round_ in (1, 2) for n in range(100)
    ]  # fmt: skip
    assert len(set(chosen)) > 45 and max(Counter(chosen).values()) < 25
    assert (
        chosen[205] == outside.add(TOPIC._replace(number=5, category="portrait"), 1, 1, 1).persona
    )
    assert outside.add(TOPIC, 0, 1, 3)[:3] == TOPIC[:3]


def test_seed_prompts_are_of_one_subcategory(tmp_path: Path) -> None:
    outside = load(seed_prompts=file(tmp_path, b"\xef\xbb\xbf" + (HEADER + ROWS).encode()))
    sizes, kinds = Counter[int](), Counter[str]()
    for number in range(300):
        topic = outside.add(TOPIC._replace(number=number), 0, 1, 3)
        kind = topic.subcategory.removeprefix("kind ")
        assert all(shown.startswith(f"counting seed {kind}") for shown in topic.demonstrations)
        assert len(set(topic.demonstrations)) == len(topic.demonstrations)
        sizes[len(topic.demonstrations)] += 1
        kinds[kind] += 1
    assert set(sizes) == {1, 2, 3} and min(sizes.values()) > 70
    assert set(kinds) == {"0", "1"} and min(kinds.values()) > 110
    assert len(outside.add(TOPIC, 0, 1, 1).demonstrations) == 1


def test_names_of_categories_may_be_the_released_code_s(tmp_path: Path) -> None:
    text = HEADER + "Relational Operations,negation,no cat\nSPATIO_Reasoning,2D,a cat left of it\n"
    none = dict.fromkeys(CategoryShares.model_fields, 0.0)
    shares = CategoryShares(**{**none, "object_relations": 1.0, "spatio_reasoning": 2.0})
    found = load(seed_prompts=file(tmp_path, text), category_shares=shares).seed_prompts
    assert {name: list(kinds) for name, kinds in found.items()} == {
        "object relations": ["negation"], "spatio reasoning": ["2D"]
    }  # fmt: skip


class Speaker:
    """Answers a proposal or a judgement, and keeps what it was asked."""

    def __init__(self) -> None:
        self.asked: list = []

    def write(self, contexts, sampling, seeds) -> list[str]:
        self.asked += contexts
        told = {"major_category": "counting", "subcategory": "kind", "prompt": "two cups"}
        return [json.dumps([told]) for _ in contexts]


def test_a_record_names_every_file_that_touched_it(tmp_path: Path) -> None:
    outside = load(
        personas=file(tmp_path, '{"persona": "a baker"}\n', "p.jsonl"),
        seed_prompts=file(tmp_path, HEADER + ROWS, "s.csv"),
    )
    sums = [hashlib.sha256((tmp_path / name).read_bytes()).hexdigest() for name in NAMES]
    assert outside.external == f"personas p.jsonl {sums[0][:8]}, seed prompts s.csv {sums[1][:8]}"
    speaker, task = Speaker(), Task(1, "proposer", 0, 0)
    topic = outside.add(TOPIC, 0, 1, 2)
    (proposal,) = Proposer(speaker, ProposerConfig(), JSON).propose(
        task, 0, [topic], {"counting": ["from the library"]}
    )
    assert proposal is not None and proposal.external == outside.external
    text = "\n".join(speaker.asked[0])
    assert "a baker" in text and topic.demonstrations[0] in text and "library" not in text
    drawing = Drawing(1, PictureSampling(), 0, ())
    judge = Judge(speaker, JudgeConfig(), JSON)
    (group,) = judge.judge(replace(task, role="judge"), 0, [proposal], [[drawing]])
    assert group.external == outside.external
    assert undone(task, task, [proposal], "lost")[0].external == outside.external
    assert undone(task, task, [Proposal(0, "counting", "k", "p", 1)], "lost")[0].external == ""


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "has no persona: write lines such as"),
        ('{"persona": "a"}\n{"persona": ', "line 2: not JSON .*: write one object a line"),
        ('{"persona": "a"}\n\n{"person": "b"}', "line 3: persona is None: it must be a text"),
        ('{"persona": "  "}', "line 1: persona is '  ': it must be a text that is not empty"),
        ("[1]", "line 1: persona is None"),
        ('{"persona": "\\ud800"}', "line 1: persona is "),
        ("[" * 100_000, "line 1: not JSON"),
        (b'{"persona": "a"}\n{"persona": "\xff"}', "line 2: this is not UTF-8"),
    ],
    ids=str,
)
def test_a_wrong_file_of_personas_is_refused_by_line(tmp_path: Path, text: str, told: str) -> None:
    with pytest.raises(ConfigError, match=rf"p\.jsonl.*{told}") as error:
        load(personas=file(tmp_path, text, "p.jsonl"))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "line 1: the column Major Category must be there once: begin the file with"),
        ("Major Category,Seed\n", "line 1: the column Subcategory"),
        (HEADER + "counting,one\n", "line 2: it has 2 fields and the header 3"),
        (HEADER + "counting,one,two cups, red\n", "line 2: it has 4 fields"),
        (HEADER + "counting,one,a\n\ncounting,, b\n", "line 4: Subcategory is empty: fill it in"),
        (HEADER + 'counting,one,"a\nb"\ncuonting,one,c\n', "line 4: Major Category is 'cuonting': it must be one"),
        (HEADER + 'counting,one,"a"b\n', "line 2: not CSV .*: mend its quotes"),
        (HEADER + 'counting,one,"a', "line 2: not CSV"),
        (HEADER + f"counting,one,{'a' * 200_000}\n", "line 2: not CSV"),
        (HEADER + "counting,one,a\n", "has no row whose Major Category is general object: add one, or set "
         r"proposer\.category_shares\.general_object to 0"),
        (HEADER.encode() + b"counting,one,\xe9\n", "line 2: this is not UTF-8"),
    ],
    ids=lambda value: str(value)[:30],
)  # fmt: skip
def test_a_wrong_file_of_seed_prompts_is_refused_by_line(
    tmp_path: Path, text: str, told: str
) -> None:
    with pytest.raises(ConfigError, match=rf"(?s)own\.csv.*{told}"):
        load(seed_prompts=file(tmp_path, text))


def test_a_file_that_is_not_there_is_named_with_its_setting(tmp_path: Path) -> None:
    for setting in ("personas", "seed_prompts"):
        with pytest.raises(ConfigError, match=rf"proposer\.{setting} is .*No such file.*leave the"):
            load(**{setting: str(tmp_path / "none")})
    with pytest.raises(ConfigError, match=r"proposer\.demonstrations is 0: it must be 1 or more"):
        ProposerConfig(seed_prompts="a.csv", demonstrations=0)


WORDS = st.text(
    st.characters(exclude_categories=("Cs", "Cc")), min_size=1, max_size=20
).filter(str.strip)  # fmt: skip


@given(st.lists(WORDS, min_size=1, max_size=6))
def test_any_persona_that_json_can_hold_is_read(tmp_path_factory, personas: list[str]) -> None:
    lines = "\r\n".join(json.dumps({"persona": each}, ensure_ascii=False) for each in personas)
    path = file(tmp_path_factory.mktemp("own"), lines, "p.jsonl")
    assert load(personas=path).personas == tuple(each.strip() for each in personas)


@given(st.lists(st.tuples(WORDS, WORDS), min_size=1, max_size=6))
def test_any_seed_prompt_that_csv_can_hold_is_read(tmp_path_factory, rows) -> None:
    sink = io.StringIO(newline="")
    writer = csv.writer(sink)
    writer.writerow(["Major Category", "Subcategory", "Seed"])
    writer.writerows(("counting", kind, seed) for kind, seed in rows)
    only = CategoryShares(**{**dict.fromkeys(CategoryShares.model_fields, 0.0), "counting": 1.0})
    path = file(tmp_path_factory.mktemp("own"), sink.getvalue())
    found = load(seed_prompts=path, category_shares=only).seed_prompts["counting"]
    read = {(kind, seed) for kind, seeds in found.items() for seed in seeds}
    assert read == {(kind.strip(), " ".join(seed.split())) for kind, seed in rows}


@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_refused(tmp_path_factory, data: bytes) -> None:
    folder = tmp_path_factory.mktemp("own")
    for setting in ("personas", "seed_prompts"):
        for text in (data, HEADER.encode() + data):
            try:
                load(**{setting: file(folder, text)})
            except ConfigError as error:
                assert "own.csv" in str(error)
