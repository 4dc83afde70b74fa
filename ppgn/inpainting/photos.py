"""Photographs as a person gives them, and the holes that are to be filled in them."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ppgn.errors import InputError, unknown
from ppgn.media import images
from ppgn.photographs import Photographs

MOST_PIXELS = 64_000_000  # of a photo
MOST_TOGETHER = 1_000_000_000  # of all photos, which are held in memory
CENTER = 0.5  # sides of the hole "center", in sides of the picture
RANDOM = 100 / 227  # side of the square hole "random", in the picture's shorter sides: as published


@dataclass(frozen=True)
class Photo:
    """A photo: its file, or what it is called, `pixels` uint8 (3, H, W), and where it is opaque, bool (H, W), None for
    everywhere.
    """

    file: str
    pixels: Tensor
    opaque: Tensor | None = None

    @property
    def stem(self) -> str:
        """What its completions are called after, and its random hole."""
        return Path(self.file).stem

    @staticmethod
    def of(picture: Image.Image, file: str) -> Photo:
        """Raises `InputError` for a picture of more than 8 bits a channel."""
        if picture.mode.startswith(("I", "F")):
            raise InputError(
                f"'{file}' has more than 8 bits a channel, which a result would lose; convert it to 8 bits"
            )
        pixels = torch.from_numpy(np.array(picture.convert("RGB"))).permute(2, 0, 1).contiguous()
        if not picture.has_transparency_data:
            return Photo(file, pixels)
        return Photo(file, pixels, torch.from_numpy(np.array(picture.convert("RGBA").getchannel("A")) == 255))

    def hole(self, hole: Any = "center") -> Tensor:
        """The hole (H, W), bool, of a name, a mask file, a folder of them, or a tensor; see `ppgn.inpainting.inpaint`.

        Raises `InputError` for what names none, and for one that leaves transparent pixels known.
        """
        if isinstance(hole, Tensor):
            found = hole.bool()
        elif hole == "alpha":
            if self.opaque is None:
                raise InputError(f"'{self.file}' has no transparent pixels; give center, random or a mask file")
            return ~self.opaque
        else:
            found = _drawn(str(hole), self.stem, *self.pixels.shape[1:])
        if self.opaque is not None and found.shape == self.opaque.shape and bool((~found & ~self.opaque).any()):
            given = f"'{self.file}' is transparent where it should be known"
            raise InputError(f"{given}; give mask=alpha, or an opaque image")
        return found


def photos(given: Any, read: Callable[[Path], Tensor] | None = None) -> list[Photo]:
    """The photos in a file, a folder, a Pillow picture, a tensor (3, H, W), uint8 or in [0, 1], or a list of these.

    read: what makes a grey picture, uint8 (1, H, W), of files that are none, as the spectrograms of sounds.
    Raises `InputError` for what cannot be read, has too many pixels, alone or together, or bears the same name.
    """
    every = given if isinstance(given, list | tuple) else [given]
    found: list[Photo] = []
    for number, one in enumerate(every):
        name = "photo" if len(every) == 1 else f"photo-{number}"
        if isinstance(one, Tensor):
            found.append(Photo(name, images.to_uint8(one).expand(3, -1, -1).cpu()))
        elif isinstance(one, Image.Image):
            found.append(Photo.of(one, name))
        elif (place := Path(str(one)).expanduser()).is_dir():
            inside = Photographs.find(place)
            found += [Photo.of(images.load(path, MOST_PIXELS), str(path)) for path in inside.files]
            found += [Photo(f"photo-{row}", inside[row]) for row in range(len(inside) - len(inside.files))]
        elif read is not None and place.suffix.lower() not in Image.registered_extensions():
            found.append(Photo(str(one), read(place).expand(3, -1, -1)))
        else:
            found.append(Photo.of(images.load(place, MOST_PIXELS), str(one)))
    stems = [photo.stem for photo in found]
    twice = next((stem for stem in stems if stems.count(stem) > 1), None)
    if twice is not None:
        raise InputError(f"several pictures are named '{twice}'; rename all but one")
    pixels = sum(photo.pixels[0].numel() for photo in found)
    if pixels > MOST_TOGETHER:
        most = f"at most {MOST_TOGETHER // 10**6}; give fewer photos"
        raise InputError(f"image: {pixels / 1e6:.0f} megapixels in all; {most}")
    return found


def _drawn(hole: str, stem: str, height: int, width: int) -> Tensor:
    """A hole by name, the same every time, or the white part of a mask file for the photo `stem`."""
    found = torch.zeros(height, width, dtype=torch.bool)
    number = re.fullmatch(r"random(?:-(\d+))?", hole)
    if hole == "center":
        rows, columns = (slice(round(n * (1 - CENTER) / 2), round(n * (1 + CENTER) / 2)) for n in found.shape)
        found[rows, columns] = True
        return found
    if number is not None:
        side = round(RANDOM * min(height, width))
        digest = hashlib.blake2b(f"{stem}/{number[1] or 0}".encode(), digest_size=8).digest()
        generator = np.random.default_rng(int.from_bytes(digest, "little"))
        top, left = (int(generator.integers(n - side + 1)) for n in found.shape)
        found[top : top + side, left : left + side] = True
        return found
    stripe = re.fullmatch(r"(rows|columns):(\d+)-(\d+)", hole)
    if stripe is not None:
        first, last = int(stripe[2]), int(stripe[3])
        lines = found if stripe[1] == "rows" else found.T
        if not first <= last < len(lines):
            raise InputError(f"mask={hole}: expected two numbers from 0 to {len(lines) - 1}, the first one first")
        lines[first : last + 1] = True
        return found
    place = Path(hole).expanduser()
    if place.is_dir():
        files = [file for file in sorted(place.iterdir()) if file.stem == stem]
        if len(files) != 1:
            raise InputError(f"mask: '{place}' has {len(files)} files named '{stem}'; expected one for each image")
        (place,) = files
    elif not place.exists() and place.suffix.lower() not in Image.registered_extensions():
        raise unknown(
            "mask",
            hole,
            ["center", "random", "alpha", "rows:A-B", "columns:A-B"],
            hint="or a mask file, white is the hole",
        )
    picture = images.load(place, MOST_PIXELS).convert("RGBA")
    grey = Image.alpha_composite(Image.new("RGBA", picture.size, "black"), picture).convert("L")
    return torch.from_numpy(np.array(grey) >= 128)
