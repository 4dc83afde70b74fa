"""A folder of recordings becomes a set of spectrograms, the first takes apart."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from ppgn.errors import InputError
from ppgn.media.sound import Sound
from ppgn.photographs import Photographs
from train.recordings import store


def test_takes_are_split_and_labelled(tmp_path: Path) -> None:
    recordings, out = tmp_path / "recordings", tmp_path / "set" / "digits"
    recordings.mkdir()
    random = torch.Generator().manual_seed(0)
    for name in ("7_theo_4", "7_theo_5", "3_theo_12", "notes"):
        noise = (255 * torch.rand(1, 64, 64, generator=random)).to(torch.uint8)
        Sound(rounds=1).write(recordings / name, noise)
    assert store(recordings, out) == {"train": 2, "val": 1}
    assert Photographs.find(out, "train").labels == ["three", "seven"]
    assert Photographs.find(out, "val").labels == ["seven"]
    (tested,) = np.load(out / "val_images.npy")
    assert np.array_equal(tested[..., 0], Sound().read(recordings / "7_theo_4.wav")[0].numpy())
    assert json.loads((out / "classes.json").read_text())[3] == "three"


def test_a_folder_without_such_files_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="7_theo"):
        store(tmp_path, tmp_path / "set")
