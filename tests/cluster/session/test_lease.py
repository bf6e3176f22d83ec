"""Two drivers on one run in a bucket: the second is refused, unless the first is dead."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from actors.storage import events, storage
from actors.storage.bucket import BucketStorage
from actors.storage.paths import BucketPath
from cluster.session import lease
from cluster.session.driver import driving
from cluster.session.lock import FILE, RunBusy

ROOT = Path(__file__).parents[3]
DRIVER = """
import sys, time
from actors.storage.paths import parse_path
from cluster.session import lease
from cluster.session.driver import driving
lease.BEAT_S = 0.5
with driving(parse_path(sys.argv[1]), print):
    print("driving", flush=True)
    time.sleep(600)
"""


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lease, "BEAT_S", 0.5)
    monkeypatch.setattr(lease, "DEAD_S", 4)


def start(place: BucketPath) -> subprocess.Popen[str]:
    driver = subprocess.Popen(
        [sys.executable, "-c", DRIVER, str(place)], cwd=ROOT, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    assert driver.stdout is not None and driver.stdout.readline() == "driving\n"
    return driver


def test_the_second_driver_is_refused_until_the_first_is_dead(
    place: BucketPath, quick: None
) -> None:
    first, told = start(place), list[str]()
    try:
        with (
            pytest.raises(
                RunBusy, match=rf"the run in {place} is .* process {first.pid} on .*: wait"
            ),
            driving(place, told.append),
        ):
            pass
        os.kill(first.pid, signal.SIGKILL)
        first.wait(60)
        with driving(place, told.append):
            assert storage.exists(place / FILE)
    finally:
        first.kill()
    assert told == ["another driver has left its lease: 4 s will show whether it lives"] * 2
    with driving(place, told.append):
        assert len(told) == 2  # who ends well leaves a lease that nobody waits for
    assert within(10, lambda: len(events.read(place)) == 3)  # told in threads
    assert {event["pid"] for event in events.read(place)} == {first.pid, os.getpid()}


def within(seconds: float, true: Callable[[], bool]) -> bool:
    end = time.monotonic() + seconds
    while not true() and time.monotonic() < end:
        time.sleep(0.1)
    return true()


def test_a_driver_whose_lease_is_gone_ends(place: BucketPath, quick: None) -> None:
    """Another one went on, and came to its end."""
    first = start(place)
    try:
        BucketStorage().delete(place / FILE)
        assert first.wait(60) == 2
    finally:
        first.kill()


def test_a_driver_whose_lease_was_taken_ends(place: BucketPath, quick: None) -> None:
    """It had been cut off from the bucket, and another one went on."""
    first = start(place)
    try:
        first.send_signal(signal.SIGSTOP)
        with driving(place, lambda text: None):
            first.send_signal(signal.SIGCONT)
            _, errors = first.communicate(timeout=60)
            time.sleep(1)
        assert first.returncode == 2
        assert f"unicorn-ray: the run in {place} is being done by process {os.getpid()} " in errors
    finally:
        first.kill()
