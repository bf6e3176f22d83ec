"""MMBench by hand: rotations, letters and doubts."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evaluation.benchmarks.benchmark import BenchmarkError
from evaluation.benchmarks.mmbench import BENCHMARK, TURN, read_option
from tests.evaluation.benchmarks.making import picture, put

HEAD = "index\timage\thint\tquestion\tA\tB\tC\tanswer\tcategory\tl2-category\tsplit\n"
OPTIONS = ["cat", "red fox", "dog"]
PICTURE = base64.b64encode(picture(7)).decode()


def rows(base: int, right: int, category: str, kind: str) -> list[str]:
    """A question with its three rotations; the later ones name the first one's picture."""
    found = []
    for turn in range(3):
        options = [OPTIONS[(place - turn) % 3] for place in range(3)]
        letter = "ABC"[(right + turn) % 3]
        image = PICTURE if turn == 0 else str(base)
        found.append("\t".join([str(base + turn * TURN), image, "", "What is it?", *options, letter,
                                category, kind, "dev"]))  # fmt: skip
    return found


@pytest.fixture
def data(tmp_path: Path) -> Path:
    asked = [*rows(1, 0, "color", "seeing"), *rows(2, 1, "size", "seeing"),
             *rows(3, 2, "cause", "thinking"), *rows(4, 0, "cause", "thinking")]  # fmt: skip
    return put(tmp_path / "dev.tsv", HEAD + "\n".join(asked) + "\n")


RIGHT = {
    **{str(1 + k * TURN): "ABC"[k] for k in range(3)},
    **{str(2 + k * TURN): f"The answer is {'BCA'[k]}." for k in range(3)},
    **{str(3 + k * TURN): "It is a dog" for k in range(3)},  # by the option's text
    **{str(4 + k * TURN): "ABC"[k] for k in range(3)},
}


def test_a_question_is_asked_as_every_rotation_of_it(data: Path) -> None:
    asked = BENCHMARK.questions(data, None)
    assert [each.id for each in asked[:3]] == ["1", str(1 + TURN), str(1 + 2 * TURN)]
    assert all(each.parts[0] == picture(7) and each.max_tokens == 100 for each in asked)
    assert asked[1].parts[1] == (
        "What is it?\nA. dog\nB. cat\nC. red fox\n"
        "Answer with the option's letter from the given choices directly."
    )


def test_a_question_is_right_only_if_every_rotation_is(data: Path) -> None:
    found = BENCHMARK.score(data, None, RIGHT)
    assert found.overall == {"accuracy": 100} and set(found.groups.values()) == {100}
    one_wrong = {**RIGHT, str(1 + TURN): "A"}
    found = BENCHMARK.score(data, None, one_wrong)
    assert found.overall == {"accuracy": 75}  # 3 of 4
    assert found.groups == {
        "split/dev": 75, "l2-category/seeing": 50, "l2-category/thinking": 100,
        "category/color": 0, "category/size": 100, "category/cause": 100,
    }  # fmt: skip


def test_what_is_missing_or_unreadable_is_wrong_and_counted(data: Path) -> None:
    answers = {**RIGHT, "1": "I do not know", "2": ""}
    del answers["3"]
    found = BENCHMARK.score(data, None, answers)
    assert found.overall == {"accuracy": 25}
    assert found.counted == {"questions": 4, "rotations": 12, "missing": 1, "unreadable": 2}


def test_a_language_model_is_asked_about_what_no_rule_reads(data: Path) -> None:
    # Of question 1 a rotation is wrong already; of 2 two are in other words; 4 has no answer at all.
    odd = {"2": "some vulpine", str(2 + TURN): "a vulpine", "1": "B", str(1 + TURN): "something",
           "4": " "}  # fmt: skip
    doubts = BENCHMARK.doubts(data, {**RIGHT, **odd})
    assert [each.id for each in doubts] == ["2/option", f"{2 + TURN}/option"]
    assert "B. red fox" in doubts[0].parts[0] and "some vulpine" in doubts[0].parts[0]
    replies = {"2/option": "B", f"{2 + TURN}/option": "C"}
    found = BENCHMARK.score(data, None, {**RIGHT, **odd, **replies})
    assert found.groups["category/size"] == 100
    replies[f"{2 + TURN}/option"] = "Z"
    assert BENCHMARK.score(data, None, {**RIGHT, **odd, **replies}).groups["category/size"] == 0
    # Rules alone: unreadable.
    assert BENCHMARK.score(data, None, {**RIGHT, **odd}).counted["unreadable"] == 4


@pytest.mark.parametrize(
    ("said", "letter"),
    [("A", "A"), ("(B)", "B"), ("B. red fox", "B"), ("The correct answer is **C**, since dogs bark a lot "
     "and A is not", "C"), ("a dog", "C"), ("cat or dog", ""), ("A B", ""), ("Z", "Z"), ("", ""),
     ("A is what I think of when I see it", ""), ("RED FOX!", "B")],
)  # fmt: skip
def test_a_letter_is_read_by_rule(said: str, letter: str) -> None:
    assert read_option(said, dict(zip("ABC", OPTIONS, strict=True))) == letter


@given(st.text(), st.lists(st.text(min_size=1), min_size=2, max_size=5))
def test_any_text_is_an_option_or_none_or_nothing(said: str, texts: list[str]) -> None:
    options = dict(zip("ABCDE", texts, strict=False))
    assert read_option(said, options) in (*options, "Z", "")
    assert all(read_option(f"({letter})", options) == letter for letter in options)


def test_a_file_that_cannot_be_used_is_named(data: Path) -> None:
    text = data.read_text()
    with pytest.raises(BenchmarkError, match="has not as many fields"):
        BENCHMARK.score(put(data, text + "9\tx\n"), None, {})
    with pytest.raises(BenchmarkError, match="index is .*, as in .*, line 2: "):
        BENCHMARK.score(put(data, text + text.splitlines()[1] + "\n"), None, {})
    # Without rotations, it would be another benchmark.
    single = "\n".join(line for line in text.splitlines() if not line.startswith(("1000", "2000")))
    with pytest.raises(BenchmarkError, match="question 1 has 1 rows"):
        BENCHMARK.score(put(data, single + "\n"), None, {})
    without = text.replace("\tA\tcolor", "\t\tcolor")
    assert len(BENCHMARK.questions(put(data, without), None)) == 12
    with pytest.raises(
        BenchmarkError, match=r"line 2: answer is None.*only be answered, not scored"
    ):
        BENCHMARK.score(data, None, {})
    with pytest.raises(BenchmarkError, match="image is not base64"):
        BENCHMARK.questions(put(data, text.replace(PICTURE, PICTURE[:-3] + "!!!")), None)
    with pytest.raises(BenchmarkError, match="index is 'one'"):
        BENCHMARK.score(
            put(data, HEAD + rows(1, 0, "a", "b")[0].replace("1\t", "one\t", 1)), None, {}
        )
    with pytest.raises(BenchmarkError, match=r"none\.tsv cannot be read"):
        BENCHMARK.score(data.with_name("none.tsv"), None, {})
