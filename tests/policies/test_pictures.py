"""Pictures of every mode and size are read as the references read them, or refused by name."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from policies import pictures
from policies.pictures import PictureError
from policies.seeds import generator

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
