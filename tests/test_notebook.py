"""The notebook of docs/ runs as it stands, and is committed with what it shows."""

from __future__ import annotations

from pathlib import Path

import nbformat
import pytest

from tests.notebook import FILE, execute, pictures, texts


def test_the_notebook_is_committed_with_its_outputs() -> None:
    committed = nbformat.read(FILE, as_version=4)
    nbformat.validate(committed)
    assert "finished | report runs/smoke/report.html" in texts(committed)
    assert len(pictures(committed)) == 2
    assert FILE.stat().st_size < 200_000
    numbers = [cell["execution_count"] for cell in committed.cells if cell.cell_type == "code"]
    assert numbers == list(range(1, len(numbers) + 1))


@pytest.mark.slow
def test_the_notebook_runs_the_smoke_recipe_in_its_own_event_loop(tmp_path: Path) -> None:
    done = execute(tmp_path)
    assert "finished | report runs/smoke/report.html" in texts(done)
    assert "2 rounds; of the last one's 40 groups" in texts(done)
    assert len(pictures(done)) == 2
    assert (tmp_path / "runs/smoke/versions/00002").is_dir()
