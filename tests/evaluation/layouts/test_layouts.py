"""Every layout, written by the program and read back by the rules of the official scripts."""

from __future__ import annotations

import json
import re
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from evaluation.benchmarks.rows import read_text
from evaluation.layouts import registry
from evaluation.layouts.folder import PictureFolder, encoded
from evaluation.layouts.sheet import Drawn, Sheet
from policies.seeds import generator
from tests.evaluation.layouts import official
from tests.evaluation.layouts.prompt_files import FILES

MODEL, SIDE = "tiny-00003", 16
PROMPTS = [f"{count} red birds, a „sign“ and 3.5 cups" for count in (
    "two", "three", "four", "five", "six", "seven", "eight", "nine")]  # fmt: skip


def picture(prompt: str, number: int) -> np.ndarray:
    """The nth drawing of a prompt: no two are alike."""
    return generator(prompt, number).integers(1, 256, (SIDE, SIDE, 3), np.uint8)


def pictures(prompt: str, count: int) -> list[np.ndarray]:
    return [picture(prompt, number) for number in range(count)]


def write(name: str, folder: Path, failed: tuple[int, ...] = ()) -> tuple[Path, list[Sheet], Path]:
    """The folder that the scorer is given, the sheets, and the file or folder of prompts."""
    given = FILES[name](folder, PROMPTS)
    layout = registry.load(name)
    sheets = layout.sheets(layout.files(given), MODEL)
    to = PictureFolder(folder / "output")
    to.claim({"benchmark": name})
    for sheet in sheets:
        drawn = pictures(sheet.prompt, sheet.count)
        for number in failed:
            drawn[number] = np.zeros((64, 64, 3), np.uint8)
        for nth, file in enumerate(sheet.files):
            part = drawn[nth * sheet.tiles : (nth + 1) * sheet.tiles]
            to.keep(file, encoded(part, sheet.grid, Path(file).suffix))
    records: dict[str, list[str]] = {}
    for sheet in sheets:
        if sheet.record:
            records.setdefault(sheet.record[0], []).append(sheet.record[1])
    for file, lines in records.items():
        to.keep_record(file, lines)
    to.finish()
    assert sorted(each.name for each in to.path.iterdir()) == ["images", "manifest.json"]
    return to.images, sheets, given


def same(found: list[np.ndarray], wanted: list[np.ndarray]) -> bool:
    return len(found) == len(wanted) and all(map(np.array_equal, found, wanted))


def test_geneval(tmp_path: Path) -> None:
    root, _, given = write("geneval", tmp_path)
    found = official.geneval(root)
    assert list(found) and set(found) == set(PROMPTS)
    assert all(same(found[each], pictures(each, 4)) for each in PROMPTS)
    assert sorted(each.name for each in root.iterdir()) == [f"{n:05d}" for n in range(8)]
    lines = given.read_text().splitlines(keepends=True)
    assert [(root / f"{n:05d}/metadata.jsonl").read_text() for n in range(8)] == lines


def test_compbench(tmp_path: Path) -> None:
    root, _, _ = write("compbench", tmp_path)
    assert sorted(each.name for each in root.iterdir()) == ["color", "complex"]
    for category, prompts in (("color", PROMPTS[:4]), ("complex", PROMPTS[4:])):
        found = official.compbench(root / category)
        assert [prompt for prompt, _ in found] == [each for each in prompts for _ in range(10)]
        wanted = [drawn for each in prompts for drawn in pictures(each, 10)]
        assert same([drawn for _, drawn in found], wanted)


def test_compbench_as_srum_has_it(tmp_path: Path) -> None:
    root, _, _ = write("compbench-srum", tmp_path)
    found = official.srum(root, ["color", "3d spatial"])
    for place, category in enumerate(found):
        numbers, prompts, drawn = zip(*found[category], strict=True)
        assert list(numbers) == list(range(700 + place, 708, 2))
        assert list(prompts) == PROMPTS[place::2]
        assert same(list(drawn), [picture(each, 0) for each in prompts])


