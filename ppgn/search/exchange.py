"""Scores through files: numbered pictures out, scores.csv in, for whatever shows pictures and measures."""

from __future__ import annotations

import csv
import io
import json
import os
import shutil
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ppgn import folders, paths
from ppgn.contracts import Medium
from ppgn.errors import InputError

POLL = 0.2  # seconds between two looks for scores
SCORES, SEARCH = "scores.csv", "exchange.json"


class Exchange:
    """A folder with a folder for each generation, "generation-0007": pictures 0000.png and so on, full size.

    It appears whole, under its name, when all its pictures are written. Who measures writes scores.csv beside them:
    lines PICTURE,SCORE, or of several scores PICTURE,SCORE,SCORE; further lines of a picture are repeats, whose mean
    counts; nan or nothing is a measurement that failed. It is read as soon as every picture has a line and the last
    line is ended, so that half a file does no harm. Nothing is ever written twice or deleted.

    `settings` say which search it is. Raises `InputError` for a folder that serves another.
    """

    def __init__(self, folder: Path, settings: Mapping[str, Any]) -> None:
        self.folder, self.settings = folder, json.dumps(settings, sort_keys=True)
        known = folder / SEARCH
        if known.is_file() and known.read_text(encoding="utf-8") != self.settings:
            raise InputError(f"exchange={folder} holds the pictures of another search; give another folder")
        paths.check_writable(folder, folders.LEAST)
        paths.write(known, self.settings)

    def place(self, generation: int) -> Path:
        """The folder of a generation."""
        return self.folder / f"generation-{generation:04}"

    def put(self, generation: int, stored: Tensor, medium: Medium) -> Path:
        """Write what `medium` stores of signals, unless it is there already -> the generation's folder."""
        place = self.place(generation)
        if place.is_dir():
            return place
        part = place.with_name(f".{place.name}.part")
        try:
            shutil.rmtree(part, ignore_errors=True)  # left by a run that was killed
            part.mkdir(parents=True)
            for number, signal in enumerate(stored):
                medium.write(part / f"{number:04}", signal)
            os.replace(part, place)
        except OSError as error:
            raise InputError(f"cannot write '{place}': {error.strerror}; make room or choose another place") from error
        return place

    def wait(self, generation: int, timeout: float) -> Tensor:
        """The scores of a generation, (population, K), as soon as they are there.

        Raises `InputError` for lines that cannot be read, and after `timeout` seconds.
        """
        place, start = self.place(generation), time.monotonic()
        names = sorted(path.name for path in place.iterdir() if path.stem.isdecimal())
        while True:
            scores, lack = read(place / SCORES, names)
            if scores is not None:
                return scores
            waited = time.monotonic() - start
            if waited >= timeout:
                raise InputError(f"waited {timeout:g} s for '{place / SCORES}': {lack}; resume=true waits on")
            time.sleep(min(POLL, max(timeout - waited, 0.01)))


def read(path: Path, names: Sequence[str]) -> tuple[Tensor | None, str]:
    """The scores of pictures in a file, (N, K), in the order of their `names`, or None and what is missing still.

    Raises `InputError` for a line that cannot be read, a picture that is none, and lines of unlike lengths.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        return None, "there is no such file"
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"cannot read '{path}' ({error}); expected lines PICTURE,SCORE") from error
    if not text.endswith("\n"):
        return None, "its last line is not ended"
    found: dict[str, list[list[float]]] = {name: [] for name in names}
    short = {Path(name).stem: name for name in names}
    for number, line in enumerate(csv.reader(io.StringIO(text)), start=1):
        if not "".join(line).strip() or (number == 1 and not any(map(_is_number, line[1:])) and line[0] not in found):
            continue  # an empty line, or what the columns are called
        name = line[0].strip()
        name = name if name in found else short.get(name, name)
        if name not in found or len(line) < 2 or not all(_is_number(value) for value in line[1:]):
            raise InputError(f"'{path}', line {number}: '{','.join(line)}'; expected PICTURE,SCORE, as {names[0]},1.5")
        found[name].append([float(value.strip() or "nan") for value in line[1:]])
    missing = [name for name, rows in found.items() if not rows]
    if missing:
        return None, f"it has no line of {', '.join(missing[:3])}{' and others' if len(missing) > 3 else ''}"
    if len({len(row) for rows in found.values() for row in rows}) > 1:
        raise InputError(f"'{path}': lines have unlike numbers of scores; expected as many in each")
    return torch.stack([torch.tensor(rows, dtype=torch.float64).nanmean(0) for rows in found.values()]), ""


def _is_number(text: str) -> bool:
    try:
        float(text.strip() or "nan")
    except ValueError:
        return False
    return True
