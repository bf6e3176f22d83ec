"""Tools that hang, raise, end, or give no picture: each is one sentence, within its time."""

from __future__ import annotations

import io
import json
import os
import resource
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest

from policies.errors import ConfigError
from policies.interface import Picture
from policies.pictures import png
from policies.tools import process as processes
from policies.tools.process import ToolFailed, ToolProcess, ToolUnusable, tool_process
from policies.tools.specs import Spec, parse_specs, require_specs
from tests.mutations import BYTE_CHANGES, bounded, mutants
from tests.policies.tools.painting import paint

HERE = "tests.policies.tools.painting"
DEADLINE = 2.0


@pytest.fixture(scope="module")
def tool() -> Iterator[ToolProcess]:
    made = ToolProcess(Spec("odd", "python", f"{HERE}:misbehave"), DEADLINE, 60.0)
    yield made
    made.close()


def failure(tool: ToolProcess, prompt: str, size: tuple[int, int] | None = None) -> str:
    with pytest.raises(ToolFailed) as error:
        tool.draw(prompt, 1, size)
    said = str(error.value)
    said.encode()
    assert "\n" not in said and 20 < len(said) < 600 and "Traceback" not in said
    return said


def test_a_tool_draws_in_a_process_of_its_own(tool: ToolProcess) -> None:
    for prompt, size in (
        ("two cats", None),
        ("ö→猫 🦄", (24, 8)),
        ("x" * 4000, None),
        ("🦄" * 4000, None),
    ):
        assert np.array_equal(tool.draw(prompt, 5, size), paint(prompt, 5, size))
    assert tool.starts == 1


@pytest.mark.parametrize(
    ("prompt", "said"),
    [
        ("raise x", "The tool odd failed: RuntimeError: no raise x and a second line."),
        ("exit now", "The tool odd failed: SystemExit: 3."),
        ("nothing at all", "it gave no picture"),
        ("text", "it gave a str, no array"), ("number", "it gave a int, no array"),
        ("list", "it gave a list"), ("float", r"it gave float64 (8, 8, 3), not uint8"),
        ("nan", "it gave float64"), ("object", "it gave object (1,)"), ("grey", "it gave uint8 (8, 8)"),
        ("alpha", "it gave uint8 (8, 8, 4)"), ("empty", "it gave uint8 (0, 8, 3)"),
        ("input", "failed: EOFError"),
    ],
)  # fmt: skip
def test_what_is_no_picture_fails_and_the_tool_goes_on(
    tool: ToolProcess, prompt: str, said: str
) -> None:
    before = tool.starts
    assert said in failure(tool, prompt)
    assert np.array_equal(tool.draw("red", 1, None), paint("red", 1)) and tool.starts == before


def test_a_picture_of_another_size_than_was_asked_for_fails(tool: ToolProcess) -> None:
    assert "gave 32 x 32 pixels where 16 x 24 were asked for" in failure(tool, "larger", (16, 24))
    assert tool.draw("larger", 1, None).shape == (32, 32, 3)


def test_a_picture_without_bounds_fails(tool: ToolProcess) -> None:
    assert "it gave (9000, 9000, 3), and a side has at most 8192" in failure(tool, "huge")


def test_what_a_tool_prints_is_no_answer(tool: ToolProcess) -> None:
    assert np.array_equal(tool.draw("print this", 1, None), paint("print this", 1))


@pytest.mark.parametrize("prompt", ["hang", "spin", "leave a child"])
def test_a_tool_that_hangs_is_killed_with_its_children_and_started_anew(
    prompt: str, tool: ToolProcess
) -> None:
    tool.draw("red", 1, None)
    process, before = tool._process, tool.starts
    assert process is not None
    started = time.monotonic()
    assert "did not answer within 2 s (policy.tool_deadline)" in failure(tool, prompt)
    assert time.monotonic() - started < DEADLINE + 5
    with pytest.raises(ProcessLookupError):  # nobody is left in its group
        for _ in range(100):
            os.killpg(process.pid, 0)
            time.sleep(0.05)
    assert np.array_equal(tool.draw("red", 1, None), paint("red", 1)) and tool.starts == before + 1


def test_a_tool_that_ends_fails_one_call(tool: ToolProcess) -> None:
    assert "The tool odd ended (exit code 7)." in failure(tool, "die")
    assert np.array_equal(tool.draw("red", 1, None), paint("red", 1))


