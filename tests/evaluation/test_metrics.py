"""metrics.jsonl keeps one row a measurement, whole, whatever is done twice."""

from __future__ import annotations

import pytest

from evaluation.metrics import MetricsError, append_metrics, read_metrics, read_rows


def test_rows_come_back_in_order(tmp_path):
    rows = [{"kind": "evaluation", "version": 0, "x": 1.5}, {"kind": "round", "round": 1, "y": 2}]
    assert [append_metrics(tmp_path, row, 1.0) for row in rows] == [True, True]
    assert read_metrics(tmp_path) == rows


def test_the_first_row_of_a_name_stays(tmp_path):
    append_metrics(tmp_path, {"kind": "evaluation", "version": 0, "x": 1}, 1.0)
    assert not append_metrics(tmp_path, {"kind": "evaluation", "version": 0, "x": 2}, 1.0)
    assert append_metrics(tmp_path, {"kind": "round", "round": 0, "x": 3}, 1.0)
    assert [row["x"] for row in read_metrics(tmp_path)] == [1, 3]


def test_a_run_without_metrics_has_none(tmp_path):
    assert read_metrics(tmp_path) == []


def test_what_is_not_defined_is_left_out(tmp_path):
    append_metrics(tmp_path, {"kind": "round", "round": 1, "a": float("nan"), "b": 1.0}, 1.0)
    assert read_metrics(tmp_path) == [{"kind": "round", "round": 1, "b": 1.0}]


def test_a_damaged_line_is_named(tmp_path):
    (tmp_path / "metrics.jsonl").write_text('{"kind": "round", "round": 1}\n{"kind": \n')
    with pytest.raises(MetricsError, match=r"metrics\.jsonl line 2 .*delete that line"):
        read_metrics(tmp_path)


def test_a_line_that_is_still_being_written_is_left_out(tmp_path):
    (tmp_path / "train.jsonl").write_text('{"step": 1}\n{"step": 2')
    assert read_rows(tmp_path / "train.jsonl") == [{"step": 1}]


@pytest.mark.parametrize("row", [{"version": 1}, {"kind": "evaluation"}, {"kind": "round"}])
def test_a_row_without_a_name_is_refused(tmp_path, row):
    with pytest.raises(MetricsError, match="needs a kind and a whole number"):
        append_metrics(tmp_path, row, 1.0)
