"""Image files: every mode reads as RGB in [0, 1], nothing is half-written, bad files say what is wrong."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from ppgn.errors import InputError
from ppgn.media import images


def red_green(height: int = 4, width: int = 6) -> torch.Tensor:
    """Red on the left half, green on the right."""
    image = torch.zeros(3, height, width)
    image[0, :, : width // 2] = 1
    image[1, :, width // 2 :] = 1
    return image


def test_png_round_trip_is_exact_on_256_levels(tmp_path: Path) -> None:
    image = torch.arange(3 * 16 * 16).reshape(3, 16, 16) % 256 / 255
    images.write(tmp_path / "a.png", image)
    assert torch.equal(images.read(tmp_path / "a.png"), image)


@pytest.mark.parametrize(
    ("mode", "pixel", "expected"),
    [
        ("L", 51, (0.2, 0.2, 0.2)),
        ("1", 1, (1.0, 1.0, 1.0)),
        ("RGB", (255, 51, 0), (1.0, 0.2, 0.0)),
        ("RGBA", (0, 0, 0, 0), (1.0, 1.0, 1.0)),
        ("RGBA", (255, 0, 0, 255), (1.0, 0.0, 0.0)),
        ("LA", (0, 0), (1.0, 1.0, 1.0)),
        ("P", 0, (0.0, 0.0, 0.0)),
        ("I;16", 13107, (0.2, 0.2, 0.2)),
    ],
)
def test_every_mode_reads_as_rgb(tmp_path: Path, mode: str, pixel: Any, expected: tuple[float, ...]) -> None:
    Image.new(mode, (3, 2), pixel).save(tmp_path / "a.png")
    image = images.read(tmp_path / "a.png")
    assert image.shape == (3, 2, 3)
    assert image.dtype == torch.float32
    assert torch.allclose(image, torch.tensor(expected).view(3, 1, 1).expand(3, 2, 3), atol=1e-3)


def test_cmyk_reads_as_rgb(tmp_path: Path) -> None:
    Image.new("CMYK", (8, 8), (0, 255, 255, 0)).save(tmp_path / "a.jpg", quality=100)
    assert torch.allclose(images.read(tmp_path / "a.jpg")[:, 4, 4], torch.tensor([1.0, 0.0, 0.0]), atol=0.02)


def test_exif_orientation_turns_the_image_upright(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was held so that the picture must turn 90 degrees clockwise
    images.to_pil(red_green(4, 6)).save(tmp_path / "a.png", exif=exif)
    upright = images.read(tmp_path / "a.png")
    assert upright.shape == (3, 6, 4)
    assert torch.equal(upright, red_green(4, 6).rot90(-1, (1, 2)))


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("phto.png", None, r"no image file '.*phto.png'; nearest: photo.png$"),
        ("notes.txt", b"words", r"'.*notes.txt' is not an image; expected a PNG, JPEG"),
        ("cut.png", "cut", r"cannot read the image '.*cut.png': "),
        ("folder", "folder", r"cannot read the image '.*folder': Is a directory"),
    ],
)
def test_a_bad_file_says_what_is_wrong(tmp_path: Path, name: str, content: object, message: str) -> None:
    images.write(tmp_path / "photo.png", torch.rand(3, 64, 64))
    if content == "cut":
        content = (tmp_path / "photo.png").read_bytes()[:2000]
    if content == "folder":
        (tmp_path / name).mkdir()
    elif isinstance(content, bytes):
        (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=message):
        images.read(tmp_path / name)


def test_write_refuses_a_name_without_a_format(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot tell an image format from 'grid'"):
        images.write(tmp_path / "grid", red_green())
    assert list(tmp_path.iterdir()) == []


def test_grid_places_images_row_by_row() -> None:
    batch = torch.stack([torch.full((3, 2, 3), i / 4) for i in range(4)])
    sheet = np.asarray(images.grid(batch, columns=3, gap=1))
    assert sheet.shape == (7, 13, 3)
    assert sheet[1, [1, 5, 9], 0].tolist() == [0, 64, 128]
    assert sheet[4, [1, 5, 9], 0].tolist() == [191, 255, 255]
    assert (sheet[:, [0, 4, 8, 12]] == 255).all()


def test_captions_stand_below_their_images_and_within_their_width() -> None:
    batch = torch.zeros(3, 3, 40, 60)
    plain = images.grid(batch, columns=2)
    sheet = images.grid(batch, columns=2, captions=["0.97 cat", "0.01 a name much too long\n0.5 dog", ""])
    foot = (sheet.height - plain.height) // 2
    assert sheet.width == plain.width
    ink = np.asarray(sheet).min(axis=2) < 128
    below = ink[2 + 40 : 2 + 40 + foot]
    assert below[: foot // 2, 2:62].any()
    assert not below[foot // 2 :, 2:62].any()
    assert below[: foot // 2, 64:124].any()
    assert below[foot // 2 :, 64:124].any()
    assert not below[:, 62:64].any()
    assert not below[:, 124:].any()
    second = 2 + 40 + foot + 2
    assert ink[second : second + 40, 2:62].all()
    assert not ink[second + 40 :].any()


@pytest.mark.parametrize("name", ["a.webp", "a.gif", "a.png"])
def test_an_animation_has_its_frames_in_order(tmp_path: Path, name: str) -> None:
    frames = [images.to_pil(torch.full((3, 8, 8), level / 4)) for level in range(4)]
    images.animate(tmp_path / name, frames)
    with Image.open(tmp_path / name) as animation:
        shown = []
        for number in range(animation.n_frames):
            animation.seek(number)
            shown.append(animation.convert("RGB").getpixel((4, 4))[0])
    assert shown == pytest.approx([0, 64, 128, 191], abs=4)


def test_an_animation_needs_a_format_with_frames(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"cannot animate 'a.jpg'; give a name that ends in .webp, .gif, .png"):
        images.animate(tmp_path / "a.jpg", [Image.new("RGB", (2, 2))])


@pytest.mark.parametrize(("count", "columns"), [(1, 1), (2, 2), (7, 3), (8, 4), (9, 3), (10, 5), (11, 4), (12, 4)])
def test_grid_is_about_square(count: int, columns: int) -> None:
    sheet = images.grid(torch.zeros(count, 3, 8, 8), gap=0)
    assert sheet.size == (8 * columns, 8 * -(-count // columns))


def test_fit_keeps_the_centre_and_the_shape_of_things() -> None:
    wide = torch.zeros(3, 10, 30)
    wide[:, :, 10:20] = 1  # only the centre is white
    assert torch.equal(images.fit(wide, (10, 10)), torch.ones(3, 10, 10))
    assert images.fit(wide, (5, 15)).shape == (3, 5, 15)
    ramp = torch.linspace(0, 1, 64).expand(3, 64, 64)
    assert torch.allclose(images.fit(ramp, (16, 16))[0, 8, 2:-2], ramp[0, 0].view(16, 4).mean(1)[2:-2], atol=1e-3)


def test_to_uint8_rounds_and_clips() -> None:
    levels = torch.tensor([-1.0, 0.0, 0.5 / 255 + 1e-4, 1.0, 2.0]).expand(3, 1, 5)
    assert images.to_uint8(levels)[0, 0].tolist() == [0, 0, 1, 255, 255]


@pytest.mark.parametrize(("count", "side", "expected"), [(1, 64, 256), (8, 64, 256), (64, 64, 128), (4, 300, 300)])
def test_few_tiles_are_shown_large_and_many_smaller(count: int, side: int, expected: int) -> None:
    picture = torch.linspace(0, 1, side).expand(3, side, side)
    sheet = images.grid(picture.expand(count, 3, side, side), scale="auto")
    columns = (sheet.width - 2) // (expected + 2)
    assert sheet.width == columns * (expected + 2) + 2
    tile = np.asarray(sheet)[2 : 2 + expected, 2 : 2 + expected, 0].astype(float)
    shown = np.interp(np.arange(expected), (np.arange(side) + 0.5) * expected / side - 0.5, np.linspace(0, 255, side))
    assert np.abs(tile - shown).max() < 6


def test_grey_pictures_are_shown_as_colour(tmp_path: Path) -> None:
    images.write(tmp_path / "grey.png", torch.full((1, 4, 5), 0.2))
    torch.testing.assert_close(images.read(tmp_path / "grey.png"), torch.full((3, 4, 5), 0.2))
    assert images.grid(torch.zeros(2, 1, 4, 4)).mode == "RGB"