@pytest.mark.parametrize("prompt", ["hang", "leave a child"])
def test_the_process_ends_with_whoever_asked_it(prompt: str) -> None:
    """Also while its tool hangs, and with all that it started: nobody is there to kill it."""
    program = (
        "from policies.tools.process import ToolProcess; from policies.tools.specs import Spec\n"
        f"tool = ToolProcess(Spec('odd', 'python', '{HERE}:misbehave'), 60, 60)\n"
        "tool.draw('red', 1, None)\n"
        "import threading, os, time\n"
        f"threading.Thread(target=tool.draw, args=({prompt!r}, 1, None), daemon=True).start()\n"
        "time.sleep(0.3); print(tool._process.pid, flush=True); os._exit(1)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60
    )
    pid = int(done.stdout)
    for _ in range(200):
        if not alive_in_group(pid):
            return
        time.sleep(0.05)
    raise AssertionError("the tool's processes go on")


def alive_in_group(leader: int) -> list[int]:
    found = []
    for file in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):  # it has ended meanwhile
            state, _, group = file.read_text().rpartition(")")[2].split()[:3]
            if int(group) == leader and state != "Z":
                found.append(int(file.parent.name))
    return found


@pytest.mark.parametrize(
    ("where", "said"),
    [
        ("no.such.module:f", "No module named 'no'"),
        (f"{HERE}:missing", "has no attribute 'missing'"),
        (f"{HERE}:unloadable", "TypeError: got an unexpected keyword argument 'prompt'"),
        (f"{HERE}:fickle?sead=3", "TypeError: got an unexpected keyword argument 'sead'"),
    ],
)
def test_a_tool_that_can_draw_nothing_is_named_with_why(where: str, said: str) -> None:
    (spec,) = parse_specs((f"draw=python:{where}",))
    where = spec.where
    with pytest.raises(ToolUnusable) as error:
        ToolProcess(spec, DEADLINE, 60.0).draw("red", 1, None)
    message = str(error.value)
    assert message.startswith(f"policy.tools names draw as python:{where}, which cannot be used: ")
    assert said in message and "\n" not in message


@pytest.mark.parametrize(
    ("text", "taken"),
    [
        ("draw=python:m:f?seed=3", "seed"),
        ("draw=endpoint:m?n=2", "n"),
        ("draw=diffusers:f?height=8", "height"),
    ],
)
def test_an_option_that_each_call_gives_itself_is_refused(text: str, taken: str) -> None:
    with pytest.raises(ConfigError, match=f"its option {taken} is what each call says"):
        parse_specs((text,))


