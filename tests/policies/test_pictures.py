"""Pictures of every mode and size are read as the references read them, or refused by name."""

from __future__ import annotations

import io
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from policies import pictures
from policies.pictures import PictureError, middle_square
from policies.seeds import generator
from tests.mutations import BYTE_CHANGES, mutants, verdict

FORMATS = {"CMYK": "jpg", "1": "png", "L": "png", "LA": "png", "P": "png", "RGB": "png",
           "RGBA": "png", "YCbCr": "jpg"}  # fmt: skip


def drawn(mode: str, size: tuple[int, int] = (9, 7)) -> Image.Image:
    pixels = generator("drawn").integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    return Image.fromarray(pixels).convert(mode)


@pytest.mark.parametrize("mode", FORMATS)
def test_every_mode_is_read_as_rgb(tmp_path: Path, mode: str) -> None:
    file = tmp_path / f"picture.{FORMATS[mode]}"
    drawn(mode).save(file)
    found = pictures.read(file)
    assert found.pixels.shape == (7, 9, 3) and found.pixels.dtype == np.uint8
    assert np.array_equal(found.pixels, np.asarray(Image.open(file).convert("RGB")))
    assert found.codes is None


def test_one_pixel_is_a_picture(tmp_path: Path) -> None:
    drawn("RGB", (1, 1)).save(tmp_path / "one.png")
    assert pictures.read(tmp_path / "one.png").pixels.shape == (1, 1, 3)


@pytest.mark.parametrize("turned", [False, True])
def test_of_a_strip_the_middle_is_kept_and_no_more_is_scaled(turned: bool) -> None:
    strip = np.random.default_rng(0).integers(0, 256, (1, 300_001, 3), dtype=np.uint8)
    middle = strip[:, 149_968:150_032]
    if turned:
        strip, middle = strip.swapaxes(0, 1), middle.swapaxes(0, 1)
    # Scaled whole it would take 15 GiB.
    assert np.array_equal(middle_square(strip, 128), middle_square(middle, 128))
    assert middle_square(strip, 128).shape == (128, 128, 3)


def test_of_an_animation_the_first_frame_is_read(tmp_path: Path) -> None:
    frames = [Image.new("RGB", (4, 4), colour) for colour in ("red", "blue")]
    frames[0].save(tmp_path / "moving.gif", save_all=True, append_images=frames[1:])
    assert pictures.read(tmp_path / "moving.gif").pixels[0, 0].tolist() == [255, 0, 0]


def test_sixteen_bits_are_refused(tmp_path: Path) -> None:
    Image.fromarray(np.full((4, 4), 60000, np.uint16)).save(tmp_path / "deep.png")
    with pytest.raises(PictureError, match=r"deep\.png has more than eight bits a channel"):
        pictures.read(tmp_path / "deep.png")


@pytest.mark.parametrize("suffix", ["png", "jpg", "gif", "webp"])
def test_a_truncated_file_is_refused(tmp_path: Path, suffix: str) -> None:
    drawn("RGB", (64, 64)).save(tmp_path / f"whole.{suffix}")
    data = (tmp_path / f"whole.{suffix}").read_bytes()
    for share in (0.0, 0.01, 0.5, 0.9):
        torn = tmp_path / f"torn.{suffix}"
        torn.write_bytes(data[: int(share * len(data))])
        with pytest.raises(PictureError, match=r"torn\.\w+ (cannot be read|is not a picture)"):
            pictures.read(torn)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(PictureError, match=r"nothing\.png cannot be read .*No such file"):
        pictures.read(tmp_path / "nothing.png")


def test_a_picture_of_a_billion_pixels_is_refused(tmp_path: Path) -> None:
    Image.new("1", (40000, 30000)).save(tmp_path / "bomb.png")
    with pytest.raises(PictureError, match=r"bomb\.png is too large"):
        pictures.read(tmp_path / "bomb.png")


def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.png")
    for path in (tmp_path / "pipe.png", tmp_path):
        with pytest.raises(PictureError, match=r"is no file: give the path of a picture"):
            pictures.read(path)


# By format: what its writer needs to know, and the modes that it takes. The rest of what Pillow
# writes has no raster that it reads again without another program.
WRITTEN: tuple[tuple[str, dict[str, str], str], ...] = (
    *(("DDS", {"pixel_format": kind}, "RGBA") for kind in ("DXT1", "DXT3", "DXT5", "BC3")),
    ("DDS", {}, "RGBA"), ("DDS", {"pixel_format": "BC5"}, "RGB"),
    ("BLP", {}, "P"), ("BLP", {"blp_version": "BLP1"}, "P"), ("SPIDER", {}, "L"),
    *((kind, {}, mode) for kind in ("PNG", "TIFF", "WEBP") for mode in ("RGB", "RGBA", "L")),
    *((kind, {}, "RGB") for kind in ("AVIF", "BMP", "DIB", "JPEG", "JPEG2000", "MPO", "PCX")),
    *((kind, {}, "RGB") for kind in ("ICO", "PPM", "QOI", "SGI", "TGA")),
    *((kind, {}, "P") for kind in ("GIF", "PNG")), ("MSP", {}, "1"), ("XBM", {}, "1"),
)  # fmt: skip


@pytest.mark.parametrize(("kind", "options", "mode"), WRITTEN)
@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::PIL.Image.DecompressionBombWarning")
def test_damaged_files_of_every_format_are_read_or_refused(
    tmp_path: Path, kind: str, options: dict[str, str], mode: str
) -> None:
    whole = io.BytesIO()
    drawn(mode, (32, 24)).save(whole, kind, **options)
    file = tmp_path / "picture"
    for name, _, data in mutants(66, 60, (whole.getvalue(),), BYTE_CHANGES):
        file.write_bytes(data)
        found = verdict(name, lambda: pictures.read(file), file)
        assert found is None or 0 not in found.pixels.shape, name


@pytest.mark.parametrize(("kind", "options", "mode"), WRITTEN[:9])
def test_every_byte_of_a_header_can_be_anything(
    tmp_path: Path, kind: str, options: dict[str, str], mode: str
) -> None:
    whole = io.BytesIO()
    drawn(mode, (4, 4)).save(whole, kind, **options)
    file, data = tmp_path / "picture", whole.getvalue()
    for place in range(min(160, len(data))):
        for value in (0, 1, 127, 255):
            file.write_bytes(data[:place] + bytes([value]) + data[place + 1 :])
            found = verdict(f"{value} at {place}", lambda: pictures.read(file), file)
            assert found is None or 0 not in found.pixels.shape
