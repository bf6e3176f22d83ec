"""Segments: exact round trip, deterministic bytes, and every alteration found and named."""

from __future__ import annotations

import io
import tempfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from actors.replay.records import JudgedGroup, Judgement, Rollout, Unfit
from actors.replay.segments import (
    SegmentError,
    SegmentName,
    encode,
    groups_of,
    log_digest,
    read_segment,
    read_texts,
    segment_path,
    write_segment,
)
from policies.errors import ConfigError
from policies.interface import Output, Part, Picture, PictureSampling, learned

TEXT = st.text(max_size=30)
SEED = st.integers(0, 2**63 - 1)
NUMBER = st.floats(allow_nan=False)


@st.composite
def pictures(draw: st.DrawFn) -> Picture:
    height, width = draw(st.integers(1, 9)), draw(st.integers(1, 9))
    noise = np.random.default_rng(draw(st.integers(0, 99)))
    codes = draw(st.none() | st.lists(st.integers(-(2**31), 2**31 - 1), max_size=5))
    return Picture(
        noise.integers(0, 256, (height, width, 3), dtype=np.uint8),
        None if codes is None else np.array(codes, dtype=np.int32),
        draw(st.none() | tensors()),
    )


@st.composite
def tensors(draw: st.DrawFn) -> torch.Tensor:
    """Of any dtype and shape, also of none and with views; bfloat16 included."""
    shape = draw(st.lists(st.integers(0, 3), max_size=3))
    dtype = draw(st.sampled_from([torch.bfloat16, torch.float16, torch.float32, torch.float64,
                                  torch.int8, torch.bool, torch.complex64]))  # fmt: skip
    noise = torch.Generator().manual_seed(draw(st.integers(0, 99)))
    made = torch.randn(shape, generator=noise).mul(10).to(dtype)
    return made.transpose(0, -1) if shape else made


JUDGEMENTS = st.builds(
    Judgement, TEXT, st.none() | NUMBER, st.integers(1, 9), st.none() | st.tuples(TEXT, TEXT)
)
PARTS = st.builds(Part, TEXT | pictures(), st.booleans())
OUTPUTS = pictures().map(learned) | st.lists(PARTS, max_size=3).map(tuple)
PAIR = st.tuples(st.floats(0, 1), st.floats(0, 1))
SAMPLINGS = st.builds(PictureSampling, NUMBER, NUMBER) | st.builds(
    PictureSampling, NUMBER, NUMBER, NUMBER, PAIR, TEXT, st.integers(0, 99), NUMBER,
    st.tuples(st.integers(0, 99), st.integers(0, 99)),
)  # fmt: skip
ROLLOUTS = st.builds(
    Rollout, SEED, SAMPLINGS, OUTPUTS, JUDGEMENTS, st.none() | st.builds(Unfit, TEXT, NUMBER), TEXT
)
GROUPS = st.builds(
    JudgedGroup,
    round=st.integers(1, 2**31 - 1),
    index=st.integers(0, 2**63 - 1),
    category=TEXT,
    subcategory=TEXT,
    prompt=TEXT,
    prompt_seed=SEED,
    weight_version=st.integers(0, 2**31 - 1),
    judge_version=st.integers(0, 2**31 - 1),
    rollouts=st.lists(ROLLOUTS, max_size=3).map(tuple),
    reason=TEXT,
    external=TEXT,
)


def plain(group: JudgedGroup) -> tuple:
    """Everything in a group, comparable by ==, arrays with their dtype and shape."""
    facts = {key: value for key, value in vars(group).items() if key != "rollouts"}
    return facts, [
        (r.seed, r.sampling, r.judgement, r.unfit, r.looks, [parts(p) for p in r.output])
        for r in group.rollouts
    ]


def parts(part: Part) -> tuple:
    picture = part.segment
    return (part.learned, picture if isinstance(picture, str) else arrays(picture))


def arrays(picture: Picture) -> list[tuple | None]:
    latents = picture.latents
    tensor = None if latents is None else (latents.dtype, latents.shape, str(latents.tolist()))
    plain = (picture.pixels, picture.codes)
    return [
        *(None if a is None else (a.dtype.str, a.shape, a.tobytes()) for a in plain), tensor
    ]  # fmt: skip


def a_group(index: int = 0, prompt: str = "three red circles", reason: str = "") -> JudgedGroup:
    pixels = np.full((5, 7, 3), index % 256, dtype=np.uint8)
    drawn = learned(Picture(pixels, np.arange(4, dtype=np.int32)))
    rollout = Rollout(7, PictureSampling(1.0, 1.5), drawn, Judgement("fine", 8.5, 1))
    return JudgedGroup(1, index, "counting", "single", prompt, 5, 0, 0, (rollout,), reason)