def test_dpg(tmp_path: Path) -> None:
    root, _, given = write("dpg", tmp_path)
    found = official.dpg(root, SIDE)
    assert set(found) == {file.stem for file in given.iterdir()}
    for stem, drawn in found.items():
        prompt = (given / f"{stem}.txt").read_text().strip()
        assert same(drawn, pictures(prompt, 4))


def test_wise(tmp_path: Path) -> None:
    root, _, given = write("wise", tmp_path)
    rows = [
        row
        for name in ("cultural_common_sense", "natural_science")
        for row in json.loads((given / f"{name}.json").read_text())
    ]
    found = official.wise(root, rows)
    assert list(found) == PROMPTS and len(list(root.iterdir())) == len(PROMPTS)
    assert all(np.array_equal(found[each], picture(each, 0)) for each in PROMPTS)


def test_oneig(tmp_path: Path) -> None:
    root, _, _ = write("oneig", tmp_path)
    for place, prompt in enumerate(PROMPTS):
        kind, key = ("anime", "human")[place % 2], f"{place // 2:03d}"
        assert same(official.oneig(root, kind, MODEL, key, (2, 2)), pictures(prompt, 4))


def test_of_oneig_a_tile_that_failed_is_left_out_by_its_scorer(tmp_path: Path) -> None:
    root, _, _ = write("oneig", tmp_path, failed=(1, 2))
    drawn = pictures(PROMPTS[0], 4)
    assert same(official.oneig(root, "anime", MODEL, "000", (2, 2)), [drawn[0], drawn[3]])


def test_tiif(tmp_path: Path) -> None:
    root, _, given = write("tiif", tmp_path)
    found = official.tiif(root, MODEL, given)
    assert len(found) == len(PROMPTS)
    for kind, description, number in found:
        rows = (given / f"{kind}_prompts.jsonl").read_text().splitlines()
        prompt = json.loads(rows[number])[description]
        assert np.array_equal(found[kind, description, number], picture(prompt, 0))


SHIPPED = {
    "geneval": (553, 4, {"two_object": 99, "position": 100}),
    "geneval-long": (553, 4, {"single_object": 80, "color_attr": 100}),
    "compbench": (2400, 10, {"color": 300, "non_spatial": 300, "complex": 300}),
    "compbench-srum": (2670, 1, {"complex_action_50_think": 212, "complex_spatial_50_think": 58}),
    "dpg": (1065, 4, {"partiprompts97.png": 1, "0.png": 1}),
}


@pytest.mark.parametrize("name", SHIPPED)
def test_the_prompts_that_ship_are_all_of_them(name: str) -> None:
    count, each, groups = SHIPPED[name]
    layout = registry.load(name)
    sheets = layout.sheets(layout.files(None), MODEL)
    assert len(sheets) == count and {sheet.count for sheet in sheets} == {each}
    files = [file for sheet in sheets for file in sheet.files]
    assert len(set(files)) == len(files)
    found = Counter(sheet.files[0].split("/")[0] for sheet in sheets)
    if name.startswith("geneval"):
        assert all(sheet.record for sheet in sheets)
        found = Counter(json.loads(sheet.record[1])["tag"] for sheet in sheets if sheet.record)
    assert groups.items() <= found.items()


def test_the_long_prompts_of_geneval_ask_for_the_same_things() -> None:
    found = []
    for name in ("geneval", "geneval-long"):
        layout = registry.load(name)
        rows = [json.loads(line) for line in read_text(layout.files(None)[0]).splitlines()]
        found.append([(row["tag"], row["include"]) for row in rows])
    assert found[0] == found[1]


@pytest.mark.parametrize("name", FILES)
def test_the_scorer_is_told_where_the_pictures_are(name: str, tmp_path: Path) -> None:
    layout = registry.load(name)
    files = layout.files(FILES[name](tmp_path, PROMPTS))
    images = tmp_path / "two words" / "images"
    lines = layout.scorer(Drawn(images, MODEL, 1024, files))
    assert lines and f"'{images}" in "\n".join(lines).replace("'\"'\"'", "'")
    assert not re.search(r"[{}]", "".join(lines).replace("${", ""))
