"""The house keeps its shape: who may import whom, and what an import may cost."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from policies.registry import FAMILIES
from tests.house import PAGE, STOREYS, arrows, drawn, figure, imports

ROOT = Path(__file__).resolve().parents[1]
FILES = [path for storey in STOREYS for path in sorted((ROOT / storey).rglob("*.py"))]
NEVER_AT_IMPORT = (
    "vllm", "flash_attn", "transformers", "diffusers", "nudenet", "imagehash", "openai", "rapidocr_onnxruntime",
    "fastapi", "starlette",
)  # fmt: skip
WHEN_ASKED = (
    *(f"policies.{name}." for name in ("janus", "chameleon", "emu3", "showo", "engines.vllm")),
    *(f"cluster.serving.{name}" for name in ("calling", "gateway", "model")),
)  # fmt: skip
"""They alone need transformers, vllm and Ray Serve, and are imported when a run asks for them."""


def found(storeys: tuple[str, ...], wrong: object) -> list[str]:
    assert callable(wrong)
    return [
        f"{path.relative_to(ROOT)}:{line} imports {name}"
        for path in FILES
        if path.relative_to(ROOT).parts[0] in storeys
        for line, name in imports(path)
        if wrong(name)
    ]


@pytest.mark.parametrize("storey", STOREYS)
def test_imports_go_down_only(storey: str) -> None:
    above = STOREYS[STOREYS.index(storey) + 1 :]
    assert found((storey,), lambda name: name.split(".")[0] in above) == []


@pytest.mark.parametrize("storey", ["actors", "cluster"])
def test_the_rooms_of_a_storey_import_in_no_circle(storey: str) -> None:
    """Rooms that import nothing that is left are taken away; a circle is what remains."""
    left = arrows(storey)
    assert len(left) > 5 and any(left.values())
    while done := {name for name, needs in left.items() if not needs & set(left)}:
        left = {name: needs for name, needs in left.items() if name not in done}
    assert left == {}


def test_the_replica_is_on_top_of_its_storey() -> None:
    found = arrows("actors")
    assert [name for name, needs in found.items() if "actors.replica" in needs] == []
    assert found["actors.replica"] >= {"actors.pool", "actors.roles", "actors.weights"}


def test_the_figure_of_the_house_is_true() -> None:
    page = PAGE.read_text()
    assert drawn(page, figure()) == page, "draw it anew: python -m tests.house"


def test_a_policy_knows_nothing_of_ray() -> None:
    assert found(("policies",), lambda name: name.split(".")[0] == "ray") == []


@pytest.mark.parametrize("family", sorted(FAMILIES))
def test_no_family_is_made_of_another(family: str) -> None:
    """What two need is in a room of its own. A toy is taught in the tiny world, and may begin with the parts
    of another."""
    others = tuple(f"policies.{name}." for name in FAMILIES if name not in (family, "tiny"))
    own = [path for path in (ROOT / "policies" / family).rglob("*.py") if "toy" not in path.parts]
    wrong = [
        (path.name, name)
        for path in own
        for _, name in imports(path)
        if f"{name}.".startswith(others)
    ]
    assert wrong == []


def test_the_oracle_only_measures() -> None:
    learns = tuple(storey for storey in STOREYS if storey != "evaluation")
    oracle = re.compile(r"(^|\.)\w*oracle\w*(\.|$)", re.IGNORECASE)
    assert found(learns, lambda name: oracle.search(name) is not None) == []


def test_the_program_imports_neither_tests_nor_benchmarks() -> None:
    assert found(STOREYS, lambda name: name.split(".")[0] in ("tests", "benchmarks")) == []


def test_importing_everything_needs_no_engine() -> None:
    """vllm, flash-attn and the filters are options, and transformers takes seconds: all but what a run asks for
    must be imported without."""
    modules = [
        ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        for path in FILES
        if path.stem != "__main__"
    ]
    modules = [name for name in modules if not name.startswith(WHEN_ASKED)]
    program = (
        "import importlib, json, sys\n"
        f"sys.modules.update(dict.fromkeys({NEVER_AT_IMPORT!r}))  # None: an import of it fails\n"
        f"for name in {modules!r}: importlib.import_module(name)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr


def test_the_command_line_starts_light() -> None:
    program = "import json, sys, cluster.cli; print(json.dumps(sorted(sys.modules)))"
    out = subprocess.check_output([sys.executable, "-c", program], cwd=ROOT, timeout=60)
    heavy = {"torch", "ray", "pyarrow", "numpy", "yaml", "pydantic", *NEVER_AT_IMPORT}
    assert heavy.isdisjoint(json.loads(out))


def test_no_file_knows_a_machine() -> None:
    # Written so that this file does not find itself.
    machine = re.compile(r"(?<![\w.])/(?:work|root|farm|home|tmp|Users)/\w")
    folders = (*STOREYS, "configs", "tests", "benchmarks", "docs")
    texts = [
        path
        for folder in folders
        for path in sorted((ROOT / folder).rglob("*"))
        if path.suffix in {".py", ".yaml", ".yml", ".json", ".md", ".html", ".sh", ".ipynb"}
    ]
    texts += [ROOT / "README.md", ROOT / "setup.cfg", ROOT / "pyproject.toml", ROOT / ".ci" / "run"]
    wrong = [
        f"{path.relative_to(ROOT)}:{number} {line.strip()[:90]}"
        for path in texts
        for number, line in enumerate(path.read_text(errors="replace").splitlines(), 1)
        if machine.search(line)
    ]
    assert wrong == []