@settings(max_examples=150)
@given(st.lists(GROUPS, max_size=3), st.integers(0, 99_999_9), st.integers(0, 10**6))
def test_every_field_comes_back_exactly(groups: list[JudgedGroup], round_: int, index: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = write_segment(folder, round_, index, groups)
        assert [plain(g) for g in read_segment(path)] == [plain(g) for g in groups]
        name = SegmentName.parse(path)
        assert name is not None and (name.round, name.index) == (round_, index)
        assert [p.name for p in path.parent.iterdir()] == [path.name]


@settings(max_examples=30)
@given(st.lists(GROUPS, max_size=3))
def test_the_same_groups_give_the_same_bytes(groups: list[JudgedGroup]) -> None:
    assert encode(1, 2, groups) == encode(1, 2, groups)


GOLDEN = Path(__file__).resolve().parents[2] / "golden/replay"
"""A log that was written before there were latents, options and parts."""
OLD_LOG = "2f34e9f84c2d5a9626df8abb877f18e4e7385c5120d5159f0b5fd724c8a62bba"


def old_groups() -> list[JudgedGroup]:
    pixels = np.arange(5 * 7 * 3, dtype=np.uint8).reshape(5, 7, 3)
    first = learned(Picture(pixels, np.arange(4, dtype=np.int32)))
    rollouts = (
        Rollout(7, PictureSampling(0.7, 1.5), first, Judgement("count right", 8.5, 1)),
        Rollout(2**60, PictureSampling(), learned(Picture(255 - pixels)), Judgement("", None, 3)),
    )
    return [
        JudgedGroup(1, 0, "counting", "single", "three red circles", 5, 0, 0, rollouts, ""),
        JudgedGroup(1, 1, "counting", "single", "ö", 6, 0, 1, (), "task given up: x", "outside"),
    ]


def test_what_needs_no_further_columns_gives_the_bytes_of_old() -> None:
    (path,) = GOLDEN.rglob("*.parquet")
    assert encode(1, 3, old_groups()) == path.read_bytes()
    assert [plain(g) for g in read_segment(path)] == [plain(g) for g in old_groups()]
    assert log_digest(GOLDEN) == OLD_LOG


@pytest.mark.parametrize(
    ("output", "seen"),
    [
        (learned("a plan", a_picture := Picture(np.zeros((2, 2, 3), np.uint8))), True),
        ((Part("call"), Part(a_picture, learned=False)), True),
        (learned("the tool failed"), False),
        ((), False),
    ],
)
def test_an_overview_knows_which_rollouts_have_a_picture(
    tmp_path: Path, output: Output, seen: bool
) -> None:
    rollout = Rollout(1, PictureSampling(steps=9), output, Judgement("", None, 0))
    group = JudgedGroup(**{**vars(a_group()), "rollouts": (rollout,)})
    path = write_segment(tmp_path, 1, 0, [group])
    (back,) = groups_of(read_texts(path), path, lambda *_: a_picture)
    assert (back.rollouts[0].picture is not None) == seen
    assert [p.learned for p in back.rollouts[0].output] == [p.learned for p in output]
    assert back.rollouts[0].sampling == rollout.sampling


def test_a_score_that_is_not_a_number_stays_one(tmp_path: Path) -> None:
    group = a_group()
    nan = Judgement("?", float("nan"), 1)
    rollout = Rollout(1, PictureSampling(1.0, float("inf")), group.rollouts[0].output, nan)
    path = write_segment(tmp_path, 1, 0, [JudgedGroup(**{**vars(group), "rollouts": (rollout,)})])
    (back,) = read_segment(path)
    assert str(back.rollouts[0].judgement.score) == "nan"
    assert back.rollouts[0].guidance == float("inf")


def test_pixels_that_are_a_view_are_stored_as_seen(tmp_path: Path) -> None:
    pixels = np.arange(2 * 6 * 8 * 3, dtype=np.uint8).reshape(12, 8, 3)[::2, ::-1]
    rollout = Rollout(1, PictureSampling(), learned(Picture(pixels)), Judgement("", None, 3))
    group = JudgedGroup(**{**vars(a_group()), "rollouts": (rollout,)})
    (back,) = read_segment(write_segment(tmp_path, 1, 0, [group]))
    np.testing.assert_array_equal(back.rollouts[0].picture.pixels, pixels)


def test_a_flipped_byte_at_any_position_is_found_and_named(tmp_path: Path) -> None:
    path = write_segment(tmp_path, 1, 3, [a_group()])
    good = path.read_bytes()
    for position in range(len(good)):
        path.write_bytes(good[:position] + bytes([good[position] ^ 1]) + good[position + 1 :])
        with pytest.raises(SegmentError, match=path.name):
            read_segment(path)
    path.write_bytes(good)
    assert len(read_segment(path)) == 1


@pytest.mark.parametrize("kept", [0, 1, -1])
def test_a_torn_file_is_named(tmp_path: Path, kept: int) -> None:
    path = write_segment(tmp_path, 1, 3, [a_group()])
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(SegmentError, match=f"{path.name}: checksum differs.*restore"):
        read_segment(path)


def test_a_file_in_another_place_is_named(tmp_path: Path) -> None:
    path = write_segment(tmp_path, 1, 3, [a_group()])
    moved = path.rename(path.with_name(path.name.replace("00003", "00004")))
    with pytest.raises(SegmentError, match="its name says slice 4 of round 1"):
        read_segment(moved)
    elsewhere = tmp_path / "slice-00003.parquet"
    with pytest.raises(SegmentError, match="is not named like a segment"):
        read_segment(moved.rename(elsewhere))


@pytest.mark.parametrize("digits", ["000003", "0000٣", "٠٠٠٠٣"])
def test_a_number_that_is_written_otherwise_is_no_name(tmp_path: Path, digits: str) -> None:
    path = write_segment(tmp_path, 1, 3, [a_group()])
    with pytest.raises(SegmentError, match="is not named like a segment"):
        read_segment(path.rename(path.with_name(path.name.replace("00003", digits))))


def sealed(folder: Path, data: bytes) -> Path:
    """Any bytes under the name that fits them."""
    path = segment_path(folder, 1, 3, data)
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(data)
    return path


def foreign() -> dict[str, bytes]:
    """Files with the right checksum that are no segments."""
    good = encode(1, 3, [a_group()])
    table = pq.read_table(io.BytesIO(good))
    fewer = io.BytesIO()
    pq.write_table(table.drop_columns(["reason"]), fewer)
    cut = bytearray(good)
    start = good.index(b"three red circles")  # a page: its header stays, its content does not
    cut[start - 8 : start + 8] = bytes(16)
    grey, other = io.BytesIO(), io.BytesIO()
    Image.new("L", (2, 2)).save(grey, format="PNG")
    rows = table.to_pylist()
    rows[0]["rollouts"][0]["png"] = grey.getvalue()
    pq.write_table(pa.Table.from_pylist(rows, schema=table.schema), other)
    return {
        "text": b"not a parquet file",
        "without a column": fewer.getvalue(),
        "with a broken page": bytes(cut),
        "with a grey picture": other.getvalue(),
    }


@pytest.mark.parametrize("kind", foreign())
def test_a_foreign_file_under_the_name_of_its_checksum_is_named(tmp_path: Path, kind: str) -> None:
    path = sealed(tmp_path, foreign()[kind])
    with pytest.raises(SegmentError, match=f"{path.name} was not written by this program") as error:
        read_segment(path)
    assert "\n" not in str(error.value)


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    path = write_segment(tmp_path, 1, 3, [a_group()])
    path.unlink()
    with pytest.raises(SegmentError, match=f"{path.name} cannot be read"):
        read_segment(path)


BAD = {
    "pixels are float32": Picture(np.zeros((2, 2, 3), dtype=np.float32)),
    r"pixels are uint8 \(2, 2\)": Picture(np.zeros((2, 2), dtype=np.uint8)),
    r"pixels are uint8 \(0, 2, 3\)": Picture(np.zeros((0, 2, 3), dtype=np.uint8)),
    "codes are int64": Picture(np.zeros((1, 1, 3), dtype=np.uint8), np.zeros(2, dtype=np.int64)),
}


@pytest.mark.parametrize("complaint", BAD)
def test_a_picture_that_cannot_be_stored_is_named(tmp_path: Path, complaint: str) -> None:
    rollout = Rollout(1, PictureSampling(), learned(BAD[complaint]), Judgement("", 1.0, 1))
    group = JudgedGroup(**{**vars(a_group(4)), "rollouts": (rollout,)})
    with pytest.raises(SegmentError, match=f"slice 3 of round 2.*group 4, rollout 0: {complaint}"):
        write_segment(tmp_path, 2, 3, [group])
    assert not list(tmp_path.rglob("*"))


@pytest.mark.parametrize("change", [{"prompt": "\ud800"}, {"prompt": None}, {"prompt_seed": 2**64}])
def test_a_field_that_cannot_be_stored_is_refused(tmp_path: Path, change: dict) -> None:
    group = JudgedGroup(**{**vars(a_group()), **change})
    with pytest.raises(SegmentError, match="slice 3 of round 2 cannot be stored"):
        write_segment(tmp_path, 2, 3, [group])


def test_the_log_digest_follows_the_content_and_the_place(tmp_path: Path) -> None:
    folders = [tmp_path / name for name in "abcd"]
    for folder, slices in zip(folders, ([0, 1], [1, 0], [0, 2], [0]), strict=True):
        for index in slices:
            write_segment(folder, 1, index, [a_group(index)])
    digests = [log_digest(folder) for folder in folders]
    assert digests[0] == digests[1]
    assert len(set(digests)) == 3
    assert log_digest(tmp_path / "nothing") == log_digest(tmp_path / "nowhere")


def test_an_address_is_refused_by_name() -> None:
    with pytest.raises(ConfigError, match="ftp://bucket/run"):
        write_segment("ftp://bucket/run", 1, 0, [])
