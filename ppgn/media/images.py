"""Image files and pictures of many images. An image is a float tensor (3, H, W), RGB in [0, 1]."""

from __future__ import annotations

import io
import math
import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont, ImageOps, UnidentifiedImageError
from torch import Tensor
from torch.nn import functional as F

from ppgn import paths
from ppgn.errors import InputError, nearest

MOST_PIXELS = 64_000_000
ANIMATED = (".webp", ".gif", ".png")
TILE, SHEET = 256, 1280  # pixels of an image and of a whole sheet, about, where the scale is chosen
LARGE = 1_000_000  # pixels of a picture that is packed fast: a PNG takes a fourth of the time and a tenth more room


def read(path: str | Path) -> Tensor:
    """Read an image file of any mode -> (3, H, W) float32 in [0, 1], turned upright by its EXIF orientation.

    Transparent pixels become white, 16-bit greys keep their depth. Raises `InputError` as `load` does.
    """
    return _to_tensor(load(path))


def load(path: str | Path, most: int = MOST_PIXELS) -> Image.Image:
    """An image file as a Pillow picture, upright.

    Raises `InputError` for a file that is missing, cannot be read as an image, has more than `most` pixels or 32 bits
    a channel.
    """
    path = Path(path)
    try:
        if path.exists() and not path.is_file() and not path.is_dir():
            raise InputError(f"'{path}' is no regular file; store the image in one")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            with Image.open(path) as opened:
                if opened.width * opened.height > most:
                    size = f"{opened.width}x{opened.height} pixels"
                    raise InputError(f"'{path}' has {size}; at most {most // 10**6} megapixels; reduce it")
                if opened.mode == "F" or (opened.mode == "I" and opened.format == "TIFF"):
                    depth = "32 bits a channel of a range that it does not tell"
                    raise InputError(f"'{path}' has {depth}; convert it to 8 or 16")
                picture = ImageOps.exif_transpose(opened)
                picture.load()
                return picture
    except InputError:
        raise
    except FileNotFoundError:
        raise _missing(path) from None
    except UnidentifiedImageError:
        raise InputError(f"'{path}' is not an image; expected a PNG, JPEG, WebP or similar file") from None
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        reason = str(getattr(error, "strerror", None) or error).splitlines()[0]
        raise InputError(f"cannot read the image '{path}': {reason}") from error


def decoded(data: bytes) -> Tensor:
    """The image that the bytes of a file hold, as `read` gives it, uint8 (3, H, W).

    Raises what Pillow raises where they are damaged.
    """
    with Image.open(io.BytesIO(data)) as opened:
        picture = ImageOps.exif_transpose(opened)
        if picture.mode == "RGB" and not picture.has_transparency_data:
            return torch.from_numpy(np.array(picture)).permute(2, 0, 1)
        return to_uint8(_to_tensor(picture))


def _missing(path: Path) -> InputError:
    beside = [file.name for file in path.parent.iterdir() if file.is_file()] if path.parent.is_dir() else []
    near = nearest(path.name, beside, n=3)
    return InputError(f"no image file '{path}'" + (f"; nearest: {', '.join(near)}" if near else ""))


def _to_tensor(picture: Image.Image) -> Tensor:
    if picture.mode.startswith("I"):  # 16-bit grey, which Pillow would clip to 8 bits
        grey = torch.from_numpy(np.asarray(picture).astype(np.float32) / 65535)
        return grey.clamp(0, 1).expand(3, *grey.shape).contiguous()
    if picture.has_transparency_data:
        picture = picture.convert("RGBA")
        picture = Image.alpha_composite(Image.new("RGBA", picture.size, "white"), picture)
    return torch.from_numpy(np.array(picture.convert("RGB"))).permute(2, 0, 1).contiguous().float().div_(255)


def to_uint8(images: Tensor) -> Tensor:
    """Float images (..., 3, H, W) -> uint8, rounded to the nearest of 256 levels and clipped; uint8 stays as it is."""
    if images.dtype == torch.uint8:
        return images
    return (images.detach().clamp(0, 1) * 255).round().to(torch.uint8)


def to_pil(image: Tensor) -> Image.Image:
    """An image (3, H, W) or grey (1, H, W), float in [0, 1] or uint8, as a Pillow picture in RGB."""
    return Image.fromarray(to_uint8(image).expand(3, -1, -1).permute(1, 2, 0).cpu().numpy())


