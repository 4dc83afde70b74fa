"""Recordings of spoken digits as a set of spectrograms that `ppgn train` reads.

    python -m train.recordings RECORDINGS OUT

RECORDINGS holds DIGIT_SPEAKER_TAKE.wav, 8 kHz, as the Free Spoken Digit Dataset has them (github.com/Jakobovski); OUT
gets {train,val}_images.npy, uint8 (N, 64, 64, 1), {train,val}_labels.npy, classes.json. Takes 0 to 4 are for testing.
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import numpy as np

from ppgn.errors import InputError
from ppgn.media.sound import Sound
from ppgn.networks.digits import LABELS

TESTED = 5  # takes of every digit by every speaker, the first ones


def store(recordings: Path, out: Path) -> dict[str, int]:
    """Write the set -> how many spectrograms each split has. Raises `InputError` where a split has none."""
    splits: dict[str, list[tuple[np.ndarray, int]]] = {"train": [], "val": []}
    for path in sorted(recordings.glob("*.wav")):
        named = re.fullmatch(r"(\d)_[a-z]+_(\d+)", path.stem)
        if named is not None:
            spectrogram = Sound().read(path).permute(1, 2, 0).numpy()
            splits["val" if int(named[2]) < TESTED else "train"].append((spectrogram, int(named[1])))
    for split, found in splits.items():
        if not found:
            raise InputError(f"no {split} recordings in '{recordings}'; expected files as 7_theo_12.wav")
        out.mkdir(parents=True, exist_ok=True)
        images, labels = zip(*found, strict=True)
        np.save(out / f"{split}_images.npy", np.stack(images))
        np.save(out / f"{split}_labels.npy", np.array(labels))
    (out / "classes.json").write_text(json.dumps(LABELS["digit"]))
    return {split: len(found) for split, found in splits.items()}


if __name__ == "__main__":
    print(store(*map(Path, sys.argv[1:])))
