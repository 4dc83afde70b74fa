"""Pack photographs into .tar files that a training reads without unpacking them, in WebDataset's layout.

ppgn train pack data=FOLDER out=SHARDS
"""

from __future__ import annotations

import json
import tarfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from io import BytesIO
from itertools import takewhile
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf
from torch.utils.data import DataLoader, Dataset

from ppgn import arguments, folders, paths
from ppgn.errors import InputError
from ppgn.media import images
from ppgn.photographs import Photographs, square
from train.streams import SHOWN, Shards


@dataclass(frozen=True)
class Packing(Dataset[dict[str, Any]]):
    """The .tar files of one split; `packing[number]` writes one, whole, and gives its entry in the index."""

    photographs: Photographs
    classes: Sequence[int]  # of every photograph, -1 without one
    folder: Path
    size: int
    quality: int | None
    rows: int

    def __len__(self) -> int:
        return -(-len(self.photographs) // self.rows)

    def __getitem__(self, number: int) -> dict[str, Any]:
        path, skipped = self.folder / f"{self.photographs.split}-{number:05d}.tar", []
        last = min((number + 1) * self.rows, len(self.photographs))
        part = path.with_suffix(".part")
        try:
            with tarfile.open(part, "w", format=tarfile.USTAR_FORMAT) as archive:
                for row in range(number * self.rows, last):
                    try:
                        self._add(archive, row)
                    except InputError:
                        skipped.append(self.photographs.name(row))
            part.replace(path)
        except OSError as error:
            raise InputError(f"cannot write '{path}': {error.strerror}; make room or choose another place") from error
        done = {"file": path.name, "rows": last - number * self.rows - len(skipped), "skipped": skipped}
        return done | {"bytes": path.stat().st_size, "sha256": folders.digest(path)}

    def _add(self, archive: tarfile.TarFile, row: int) -> None:
        """Put a photograph and its class into an open file. Raises `InputError` where it cannot be read."""
        picture, data = images.to_pil(square(self.photographs[row][None], self.size)[0]), BytesIO()
        picture.save(data, "PNG") if self.quality is None else picture.save(data, "JPEG", quality=self.quality)
        members = {"png" if self.quality is None else "jpg": data.getvalue()}
        if self.classes[row] >= 0:
            members["cls"] = str(self.classes[row]).encode()
        for kind, content in members.items():
            member = tarfile.TarInfo(f"{row:08d}.{kind}")
            member.size = len(content)
            archive.addfile(member, BytesIO(content))


def labels(photographs: Photographs, root: Path) -> list[str | None]:
    """The name of every photograph's class: of a picture file, the first folder that it lies in, SPLIT aside."""
    inside = root / photographs.split if (root / photographs.split).is_dir() else root
    told = photographs.labels[: len(photographs) - len(photographs.files)]
    places = (path.relative_to(inside).parts for path in photographs.files)
    return [*told, *(place[0] if len(place) > 1 else None for place in places)]


def classes(found: Sequence[Photographs], named: Sequence[Sequence[str | None]]) -> list[dict[str, Any]]:
    """What classes.json says: the name of every class, and ImageNet's number where the photographs tell it."""
    told = {name: index for each in found for name, index in zip(each.labels, each.imagenet, strict=True)}
    names = [name for each in found for name in each.names]
    names += sorted({name for each in named for name in each if name is not None})
    numbers = {name: {} if told.get(name) is None else {"imagenet_index": told[name]} for name in names}
    return [{"name": name, **number} for name, number in numbers.items()]


def run(cfg: DictConfig, options: Mapping[str, str]) -> list[dict[str, Any]]:
    """Pack what the configuration names -> the entries of the .tar files in OUT/index.json.

    Goes on after the last file that is there where `resume` is true and the settings are the same. Raises `InputError`
    for settings that cannot be, for a folder without photographs, and where none of them can be read.
    """
    for key, least in (("size", 1), ("rows", 1), ("workers", 0)):
        arguments.whole(key, cfg[key], least)
    if cfg.quality is not None and not 1 <= arguments.whole("quality", cfg.quality) <= 100:
        raise InputError(f"quality={cfg.quality} is none of JPEG; give 1 to 100, or null for PNG")
    root, folder = Path(cfg.data).expanduser(), Path(cfg.out).expanduser()
    splits = ("train", "val") if (root / "val").is_dir() or any(root.rglob("val_images.npy")) else ("train",)
    found = [Photographs.find(root, split) for split in splits]
    named = [labels(each, root) for each in found]
    kinds = classes(found, named)
    places: dict[str | None, int] = {entry["name"]: place for place, entry in enumerate(kinds)}
    settings: Any = OmegaConf.to_container(cfg)
    asked = {"data": str(root.resolve()), **{key: settings[key] for key in ("size", "quality", "rows")}}
    asked["photographs"] = {each.split: len(each) for each in found}
    with folders.alone(folder):
        index = folder / "index.json"
        entries = _resumed(index, asked, cfg)
        for each, own in zip(found, named, strict=True):
            numbers = [places.get(name, -1) for name in own]
            packing = Packing(each, numbers, folder, cfg.size, cfg.quality, cfg.rows)
            done = sum(entry["file"].startswith(f"{each.split}-") for entry in entries)
            loader = DataLoader(packing, None, sampler=range(done, len(packing)), num_workers=cfg.workers)
            for number, entry in enumerate(loader, done + 1):
                entries.append(entry)
                paths.write(index, paths.as_json({"settings": asked, "shards": entries}))
                print(f"{entry['file']}: {number} of {len(packing)} files of {each.split}", flush=True)
        if kinds:
            paths.write(folder / "classes.json", json.dumps(kinds, ensure_ascii=False))
        for each in found:
            Shards(folder, each.split, cfg.size)  # keeps its index
    skipped = [name for entry in entries for name in entry["skipped"]]
    said = f"{sum(entry['rows'] for entry in entries):,} photographs in '{folder}': data=webdataset data.root={folder}"
    left = f"; left out {len(skipped):,} that cannot be read: {', '.join(skipped[:SHOWN])}" if skipped else ""
    print(said + left + (", ..." if len(skipped) > SHOWN else ""), flush=True)
    return entries


def _size(path: Path) -> int:
    return path.stat().st_size if path.is_file() else -1


def _resumed(index: Path, asked: Mapping[str, Any], cfg: DictConfig) -> list[dict[str, Any]]:
    """The entries of files that are there already, if a packing with these settings is to go on."""
    told: Any = {}
    with suppress(OSError, ValueError):
        told = json.loads(index.read_text(encoding="utf-8"))
    if cfg.resume and isinstance(told, dict) and told.get("settings") == asked:
        return [*takewhile(lambda entry: _size(index.with_name(entry["file"])) == entry["bytes"], told["shards"])]
    before = folders.find(index.parent, "index.json", "classes.json", "train-*", "val-*")
    folders.check_free(before, cfg.overwrite)
    for path in before:
        path.unlink()
    return []
