"""Tables of benchmarks, some with pictures as text in a field."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from evaluation.benchmarks import rows
from evaluation.benchmarks.benchmark import BenchmarkError


def test_a_field_may_be_a_picture_and_other_readers_keep_their_limit(tmp_path: Path) -> None:
    before = csv.field_size_limit()
    picture = "a" * (before + 1)
    (tmp_path / "own.tsv").write_text(f"index\timage\n1\t{picture}\n")
    assert rows.table(tmp_path / "own.tsv")[0].fields["image"] == picture
    (tmp_path / "torn.csv").write_text('index,image\n1,"a')
    with pytest.raises(BenchmarkError, match="line 2: it is no table"):
        rows.table(tmp_path / "torn.csv")
    assert csv.field_size_limit() == before
