from __future__ import annotations

import errno
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from actors.storage import local
from evaluation.layouts.folder import PictureFolder, encoded
from evaluation.tasks.folder import EvaluationError

FACTS = {"benchmark": "geneval", "weights": "a", "sampling": {"interval": (0.0, 1.0)}}
LONGEST = "é" * 122 + "_000000.png"


def files(folder: PictureFolder) -> list[str]:
    return sorted(
        str(file.relative_to(folder.images)) for file in folder.images.rglob("*") if file.is_file()
    )


class Full(local.Files):
    """A disk that is full when a file is created, or moved for the nth time."""

    def __init__(self, step: str, nth: int) -> None:
        self.step, self.left = step, nth

    def _fail(self, step: str) -> None:
        self.left -= step == self.step
        if self.left < 0:
            raise OSError(errno.EIO, "the disk broke")

    def create(self, path: Path) -> object:  # type: ignore[override]
        self._fail("create")
        return super().create(path)

    def move(self, path: Path, to: Path) -> None:
        self._fail("move")
        super().move(path, to)


@pytest.mark.parametrize(("step", "nth"), [("create", 0), ("move", 0), ("move", 1)])
def test_a_file_is_whole_or_not_there_and_nothing_else_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str, nth: int
) -> None:
    folder = PictureFolder(tmp_path)
    folder.claim(FACTS)
    with monkeypatch.context() as broken:
        broken.setattr(local, "FILES", Full(step, nth))
        with pytest.raises(OSError, match="the disk broke"):
            folder.keep("color/samples/a_000000.png", b"whole")
    assert files(folder) == []
    folder.keep("color/samples/a_000000.png", b"whole")
    assert files(folder) == ["color/samples/a_000000.png"]
    folder.finish()
    assert sorted(each.name for each in tmp_path.iterdir()) == ["images", "manifest.json"]


def test_a_name_as_long_as_a_disk_takes_can_be_written(tmp_path: Path) -> None:
    folder = PictureFolder(tmp_path)
    assert len(LONGEST.encode()) == 255
    folder.keep(LONGEST, b"whole")
    assert folder.has(LONGEST) and files(folder) == [LONGEST]


@pytest.mark.parametrize(
    ("now", "said"),
    [
        (FACTS | {"weights": "b"}, "weights is 'a' there and 'b' here"),
        (FACTS | {"sampling": {"interval": (0.4, 1.0)}}, "sampling is .* here"),
        (FACTS | {"preset": "unicorn"}, "preset is None there and 'unicorn' here"),
    ],
)
def test_another_manifest_is_refused_by_the_field_that_differs(
    tmp_path: Path, now: dict[str, object], said: str
) -> None:
    PictureFolder(tmp_path).claim(FACTS)
    PictureFolder(tmp_path).claim(FACTS)
    with pytest.raises(EvaluationError, match=said):
        PictureFolder(tmp_path).claim(now)


def test_records_are_written_when_they_change(tmp_path: Path) -> None:
    folder = PictureFolder(tmp_path)
    folder.keep_record("a.jsonl", ["one"])
    before = (folder.images / "a.jsonl").stat()
    folder.keep_record("a.jsonl", ["one"])
    assert (folder.images / "a.jsonl").stat().st_ino == before.st_ino
    folder.keep_record("a.jsonl", ["one", "two"])
    assert (folder.images / "a.jsonl").read_text() == "one\ntwo\n"


def opened(data: bytes, file: Path) -> np.ndarray:
    file.write_bytes(data)
    with Image.open(file) as image:
        return np.asarray(image)


@pytest.mark.parametrize("ending", [".png", ".webp"])
def test_grids_go_row_by_row_and_lose_nothing(tmp_path: Path, ending: str) -> None:
    rng = np.random.default_rng(0)
    tiles = [rng.integers(0, 256, (10, 14, 3), np.uint8) for _ in range(6)]
    found = opened(encoded(tiles, (3, 2), ending), tmp_path / f"grid{ending}")
    assert found.shape == (20, 42, 3)
    for number, tile in enumerate(tiles):
        row, column = divmod(number, 3)
        cut = found[row * 10 : (row + 1) * 10, column * 14 : (column + 1) * 14]
        assert np.array_equal(cut, tile)


def test_a_picture_that_failed_is_black_and_as_large_as_the_others(tmp_path: Path) -> None:
    shown, nothing = np.full((16, 16, 3), 9, np.uint8), np.zeros((64, 64, 3), np.uint8)
    found = opened(encoded([nothing, shown], (2, 1), ".png"), tmp_path / "grid.png")
    assert found.shape == (16, 32, 3)
    assert not found[:, :16].any() and (found[:, 16:] == 9).all()
    alone = opened(encoded([nothing], (1, 1), ".png"), tmp_path / "alone.png")
    assert alone.shape == (64, 64, 3) and not alone.any()
