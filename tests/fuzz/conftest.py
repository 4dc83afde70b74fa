"""Hypothesis' profiles, and a folder with a small one of every kind of file that a command reads."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, settings
from PIL import Image
from torch import nn

from ppgn.model import PPGN
from tests.conftest import CONFIG
from tests.fuzz.command import SEEN
from tests.visualize.test_concepts import write_pack

common: dict[str, Any] = {"deadline": None, "suppress_health_check": list(HealthCheck), "print_blob": True}
settings.register_profile("ci", max_examples=200, derandomize=True, database=None, **common)
settings.register_profile("long", max_examples=5000, **common)
settings.load_profile("ci")


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """How much was tried."""
    for what, count in sorted(SEEN.items()):
        terminalreporter.write_line(f"{count} {what}")


@pytest.fixture(scope="module", autouse=True)
def deaf() -> Iterator[None]:
    """`ppgn serve` does all but listen."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("ppgn.web.serving.listen", lambda *given: None)
        yield


@pytest.fixture(scope="session")
def files(tmp_path_factory: pytest.TempPathFactory, tiny: Path) -> Path:
    """A folder with models, a classifier, photographs, arrays with labels and captions, and things that are none."""
    folder = tmp_path_factory.mktemp("files")
    for name in ("model.safetensors", "classifier.ts"):
        shutil.copy(tiny / name, folder)
    torch.manual_seed(0)
    PPGN.from_config({"generator": CONFIG["generator"]}, {"name": "small"}).save(folder / "small.safetensors")
    pixels = np.random.default_rng(0).integers(256, size=(12, 16, 16, 3), dtype=np.uint8)
    for place in ("photos", "arrays/set"):
        (folder / place).mkdir(parents=True)
    for number, picture in enumerate(pixels[:8]):
        Image.fromarray(picture).save(folder / "photos" / f"{number}.png")
    Image.fromarray(pixels[0]).save(folder / "photo.png")
    for split in ("train", "val"):
        np.save(folder / "arrays" / "set" / f"{split}_images.npy", pixels)
        np.save(folder / "arrays" / "set" / f"{split}_labels.npy", np.arange(12) % 3)
        lines = [json.dumps({"captions": ["a dog runs", "two cats"]})] * 12
        (folder / "arrays" / "set" / f"{split}_captions.jsonl").write_text("\n".join(lines))
    (folder / "arrays" / "set" / "classes.json").write_text(json.dumps(["sea", "snow", "sand"]))
    labels = np.arange(4, dtype=np.uint8).repeat(64 * 128).reshape(2, 128, 128)
    write_pack(folder / "pack", labels[..., None].repeat(3, 3) * 60, labels % 3, [0, 1])
    (folder / "words.txt").write_text("words")
    (folder / "mine.py").write_text("import torch\nclass Red(torch.nn.Module):\n    def forward(self, x):\n"
                                    "        return x[:, 0].mean((1, 2))\n")  # fmt: skip
    torch.save(nn.Linear(2, 2).state_dict(), folder / "weights.pth")
    os.mkfifo(folder / "fifo")
    return folder