def test_a_tool_is_heard_in_a_process_with_many_open_files(tool: ToolProcess) -> None:
    tool.draw("red", 1, None)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(hard, 4096)), hard))
    tool.close()
    held = [os.dup(0) for _ in range(1100)]
    try:
        assert np.array_equal(tool.draw("red", 1, None), paint("red", 1))
    finally:
        for each in held:
            os.close(each)
        tool.close()
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_a_start_that_hangs_is_given_up(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "sleeping_tool.py").write_text("import time\ntime.sleep(3600)\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(ToolUnusable, match="it did not start within 1 s"):
        ToolProcess(Spec("draw", "python", "sleeping_tool:f"), DEADLINE, 1.0).draw("red", 1, None)


def test_one_process_serves_all_policies_of_a_program() -> None:
    (spec,) = parse_specs((f"draw=python:{HERE}:paint",))
    assert tool_process(spec, 60.0) is tool_process(spec, 60.0)
    assert tool_process(spec, 60.0) is not tool_process(spec, 61.0)


# What a process itself may say, whatever runs in it


class Lying:
    """Stands where `policies.tools.child` is run, and answers each call with the same bytes."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, answer: bytes) -> None:
        ready = head({"ready": True})
        program = (
            "import sys, struct\n"
            "def read(): n = struct.unpack('>I', sys.stdin.buffer.read(4))[0]; sys.stdin.buffer.read(n)\n"
            f"read(); out = sys.stdout.buffer; out.write({ready!r}); out.flush()\n"
            f"read(); out.write({answer!r}); out.flush()\nsys.stdin.buffer.read()\n"
        )
        start = subprocess.Popen
        monkeypatch.setattr(
            processes.subprocess, "Popen",
            lambda _, **how: start([sys.executable, "-S", "-c", program], **how),
        )  # fmt: skip


def head(said: object) -> bytes:
    data = said if isinstance(said, bytes) else json.dumps(said).encode()
    return struct.pack(">I", len(data)) + data


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (struct.pack(">I", 2**32 - 1), "ended"),
        (head(b"{"), "ended"), (head(b"\xff\xfe"), "ended"), (head(b"[" * 5000), "ended"),
        (head([1]), "something else"), (head({}), "something else"),
        (head({"shape": [8, 8]}), "something else"), (head({"shape": [8, 8, 4]}), "something else"),
        (head({"shape": [0, 8, 3]}), "something else"), (head({"shape": [-8, -8, 3]}), "something else"),
        (head({"shape": [True, 8, 3]}), "something else"), (head({"shape": [1e9, 8, 3]}), "something else"),
        (head({"shape": [10**12, 10**12, 3]}), "something else"), (head({"shape": "8x8"}), "something else"),
        (head({"file": -1}), "something else"), (head({"file": 10**12}), "something else"),
        (head({"file": 5}) + b"hello", "is not a picture that Pillow reads"),
        (head({"file": 0}), "is not a picture that Pillow reads"),
        (head({"shape": [8, 8, 3]}) + b"short", "did not answer within 1 s"),
        (head({"failed": "a\nb " * 400}), "failed: a b"), (head({"failed": {"a": 1}}), "failed:"),
    ],
)  # fmt: skip
def test_a_process_that_lies_is_not_believed(
    monkeypatch: pytest.MonkeyPatch, answer: bytes, said: str
) -> None:
    Lying(monkeypatch, answer)
    tool = ToolProcess(Spec("odd", "python", "m:f"), 1.0, 30.0)
    assert said in failure(tool, "red")
    tool.close()


class Said:
    """Stands for a process that has said something and ended."""

    def __init__(self, said: bytes) -> None:
        reading, writing = os.pipe()
        os.write(writing, said)
        os.close(writing)
        self.stdin, self.stdout = io.BytesIO(), os.fdopen(reading, "rb")


def test_mutated_replies_are_pictures_or_failures() -> None:
    tool = ToolProcess(Spec("odd", "python", "m:f"), 5.0)
    pixels, file = paint("x", 1), png(Picture(paint("x", 1)))
    good = (
        head({"shape": list(pixels.shape)}) + pixels.tobytes(),
        head({"file": len(file)}) + file,
        head({"failed": "no luck"}),
        head({"unusable": "no key"}),
    )
    counts = {"drawn": 0, "failed": 0, "ended": 0, "unusable": 0}
    for name, _, mutant in mutants(84, 3000, good, BYTE_CHANGES):
        process = Said(mutant)
        with bounded(name):
            try:
                kind, drawn = "drawn", tool._asked(process, {})  # type: ignore[arg-type]
                assert drawn.dtype == np.uint8 and drawn.ndim == 3 and drawn.shape[2] == 3
            except ToolFailed as error:
                kind = "failed"
                assert "\n" not in str(error) and len(str(error)) < 600, name
            except ToolUnusable:
                kind = "unusable"
            except EOFError:
                kind = "ended"
        counts[kind] += 1
        process.stdout.close()
    assert min(counts.values()) > 20, counts


# Names


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("draw", "NAME=KIND:WHERE"), ("draw=python", "NAME=KIND:WHERE"), ("draw=shell:rm", "KIND one of"),
        ("Draw=endpoint:m", "small letters"), ('a"b=endpoint:m', "small letters"), ("=endpoint:m", "NAME="),
        ("draw=python:module", "must be module:function"), ("draw=python:a b:c", "module:function"),
        ("draw=endpoint:", "NAME="), ("x" * 33 + "=endpoint:m", "small letters"),
    ],
)  # fmt: skip
def test_tools_that_are_named_wrongly_are_refused(text: str, said: str) -> None:
    with pytest.raises(ConfigError, match="^policy.tools has ") as error:
        parse_specs((text,))
    assert said in str(error.value) and "\n" not in str(error.value)


def test_tools_are_named_with_their_options() -> None:
    specs = parse_specs(
        (
            "draw=diffusers:/models/turbo?guidance_scale=0.0&num_inference_steps=1",
            "paint=endpoint:org/model:latest?quality=hd&seeded=true",
        )
    )
    assert specs[0] == Spec(
        "draw", "diffusers", "/models/turbo", {"guidance_scale": 0.0, "num_inference_steps": 1}
    )
    assert specs[1] == Spec(
        "paint", "endpoint", "org/model:latest", {"quality": "hd", "seeded": True}
    )
    with pytest.raises(ConfigError, match="has the name 'draw' twice"):
        parse_specs(("draw=endpoint:a", "draw=endpoint:b"))
    with pytest.raises(ConfigError, match="policy.tools is empty"):
        require_specs(())
