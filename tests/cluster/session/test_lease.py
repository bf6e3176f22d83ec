"""Two drivers on one run in a bucket: the second is refused, unless the first is dead."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import obstore
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


@pytest.mark.slow
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


RACER = """
import sys, time
from actors.storage.paths import parse_path
from cluster.session import lease
from cluster.session.driver import driving
from cluster.session.lock import RunBusy
lease.BEAT_S, lease.DEAD_S = 0.2, 1
print("here", flush=True)
sys.stdin.readline()
try:
    with driving(parse_path(sys.argv[1]), lambda text: None):
        print("driving", flush=True)
        sys.stdin.readline()
except RunBusy:
    print("refused", flush=True)
"""


@pytest.mark.slow
@pytest.mark.parametrize("before", ["nothing", "a free lease", "one of a dead driver"])
def test_of_drivers_that_start_together_one_holds_the_lease(place: BucketPath, before: str) -> None:
    if before != "nothing":
        storage.write(place / FILE, b"" if before == "a free lease" else b'{"token": "of old"}')
    racers = [
        subprocess.Popen(
            [sys.executable, "-c", RACER, str(place)], cwd=ROOT, text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        )
        for _ in range(3)
    ]  # fmt: skip
    try:
        assert [read_line(racer) for racer in racers] == ["here\n"] * 3
        for racer in racers:
            go_on(racer)
        assert sorted(map(read_line, racers)) == ["driving\n", "refused\n", "refused\n"]
        time.sleep(1)  # of beats, which leave it with who has it
        assert sum(racer.poll() is None for racer in racers) == 1
        for racer in racers:
            go_on(racer)
            assert racer.wait(60) == 0
    finally:
        for racer in racers:
            racer.kill()


def read_line(racer: subprocess.Popen[str]) -> str:
    assert racer.stdout is not None
    return racer.stdout.readline()


def go_on(racer: subprocess.Popen[str]) -> None:
    assert racer.stdin is not None
    with suppress(BrokenPipeError):  # it was refused
        racer.stdin.write("\n")
        racer.stdin.flush()


def test_a_server_that_ignores_conditions_is_refused(
    place: BucketPath, monkeypatch: pytest.MonkeyPatch
) -> None:
    put = obstore.put
    monkeypatch.setattr(obstore, "put", lambda at, key, data, mode=None: put(at, key, data))
    with (
        pytest.raises(lease.LeaseImpossible, match=rf"the server of {place} ignores the condition"),
        driving(place, print),
    ):
        pass


def test_a_lost_answer_does_not_lose_the_lease(place: BucketPath, quick: None) -> None:
    """The beat is stored, and who wrote it hears nothing."""
    own = lease.Lease(place, None)
    own.beat()
    BucketStorage().swap(place / FILE, b"... " + own._token.encode(), own._seen)
    own.beat()
    other = lease.Lease(place, None)
    with pytest.raises(RunBusy, match=f"process {os.getpid()} on"):
        other.beat()
