"""The set that ships: rebuilt from its sources, in the paper's proportions, and checked twice."""

from __future__ import annotations

import dataclasses
import hashlib
from collections import Counter

import pytest

from evaluation.unicycle import OWN
from evaluation.unicycle.building import grammar, own, sources
from evaluation.unicycle.building.checking import derive, faults
from evaluation.unicycle.instances import Question, read, written
from tests.house import ROOT, imports

SET = read(OWN)
QUESTIONS = [question for each in SET for question in each.questions]
PAPER = {"choice": 35.95, "yes_no": 6.74, "open": 57.31}
"""Per cent of the questions; a text question is an open one there."""


def test_the_set_is_what_the_command_writes() -> None:
    assert written(own.build()) == OWN.read_text(encoding="utf-8")


def test_another_seed_gives_other_instances_of_the_same_kinds() -> None:
    other = own.build(seed=1)
    assert Counter(each.kind for each in other) == Counter(each.kind for each in SET)
    assert written(other) != written(SET)


def test_there_are_a_thousand_instances_over_ten_kinds() -> None:
    kinds = Counter(each.kind for each in SET)
    assert len(SET) >= 1000 and len(kinds) == 10 and min(kinds.values()) >= 70
    assert len({each.prompt.lower() for each in SET}) == len(SET)
    assert OWN.stat().st_size < 1_000_000


def test_the_kinds_of_questions_have_the_papers_shares() -> None:
    found = Counter("open" if each.kind == "text" else each.kind for each in QUESTIONS)
    shares = {kind: 100 * count / found.total() for kind, count in found.items()}
    assert shares == {kind: pytest.approx(share, abs=3) for kind, share in PAPER.items()}


def test_no_answer_can_be_guessed_from_its_place_alone() -> None:
    places = Counter(q.options.index(q.answer) for q in QUESTIONS if q.kind == "choice")
    assert max(places.values()) < 0.4 * places.total()
    said = Counter(q.answer for q in QUESTIONS if q.kind == "yes_no")
    assert said["yes"] == said["no"]


def test_the_second_rule_gives_every_answer_and_finds_no_redundant_question() -> None:
    assert [fault for each in SET for fault in faults(each)] == []


def test_the_second_rule_knows_nothing_of_the_first() -> None:
    names = {name for _, name in imports(ROOT / "evaluation/unicycle/building/checking.py")}
    assert not [name for name in names if ".building" in name]


def wrong(question: Question) -> Question:
    """The same question with another answer."""
    others = {
        "choice": [option for option in question.options if option != question.answer],
        "yes_no": ["no" if question.answer == "yes" else "yes"],
        "open": ["seven" if question.answer != "seven" else "six"],
        "text": [question.answer + " more"],
    }
    return dataclasses.replace(question, answer=others[question.kind][0])


def test_the_second_rule_finds_every_wrong_answer() -> None:
    for each in SET:
        for place, question in enumerate(each.questions):
            asked = list(each.questions)
            asked[place] = wrong(question)
            assert faults(dataclasses.replace(each, questions=tuple(asked))), (each, question)


def test_the_second_rule_finds_a_question_that_is_asked_twice_or_told() -> None:
    pair = next(each for each in SET if each.kind == "color+2d")
    color, _, where = pair.questions
    twice = dataclasses.replace(pair, questions=(color, color))
    assert "two questions have one target" in faults(twice)
    told = dataclasses.replace(color, text=f"What color is the {color.answer} thing?")
    assert any(
        "tells" in fault for fault in faults(dataclasses.replace(pair, questions=(told, color)))
    )
    assert faults(dataclasses.replace(pair, questions=(color, where))) == []


@pytest.mark.parametrize(
    ("prompt", "text", "options", "answer"),
    [
        ("a red bird and a blue cup", "What color is the cup?", (), "blue"),
        ("two cats, one lily and four cups", "How many lilies are there in the picture?", (), "one"),
        ("a photo of six pink cups", "How many cups are there in the picture?", (), "six"),
        ("a photo of a cat and no dog", "Is there a dog in the picture?", (), "no"),
        ("a photo of a cat and no dog", "Is there a cat in the picture?", (), "yes"),
        ("a cat hidden by a dog", "Where is the cat in relation to the dog?",
         ("behind it", "above it", "none of these"), "behind it"),
        ("a cat below a dog", "Where is the cat in relation to the dog?",
         ("behind it", "above it", "none of these"), "none of these"),
        ("a cat below a dog", "Where is the dog in relation to the cat?", ("below it", "above it"), None),
        ("a wooden cat and a metallic cup", "What is the cup made of?", ("wood", "metal"), "metal"),
        ("a red cup and a blue cup", "What color is the cup?", (), None),
        ("a red cup", "What color is the dog?", (), None),
        ("a red cup", "Why is the cup red?", (), None),
    ],
)  # fmt: skip
def test_the_second_rule_reads_the_prompt(prompt, text, options, answer) -> None:  # type: ignore[no-untyped-def]
    kind = "choice" if options else "open"
    question = Question(kind, text, options[0] if options else "?", options)
    assert derive(prompt, question) == answer


def test_genevals_own_records_say_the_same_as_the_questions() -> None:
    """A third opinion: what stands beside GenEval's prompts was not read by either rule."""
    pairs = [{thing["class"]: thing["color"] for thing in row["include"]}
             for row in sources.geneval("color_attr")]  # fmt: skip
    for each in SET:
        if each.kind == "color+2d":
            said = {q.text.split(" the ")[1].rstrip("?"): q.answer for q in each.questions[:2]}
            assert said in pairs, each


@pytest.mark.parametrize(
    ("prompt", "read"),
    [
        ("a red wine glass and a glass jar", None),  # glass is a name and a value
        ("a wooden cup and a glass cup", None),  # two things of one name
        ("a wooden cup and a glass jar on a table, at night", None),  # says more than is read
        ("a fluffy cup and a glass jar", None),  # no substance
        ("a wooden cup and a glass jar.", [("cup", "wooden"), ("jar", "glass")]),
    ],
)
def test_a_prompt_is_read_whole_or_not_at_all(prompt, read) -> None:  # type: ignore[no-untyped-def]
    assert grammar.pair(prompt, grammar.SUBSTANCES) == read


def test_the_sources_are_those_that_the_notice_names() -> None:
    notice = (sources.DATA / "NOTICE").read_text()
    for name, digest in sources.SHA256.items():
        data = (sources.DATA / "sources" / name).read_bytes()
        assert hashlib.sha256(data).hexdigest() == digest and name in notice
    assert "MIT" in notice and "Dhruba Ghosh" in notice and "HKU" in notice
