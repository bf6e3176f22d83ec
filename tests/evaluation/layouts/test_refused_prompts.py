"""Files of prompts that cannot be drawn: one sentence that names file, row, field, value and fix."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evaluation.benchmarks.benchmark import BenchmarkError
from evaluation.layouts import registry
from evaluation.layouts.compbench import LAYOUTS
from evaluation.layouts.sheet import Sheet
from tests.evaluation.layouts.prompt_files import json_lines

GENEVAL = {"tag": "colors", "include": [{"class": "bench", "count": 1}], "prompt": "a red bench"}
SRUM = {"Question": "a red bench", "Category": "color", "Question_id": 7}
WISE = {"Prompt": "a red bench", "prompt_id": 7}
TIIF = {"type": "text", "short_description": "a sign", "long_description": "a long sign"}


def sheets(name: str, file: Path) -> list[Sheet]:
    layout = registry.load(name)
    return layout.sheets(layout.files(file), "model")


def refused(name: str, file: Path) -> str:
    with pytest.raises(BenchmarkError) as told:
        sheets(name, file)
    sentence = str(told.value)
    assert "\n" not in sentence and str(file) in sentence
    return sentence


def without(row: dict[str, Any], field: str) -> dict[str, Any]:
    return {key: value for key, value in row.items() if key != field}


@pytest.mark.parametrize(
    ("row", "said"),
    [
        (without(GENEVAL, "prompt"), "line 2: prompt is missing (the row has tag, include)"),
        (without(GENEVAL, "tag"), "line 2: tag is missing"),
        (
            GENEVAL | {"include": []},
            "line 2: include is []: it must be a list of objects, one or more",
        ),
        (GENEVAL | {"prompt": " "}, "line 2: prompt is ' ': it must be a text"),
        (GENEVAL | {"prompt": 7}, "line 2: prompt is 7: it must be a text"),
        ([1], "line 2: it is [1]: it must be a JSON object"),
    ],
)
def test_a_bad_line_of_geneval(tmp_path: Path, row: Any, said: str) -> None:
    assert said in refused("geneval", json_lines(tmp_path / "own.jsonl", [GENEVAL, row]))


def test_half_of_a_character_is_no_prompt(tmp_path: Path) -> None:
    file = tmp_path / "own.jsonl"
    file.write_text(json.dumps(GENEVAL | {"prompt": "a \ud800 bench"}))
    assert "line 1: 'a \\ud800 bench' has half of a surrogate pair" in refused("geneval", file)


@pytest.mark.parametrize("name", ["geneval", "compbench", "dpg"])
def test_another_encoding_names_the_line(tmp_path: Path, name: str) -> None:
    file = tmp_path / "own.txt"
    file.write_bytes(b"a bench\na caf\xe9\n")
    assert "line 2: this is not UTF-8" in refused(name, file)


@pytest.mark.parametrize("name", registry.MODULES)
def test_a_file_that_is_not_there(tmp_path: Path, name: str) -> None:
    assert "cannot be read" in refused(name, tmp_path / "none.jsonl")


@pytest.mark.parametrize("name", ["compbench", "dpg", "wise", "tiif"])
def test_a_folder_without_prompts_says_which_one_is_wanted(tmp_path: Path, name: str) -> None:
    assert f"--prompts {tmp_path} has no *" in refused(name, tmp_path)


@pytest.mark.parametrize("name", ["wise", "oneig", "tiif"])
def test_prompts_that_do_not_ship_are_asked_for(name: str) -> None:
    with pytest.raises(
        BenchmarkError, match="do not ship here, for their licence: give --prompts PATH"
    ):
        registry.load(name).files(None)


def test_an_unknown_benchmark_names_those_that_there_are() -> None:
    with pytest.raises(
        BenchmarkError, match="--benchmark is 'genval': it must be one of geneval, "
    ):
        registry.load("genval")


@pytest.mark.parametrize(
    ("name", "rows", "said"),
    [
        (
            "compbench-srum",
            [SRUM, SRUM],
            "row 2: Category with Question_id is ('color', 7), as in ",
        ),
        (
            "compbench-srum",
            [SRUM | {"Category": "a/b"}],
            "row 1: Category is 'a/b': it must be the name",
        ),
        ("compbench-srum", [without(SRUM, "Question_id")], "row 1: Question_id is missing"),
        ("wise", [WISE, WISE], "row 2: prompt_id is 7, as in "),
        ("wise", [WISE | {"prompt_id": "7"}], "row 1: prompt_id is '7': it must be a whole number"),
        (
            "wise",
            [WISE | {"prompt_id": True}],
            "row 1: prompt_id is True: it must be a whole number",
        ),
        ("wise", {}, "holds {}: it must be a list of objects"),
        ("wise", [], "has no row"),
    ],
)
def test_a_bad_row_of_a_list(tmp_path: Path, name: str, rows: Any, said: str) -> None:
    file = tmp_path / "own.json"
    file.write_text(json.dumps(rows))
    assert said in refused(name, file)


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ("category,id,prompt_en\nPortrait,000,x\nPortrait,000,y\n", "line 3: category with id is"),
        (
            "category,id,prompt_en\nMultilingualism,000,x\n",
            "category is 'Multilingualism': it must be",
        ),
        ("category,id,prompt_en\nPortrait,7,x\n", "line 2: id is '7': it must be three digits"),
        ("category,id,prompt_cn\nPortrait,000,x\n", "line 2: prompt_en is missing"),
        ("category,id,prompt_en\nPortrait,000,x,y\n", "line 2: it has not as many fields"),
        ("category,id,prompt_en\nPortrait,000\n", "line 2: it has not as many fields"),
        ('category,id,prompt_en\nPortrait,000,"x\n', "line 2: it is no table"),
    ],
)
def test_a_bad_row_of_oneig(tmp_path: Path, table: str, said: str) -> None:
    file = tmp_path / "own.csv"
    file.write_text(table)
    assert said in refused("oneig", file)


def test_a_prompt_of_dpg_is_called_as_the_scorer_reads_names(tmp_path: Path) -> None:
    row = {"stem": "a.b", "prompt": "a bench"}
    assert "stem is 'a.b': it must have no dot" in refused(
        "dpg", json_lines(tmp_path / "a.jsonl", [row])
    )
    twice = [{"stem": "a", "prompt": "a bench"}] * 2
    assert "line 2: stem is 'a', as in " in refused("dpg", json_lines(tmp_path / "a.jsonl", twice))


def test_types_of_tiif_keep_to_their_files(tmp_path: Path) -> None:
    file = json_lines(tmp_path / "text_prompts.jsonl", [TIIF, TIIF | {"type": "style"}])
    assert "line 2: type is 'style': it must be 'text'" in refused("tiif", file)
    json_lines(file, [TIIF])
    json_lines(tmp_path / "style_prompts.jsonl", [TIIF])
    with pytest.raises(BenchmarkError, match="type is 'text', as in .*style_prompts.jsonl"):
        sheets("tiif", tmp_path)


def compbench(folder: Path, *lines: str) -> str:
    file = folder / "color_val.txt"
    file.write_text("\n".join(lines), "utf-8")
    return refused("compbench", file)


def test_a_prompt_that_no_name_of_a_file_can_hold_is_named_with_its_line(tmp_path: Path) -> None:
    most = "é" * 122  # 244 bytes, and 11 of "_000019.png"
    (tmp_path / "color_val.txt").write_text(f"a bench\n{most}", "utf-8")
    assert len(sheets("compbench", tmp_path)) == 2
    longer = compbench(tmp_path, "a bench", f"{most}.")
    assert "line 2: the prompt" in longer and "it has 256 bytes where a disk takes 255" in longer
    assert longer.endswith("change that line, or leave it out")
    assert "line 1: the prompt 'red/blue' cannot be" in compbench(tmp_path, "red/blue")
    assert "it has an underscore, at which the scorers end it" in compbench(tmp_path, "red_blue")
    assert "line 2: prompt is '': it must be a text" in compbench(tmp_path, "a bench", "", "a cup")


@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=1))
def test_what_is_not_refused_is_read_back_from_the_name(line: str) -> None:
    from evaluation.benchmarks.rows import Row
    from evaluation.layouts.compbench import _sheet

    try:
        sheet = _sheet("color", 0, Row("here", {"prompt": line}))
    except BenchmarkError:
        return
    for number, file in enumerate(sheet.files):
        folder, samples, name = file.split("/")
        assert (folder, samples) == ("color", "samples") and len(name.encode()) <= 255
        assert name.split("_")[0] == sheet.prompt == line.split("\t")[0]
        assert int(name.split("_")[1].split(".")[0]) == number


def test_the_lines_of_compbench_end_at_a_tab(tmp_path: Path) -> None:
    file = tmp_path / "color_val.txt"
    file.write_text("a red bench\tbench\n")
    (sheet,) = LAYOUTS["compbench"].sheets([file], "model")
    assert sheet.prompt == "a red bench"
