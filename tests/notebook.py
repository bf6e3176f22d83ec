"""Executes docs/notebook.ipynb where it leaves no run behind.

`python -m tests.notebook` writes its outputs into the file, as they are committed.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import nbformat
from nbclient import NotebookClient

ROOT = Path(__file__).resolve().parents[1]
FILE = ROOT / "docs" / "notebook.ipynb"
CELL_S = 1500
"""A limit for a hang, not for a busy machine."""


def execute(folder: Path) -> nbformat.NotebookNode:
    """The notebook with the outputs that it has in `folder`. Raises CellExecutionError."""
    # A Ray of its own, for the kernel and all that it starts.
    alone = {"RAY_AUTH_MODE": "disabled", "RAY_ADDRESS": "", "PYTHONPATH": str(ROOT)}
    notebook = nbformat.read(FILE, as_version=4)
    resources = {"metadata": {"path": str(folder)}}
    client = NotebookClient(
        notebook, timeout=CELL_S, resources=resources, record_timing=False, kernel_name="python3",
        coalesce_streams=True,
    )  # fmt: skip
    done = client.execute(env={**os.environ, **alone})
    for cell in done.cells:  # what libraries miss on this machine is nobody else's news
        if "outputs" in cell:
            cell.outputs = [each for each in cell.outputs if each.get("name") != "stderr"]
    return done


def texts(notebook: nbformat.NotebookNode) -> str:
    """All that its cells printed and gave."""
    found = []
    for output in outputs(notebook):
        found += [output.get("text", ""), output.get("data", {}).get("text/plain", "")]
    return "\n".join(found)


def pictures(notebook: nbformat.NotebookNode) -> list[str]:
    """The figures of its cells, as base64."""
    shown = (output.get("data", {}).get("image/png") for output in outputs(notebook))
    return [each for each in shown if each]


def outputs(notebook: nbformat.NotebookNode) -> list[nbformat.NotebookNode]:
    return [output for cell in notebook.cells for output in cell.get("outputs", [])]


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as made:
        nbformat.write(execute(Path(made)), FILE)
