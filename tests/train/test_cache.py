"""What was computed once is read again, as long as it is of the same network, images and settings."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from train.cache import cached


def test_is_made_once_for_what_is_asked(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made: list[int] = []

    def make() -> dict[str, torch.Tensor]:
        made.append(len(made))
        return {"train": torch.full((2,), float(len(made)))}

    path, probe = tmp_path / "cache.safetensors", torch.tensor([0.5, 1.0])

    def ask(probe: torch.Tensor, asked: object = (10, None)) -> float:
        return float(cached(path, probe, list(asked) if isinstance(asked, tuple) else asked, make)["train"][0])

    assert [ask(probe), ask(probe + 0.001)] == [1, 1]
    assert capsys.readouterr().out == ""
    assert ask(probe + 0.1) == 2  # another network, or other images
    assert "looking anew" in capsys.readouterr().out
    assert ask(probe + 0.1, (11, None)) == 3
    assert ask(torch.zeros(3), (11, None)) == 4
    path.write_text("no such file")
    assert ask(torch.zeros(3), (11, None)) == 5