def write(path: str | Path, image: Tensor | Image.Image) -> None:
    """Write an image (3, H, W), float or uint8, or a Pillow picture, in the format of the file's suffix, atomically.

    Raises `InputError` for a suffix without a format and where the system refuses to write.
    """
    path = Path(path)
    Image.preinit()  # the usual formats; all others take as long to import as a picture to write
    formats = Image.EXTENSION if path.suffix.lower() in Image.EXTENSION else Image.registered_extensions()
    if path.suffix.lower() not in formats:
        raise InputError(f"cannot tell an image format from '{path.name}'; give a name that ends in .png or .jpg")
    buffer = io.BytesIO()
    picture = image if isinstance(image, Image.Image) else to_pil(image)
    packing = {"compress_level": 2} if picture.width * picture.height > LARGE else {}
    picture.save(buffer, format=formats[path.suffix.lower()], **packing)
    paths.write(path, buffer.getvalue())


def check_animation(path: Path) -> None:
    """Raise `InputError` unless the suffix of `path` is that of a format with frames."""
    if path.suffix.lower() not in ANIMATED:
        raise InputError(f"cannot animate '{path.name}'; give a name that ends in {', '.join(ANIMATED)}")


def animate(path: str | Path, frames: Sequence[Image.Image], milliseconds: int = 80) -> None:
    """Write pictures of one size as an endless animation, `milliseconds` each, the last one for a second, atomically.

    Raises `InputError` for a suffix without frames and where the system refuses to write.
    """
    path = Path(path)
    check_animation(path)
    buffer = io.BytesIO()
    durations = [milliseconds] * (len(frames) - 1) + [1000]
    kind = Image.registered_extensions()[path.suffix.lower()]
    first, *rest = frames
    first.save(buffer, format=kind, save_all=True, append_images=rest, duration=durations, loop=0)
    paths.write(path, buffer.getvalue())


def grid(
    images: Tensor,
    columns: int | None = None,
    gap: int = 2,
    captions: Sequence[str] | None = None,
    scale: int | str = 1,
) -> Image.Image:
    """Images (N, 3, H, W), float or uint8, row by row on a white sheet `gap` pixels apart.

    Without `columns` the sheet is about square, at least as wide as high, and without a gap at its end if possible.
    `captions` are written below the images, in as many lines as they have, shortened to an image's width. `scale` is
    how many times as large the images are shown, by Lanczos resampling; "auto" makes them about 256 pixels a side, and
    smaller where the sheet would be wider than about 1,280.
    """
    count, _, height, width = images.shape
    root = math.ceil(math.sqrt(count))
    columns = columns or next((n for n in range(root, 2 * root) if count % n == 0), root)
    rows = math.ceil(count / columns)
    times = max(1, round(min(TILE, SHEET / columns) / max(height, width))) if isinstance(scale, str) else scale
    height, width = height * times, width * times
    font = ImageFont.load_default(max(10, width // 14))
    line = sum(font.getmetrics()) if captions else 0  # type: ignore[union-attr]
    foot = line * max((text.count("\n") + 1 for text in captions or ()), default=0)
    down, right = height + foot + gap, width + gap
    sheet = Image.new("RGB", (columns * right + gap, rows * down + gap), "white")
    draw = ImageDraw.Draw(sheet)
    for i, image in enumerate(images):
        top, left = gap + i // columns * down, gap + i % columns * right
        tile = to_pil(image)
        sheet.paste(tile if times == 1 else tile.resize((width, height), Image.Resampling.LANCZOS), (left, top))
        for number, text in enumerate(captions[i].split("\n") if captions else ()):
            draw.text((left, top + height + number * line), _shortened(text, width, font), "black", font)
    return sheet


def _shortened(text: str, width: int, font: ImageFont.FreeTypeFont | ImageFont.ImageFont) -> str:
    """As much of a text as is at most `width` pixels wide, with an ellipsis where something is missing."""
    if font.getlength(text) <= width:
        return text
    fits = (f"{text[:end].rstrip()}…" for end in range(len(text) - 1, 0, -1))
    return next((short for short in fits if font.getlength(short) <= width), "")


def fit(image: Tensor, size: tuple[int, int]) -> Tensor:
    """The largest centred part of an image (3, H, W) that has the shape of `size`, resized to it: (3, *size)."""
    height, width = image.shape[-2:]
    scale = min(height / size[0], width / size[1])
    crop = (max(1, round(size[0] * scale)), max(1, round(size[1] * scale)))
    top, left = (height - crop[0]) // 2, (width - crop[1]) // 2
    centre = image[None, :, top : top + crop[0], left : left + crop[1]]
    if crop == size:
        return centre[0]
    return F.interpolate(centre, size=size, mode="bicubic", align_corners=False, antialias=True)[0].clamp(0, 1)
