"""A run's gallery: it comes back under its link, and is never the run's trouble."""

from __future__ import annotations

import os
import signal
import socket
import time
import urllib.request
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from actors.storage import events
from cluster.gallery.address import GalleryAddress
from cluster.gallery.host import beside
from tests.cluster.gallery.gallery_samples import add, plain_group, run_folder

pytestmark = pytest.mark.slow

LONG_S = 180.0  # a limit for a hang, not for a busy machine


def wait(until: Callable[[], object], what: str) -> None:
    end = time.monotonic() + LONG_S
    while not until():
        assert time.monotonic() < end, what
        time.sleep(0.1)


def answers(link: str) -> bool:
    with suppress(OSError), urllib.request.urlopen(f"{link}api/run", timeout=10) as answer:
        return b'"groups": 1' in answer.read()
    return False


def processes(folder: Path) -> list[int]:
    return [event["pid"] for event in events.read(folder) if event["who"] == "gallery"]


def test_it_comes_back_under_its_link_and_goes_with_its_run(
    ray_cluster: str, tmp_path: Path
) -> None:
    folder, _ = run_folder(tmp_path)
    add(folder, 1, 0, plain_group(1, 0))
    told: list[str] = []
    with beside(folder, GalleryAddress.of("127.0.0.1", 0, ""), told.append):
        wait(lambda: told, "the link")
        link = told[0].removeprefix("gallery ")
        assert answers(link)
        os.kill(processes(folder)[0], signal.SIGKILL)
        wait(lambda: len(processes(folder)) == 2, "another process")
        wait(lambda: answers(link), "the same link")
    wait(lambda: not answers(link), "its end")
    assert len(told) == 1


def test_a_port_that_is_taken_costs_the_gallery_and_nothing_else(
    ray_cluster: str, tmp_path: Path
) -> None:
    folder, _ = run_folder(tmp_path)
    told: list[str] = []
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        began = time.monotonic()
        with beside(folder, GalleryAddress.of("127.0.0.1", port, ""), told.append):
            assert time.monotonic() - began < LONG_S and told == []
            wait(lambda: told, "what is wrong")
    assert told == [
        f"no gallery: the gallery cannot listen at 127.0.0.1:{port} (Address already in use): give "
        "another port, or 0 for any that is free"
    ]


def test_a_run_shorter_than_the_start_of_its_gallery_hears_nothing(
    ray_cluster: str, tmp_path: Path
) -> None:
    folder, _ = run_folder(tmp_path)
    told: list[str] = []
    with beside(folder, GalleryAddress.of("127.0.0.1", 0, ""), told.append):
        pass
    with beside(folder, None, told.append):
        pass
    assert not [text for text in told if "no gallery" in text]


def test_a_gallery_that_cannot_start_is_told_in_one_line(ray_cluster: str, tmp_path: Path) -> None:
    told: list[str] = []
    with beside(tmp_path / "nothing", GalleryAddress.of("127.0.0.1", 0, ""), told.append):
        wait(lambda: told, "what is wrong")
    assert len(told) == 1 and "\n" not in told[0] and "is not a run folder" in told[0]
