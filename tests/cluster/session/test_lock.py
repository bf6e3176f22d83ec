"""Two drivers on one run folder: the second is refused, unless the first is dead."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from actors.storage import events
from cluster.session.driver import driving
from cluster.session.lock import RunBusy

ROOT = Path(__file__).parents[3]
DRIVER = """
import sys, time
from pathlib import Path
from cluster.session.driver import driving
with driving(Path(sys.argv[1]), print):
    print("driving", flush=True)
    time.sleep(600)
"""


def test_the_second_driver_is_told_who_the_first_is(tmp_path: Path) -> None:
    first = subprocess.Popen(
        [sys.executable, "-c", DRIVER, str(tmp_path)], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
    try:
        assert first.stdout is not None and first.stdout.readline() == "driving\n"
        told = rf"the run in {tmp_path} is being done by process {first.pid} on .* since .*: wait"
        with pytest.raises(RunBusy, match=told), driving(tmp_path, print):
            pass
        os.kill(first.pid, signal.SIGKILL)
        first.wait(60)
        refusal = pytest.raises(RunBusy, match=f"process {os.getpid()} ")
        with driving(tmp_path, print), refusal, driving(tmp_path, print):
            pass
    finally:
        first.kill()
    assert [event["pid"] for event in events.read(tmp_path)] == [first.pid, os.getpid()]


def test_a_run_that_has_ended_leaves_the_folder_free(tmp_path: Path) -> None:
    for _ in range(2):
        with driving(tmp_path / "run", print):
            pass
