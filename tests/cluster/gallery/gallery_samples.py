"""Run folders to look at, a gallery that serves one, and a client that sends what it is told."""

from __future__ import annotations

import asyncio
import http.client
import io
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from actors.replay.records import JudgedGroup, Judgement, Rollout
from actors.replay.segment_format import SCHEMA
from actors.replay.segments import FORMAT, encode, segment_path, write_segment
from cluster.gallery import server
from cluster.gallery.address import GalleryAddress
from cluster.gallery.views import Gallery
from cluster.recipes import recipe
from policies.interface import Picture, PictureSampling, learned
from tests.cluster.report import synthetic_run as synthetic
from trainer.config import RunConfig

HOSTILE = (
    "<script>document.title='broken'</script><img src=x onerror=\"document.title='broken'\">",
    "\"'><svg onload=document.title='broken'> &lt;b&gt; </textarea>--> {{7*7}} ${7*7}",
    "\u202egnp.live\u202c \u05e9\u05dc\u05d5\u05dd \u0645\u0631\u062d\u0628\u0627 \u2066x",
    "a" * 10_000,
    "javascript:alert(1)//\x00\x07\u2028\u2029 \U0001f984",
)


def plain_group(
    round_: int, index: int, text: str = "plain paper", side: int = 8, reason: str = ""
) -> JudgedGroup:
    """Eight drawings in plain colours; number 3 is the best, number 5 has no score."""
    scores = [4.0, 5.0, 6.0, 9.0, 2.0, None, 8.0, 1.0]
    rollouts = tuple(
        Rollout(10**17 + k, PictureSampling(guidance=2.5),
                learned(Picture(np.full((side, side, 3), 20 * k, np.uint8))),
                Judgement(f"{text} {k}", score, 1))
        for k, score in enumerate(scores)
    )  # fmt: skip
    return JudgedGroup(
        round_, index, "counting" if index % 2 else "portrait", "one kind", text, 2**62 + index,
        round_ - 1, 0, rollouts, reason,
    )  # fmt: skip


def run_folder(tmp: Path, rounds: int = 3) -> tuple[Path, RunConfig]:
    """A run that has drawn nothing yet."""
    config = synthetic.small_config(tmp, rounds)
    return recipe.claim_folder(config), config


def add(folder: Path, round_: int, slice_: int, *groups: JudgedGroup) -> Path:
    return write_segment(folder / "replay", round_, slice_, groups)


def add_many(folder: Path, rounds: int, slices: int, size: int) -> None:
    """Slices that differ in their numbers alone: by far quicker than encoding each drawing."""
    one = encode(1, 0, [plain_group(1, index) for index in range(size)])
    table = pq.read_table(io.BytesIO(one))
    for round_ in range(1, rounds + 1):
        for slice_ in range(slices):
            data = _renumbered(table, round_, slice_)
            path = segment_path(folder / "replay", round_, slice_, data)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)


def _renumbered(table: pa.Table, round_: int, slice_: int) -> bytes:
    size = len(table)
    numbers = {"round": [round_] * size, "index": range(slice_ * size, slice_ * size + size)}
    for place, name in enumerate(numbers):
        field = SCHEMA.field(name)
        table = table.set_column(place, field, pa.array(numbers[name], field.type))
    place = {b"format": FORMAT, b"round": str(round_).encode(), b"slice": str(slice_).encode()}
    sink = io.BytesIO()
    pq.write_table(table.cast(SCHEMA).replace_schema_metadata(place), sink, compression="zstd")
    return sink.getvalue()


class Client:
    """Sends paths as they are, which a browser would tidy first."""

    def __init__(self, gallery: Gallery, address: GalleryAddress) -> None:
        self.gallery, self.address = gallery, address

    def get(
        self, path: str, method: str = "GET", **headers: str
    ) -> tuple[int, dict[str, str], bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", self.address.port, timeout=120)
        try:
            connection.request(method, path, headers=headers)
            answer = connection.getresponse()
            return answer.status, dict(answer.getheaders()), answer.read()
        finally:
            connection.close()

    def ask(self, path: str) -> Any:
        status, _, body = self.get(path)
        assert status == 200, body
        return json.loads(body)

    def refused(self, path: str) -> str:
        status, _, body = self.get(path)
        assert 400 <= status < 600, body
        return str(json.loads(body)["error"])

    def look(self) -> dict[str, Any]:
        """The run as it is now, not as it was a second ago."""
        self.gallery.index._look_at = 0.0
        answer: dict[str, Any] = self.ask("/api/run")
        return answer


@contextmanager
def serving(folder: Path, token: str = "") -> Iterator[Client]:
    gallery = Gallery(folder)
    listening, address = server.listen(GalleryAddress.of("127.0.0.1", 0, token))
    loop = asyncio.new_event_loop()
    work = loop.create_task(server.serve(gallery, address, listening))

    def answer() -> None:
        try:
            loop.run_until_complete(work)
        except asyncio.CancelledError:
            loop.close()

    thread = threading.Thread(target=answer)
    thread.start()
    try:
        yield Client(gallery, address)
    finally:
        loop.call_soon_threadsafe(work.cancel)
        thread.join(30)


def hostile(round_: int, index: int, text: str) -> JudgedGroup:
    return replace(plain_group(round_, index, text), category=text[:300], subcategory=text[:300])
