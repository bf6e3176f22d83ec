"""A Ray that is killed under a command: real processes, real SIGKILL."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from actors import events
from cluster.own_ray import HEAD, head

ROOT = Path(__file__).parents[2]
WAITS = """
import sys, threading, time
from cluster import cli, own_ray
own_ray.settle()

def wait(args):
    with own_ray.connected():
        import ray
        never = ray.remote(num_cpus=0)(lambda: time.sleep(600)).remote()
        threading.Thread(target=ray.get, args=(never,), daemon=True).start()
        print("waiting", flush=True)
        time.sleep(600)

cli._report = wait
sys.exit(cli.main(["report", "x"]))
"""
SOON_S = 30.0


def start(*command: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, *command],
        cwd=ROOT,
        env={**os.environ, "RAY_AUTH_MODE": "disabled", "RAY_ADDRESS": ""},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


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
    names: tuple[str, ...],
) -> None:
    run = start("-c", WAITS)
    assert run.stdout is not None and run.stdout.readline() == "waiting\n", run.communicate()
    left = head(run.pid)
    kill_head(run, names)
    assert ended(run).startswith("unicorn-ray: Ray ended while it was being used")
    end = time.monotonic() + SOON_S
    while any(events.born(pid) for pid in left):
        assert time.monotonic() < end, "a part of Ray is left"
        time.sleep(0.05)


def test_ctrl_c_is_no_end_of_ray() -> None:
    run = start("-c", WAITS)
    assert run.stdout is not None and run.stdout.readline() == "waiting\n", run.communicate()
    run.send_signal(signal.SIGINT)
    _, err = run.communicate(timeout=SOON_S)
    assert run.returncode == 130 and "stopped; " in err and "Ray ended" not in err


@pytest.mark.parametrize("moment", ["while it starts", "in a round"])
def test_a_run_whose_ray_is_killed_ends_soon_and_goes_on_when_run_again(
    tmp_path: Path, moment: str
) -> None:
    command = ("-m", "cluster", "run", "configs/chaos.yaml", f"folder={tmp_path}", "rounds=1")
    run = start(*command)
    file = tmp_path / "chaos" / ("train.jsonl" if moment == "in a round" else "events.jsonl")
    wait_until(lambda: len(head(run.pid)) == len(HEAD) and file.exists(), run, moment)
    kill_head(run)
    assert ended(run).startswith("unicorn-ray: Ray ended while it was being used")
    again = start(*command)
    out, err = again.communicate(timeout=300)
    assert again.returncode == 0 and "finished" in out, err
