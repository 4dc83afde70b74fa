"""The pictures of the README and of the model cards, each by the commands that draw it, seeds as they fell.

    python -m tests.gallery                              # all that need nothing else
    python -m tests.gallery maximize facets              # some
    python -m tests.gallery natural64 FOLDER=photos      # one that needs photographs or weights, which are not here

The commands run in a temporary folder; the picture they leave there is resized and written to
checkpoints/gallery/NAME.webp.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, ImageSequence

GALLERY = Path(__file__).resolve().parents[1] / "checkpoints" / "gallery"
QUALITY = 75  # of WebP
FRAME = 120  # milliseconds, of an animation; the last one stays ten times as long
PHOTO = 'ppgn sample target="golden retriever" seeds=0 out=dog'


@dataclass(frozen=True)
class Picture:
    """What `lines` leave in `made`, `width` pixels wide; of several files, or `halves`, put together.

    Words in capitals stand for what a user must have.
    """

    lines: Sequence[str]
    made: Sequence[str]
    width: int = 520
    halves: bool = False  # the lower half stands beside the upper one

    @property
    def needs(self) -> set[str]:
        """The words in capitals."""
        return set(re.findall(r"(?<==)[A-Z][A-Z\d]+\b", " ".join(self.lines)))


PICTURES = {
    "natural64": Picture(
        ["ppgn evaluate what=samples data=FOLDER systems=[default] seeds=0-7 out=natural64"],
        ["natural64/grid_default.png"],
        width=1060,
        halves=True,
    ),
    "taef2": Picture(
        [
            "ppgn train prior prior=stationary model=TAEF2 images=1024 out=prior data.root=DATA data.names=[photos]",
            *(
                f"ppgn sample model=prior/taef2.safetensors sampler=annealed steps=50 target={it} seeds=0-3 out={it}"
                for it in ("goldfish", "volcano", "pizza")
            ),
        ],
        ["goldfish/grid.png", "volcano/grid.png", "pizza/grid.png"],
        width=512,
    ),
    "chain": Picture(
        ["ppgn sample target=[volcano,lakeside,castle] seeds=0-3 scale=2 animate=chain.webp out=chain"],
        ["chain/chain.webp"],
        width=264,
    ),
    "combination": Picture(
        ['ppgn sample condition="imagenet:castle & places:coast" seeds=0-7 labels=true scale=2 out=combination'],
        ["combination/grid.png"],
    ),
    "caption": Picture(
        ['ppgn sample condition=caption target="two dogs run on the grass" seeds=0-7 out=caption'],
        ["caption/grid.png"],
    ),
    "maximize": Picture(
        ["ppgn maximize layer=bn2 unit=17 seeds=0-2 evaluations=128 out=maximize"], ["maximize/grid.png"], width=400
    ),
    "facets": Picture(
        ["ppgn facets target=teapot method=spread k=4 drawings=60 out=facets"], ["facets/grid.png"], width=660
    ),
    "inpainting": Picture(
        [PHOTO, 'ppgn inpaint image=dog/images/seed-0000.png target="golden retriever" out=inpainting'],
        ["inpainting/grid.png"],
    ),
    "edit": Picture(
        [PHOTO, "ppgn edit image=dog/images/seed-0000.png target=lion seeds=0-1 out=edit"], ["edit/grid.png"]
    ),
    "card": Picture(
        [
            "ppgn sample target=[goldfish,junco,lion,ladybug,lemon,volcano,barn,teapot] seeds=0-7 out=zoo",
            "ppgn card layer=bn2 unit=17 data=zoo/images k=2 n=5 seeds=0-2 evaluations=64 out=card",
        ],
        ["card/unit-0017/page.png"],
        width=640,
    ),
    "digits": Picture(['ppgn sample model=digits condition="digit:7 & speaker:theo" out=digits'], ["digits/grid.png"]),
}


def run(lines: Sequence[str], folder: Path, given: Mapping[str, str]) -> None:
    """Run commands in a folder, words in capitals replaced by what is `given`; a line that was run stays as it is."""
    for line in lines:
        done = folder / ".done" / re.sub(r"\W", "-", line)
        if not done.exists():
            words = [re.sub(r"(?<==)[A-Z][A-Z\d]+$", lambda found: given[found[0]], word) for word in shlex.split(line)]
            subprocess.run([sys.executable, "-m", *words], cwd=folder, check=True)
            done.parent.mkdir(exist_ok=True)
            done.touch()


def put_together(picture: Picture, folder: Path) -> list[Image.Image]:
    """The frames of a picture, as wide as it is to be."""
    parts = [Image.open(folder / file) for file in picture.made]
    if len(parts) == 1 and not picture.halves:
        frames = [frame.convert("RGB") for frame in ImageSequence.Iterator(parts[0])]
    elif picture.halves:
        (whole,) = parts
        middle = whole.height // 2
        frames = [Image.new("RGB", (2 * whole.width, whole.height - middle), "white")]
        for column, box in enumerate([(0, 0, whole.width, middle), (0, middle, whole.width, whole.height)]):
            frames[0].paste(whole.crop(box), (column * whole.width, 0))
    else:
        frames = [Image.new("RGB", (parts[0].width, sum(part.height for part in parts)))]
        for number, part in enumerate(parts):
            frames[0].paste(part, (0, sum(above.height for above in parts[:number])))
    return [frame.resize((picture.width, round(frame.height * picture.width / frame.width))) for frame in frames]


def main(words: Sequence[str]) -> None:
    """Draw the pictures of these names, or all that need nothing that is not `given` as NAME=PATH."""
    given = {name: os.path.abspath(path) for name, path in (word.split("=", 1) for word in words if "=" in word)}
    names = [word for word in words if "=" not in word] or list(PICTURES)
    GALLERY.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        for name in names:
            picture, lacking = PICTURES[name], PICTURES[name].needs - given.keys()
            if lacking:
                print(f"{name}: left out; it needs {', '.join(sorted(lacking))}=PATH")
                continue
            run(picture.lines, Path(folder), given)
            first, *others = put_together(picture, Path(folder))
            moving = {"save_all": True, "append_images": others, "loop": 0} if others else {}
            moving |= {"duration": [FRAME] * len(others) + [10 * FRAME]} if others else {}
            first.save(GALLERY / f"{name}.webp", quality=QUALITY, method=6, **moving)
            print(f"{name}: {(GALLERY / name).with_suffix('.webp').stat().st_size / 1000:.0f} kB", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
