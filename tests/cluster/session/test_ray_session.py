"""A Ray that is killed under a command: real processes, real SIGKILL."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from actors.storage import events
from cluster.session.ray_session import HEAD, head
from trainer.journal import JOURNAL

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[3]
WAITS = """
import sys, threading, time
from cluster import cli
from cluster.session import ray_session
ray_session.settle()

def wait(args):
    with ray_session.connected():
        import ray
        never = ray.remote(num_cpus=0)(lambda: time.sleep(600)).remote()
        threading.Thread(target=ray.get, args=(never,), daemon=True).start()
        print("waiting", flush=True)
        time.sleep(600)

cli.COMMANDS["report"] = (cli._takes_folder, wait, "")
sys.exit(cli.main(["report", "x"]))
"""
SOON_S = 60.0
Start = Callable[..., subprocess.Popen[str]]


@pytest.fixture
def start() -> Iterator[Start]:
    """Starts a command of Python; none of them outlives its test."""
    started = []

    def start_(*command: str) -> subprocess.Popen[str]:
        run = subprocess.Popen(
            [sys.executable, *command],
            cwd=ROOT,
            env={**os.environ, "RAY_AUTH_MODE": "disabled", "RAY_ADDRESS": ""},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        started.append(run)
        return run

    yield start_
    for run in started:
        run.kill()
        run.communicate(timeout=60)


def waiting(start: Start) -> subprocess.Popen[str]:
    """A command that has its Ray and waits; on a busy machine Ray may need a few tries."""
    for _ in range(5):
        run = start("-c", WAITS)
        assert run.stdout is not None
        if run.stdout.readline() == "waiting\n":
            return run
        assert "did not come up" in run.communicate(timeout=60)[1]
    raise AssertionError("Ray did not come up in 5 tries")


def wait_until(there: Callable[[], object], run: subprocess.Popen[str], what: str) -> None:
    end = time.monotonic() + 240
    while not there():
        assert run.poll() is None, run.communicate()
        assert time.monotonic() < end, f"waited 240 s for {what}"
        time.sleep(0.05)


def kill_head(run: subprocess.Popen[str], names: Sequence[str] = HEAD) -> None:
    for pid in head(run.pid):
        if Path(f"/proc/{pid}/comm").read_text().strip() in names:
            os.kill(pid, signal.SIGKILL)


def ended(run: subprocess.Popen[str]) -> str:
    """What it said at last, which it did soon."""
    _, err = run.communicate(timeout=SOON_S)
    assert run.returncode == 2, err
    return err.splitlines()[-1]


@pytest.mark.parametrize("names", [("raylet",), ("gcs_server",)])
def test_a_ray_that_is_killed_is_noticed_at_once_wherever_the_command_waits(
    start: Start, names: tuple[str, ...]
) -> None:
    run = waiting(start)
    left = head(run.pid)
    kill_head(run, names)
    assert ended(run).startswith("unicorn-ray: Ray ended while it was being used")
    end = time.monotonic() + SOON_S
    while any(events.born(pid) for pid in left):
        assert time.monotonic() < end, "a part of Ray is left"
        time.sleep(0.05)


def test_ctrl_c_is_no_end_of_ray(start: Start) -> None:
    run = waiting(start)
    run.send_signal(signal.SIGINT)
    _, err = run.communicate(timeout=SOON_S)
    assert run.returncode == 130 and "stopped; " in err and "Ray ended" not in err


def test_a_run_whose_ray_is_killed_ends_soon_and_goes_on_when_run_again(
    start: Start, tmp_path: Path
) -> None:
    """First while it starts, then in a round, and then it comes to its end."""
    small = (
        "rounds=1",
        "evaluation.prompts=10",
        "evaluation.scenes=5",
        "evaluation.tasks=[]",
        "actors.task_deadline=600",
    )
    command = ("-m", "cluster", "run", "configs/chaos.yaml", f"folder={tmp_path}", *small)
    folder = tmp_path / "chaos"
    for come, what in (
        (lambda: any(e["who"] == "weight store" for e in events.read(folder)), "its start"),
        ((folder / JOURNAL).exists, "a step of training"),
    ):
        run = start(*command)
        wait_until(come, run, what)
        kill_head(run)
        assert ended(run).startswith("unicorn-ray: Ray ended while it was being used")
    last = start(*command)
    out, err = last.communicate(timeout=600)
    assert last.returncode == 0 and "finished" in out, err
