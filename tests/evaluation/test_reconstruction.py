"""What is left of photographs behind E and G."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from ppgn import evaluation
from ppgn.errors import InputError
from ppgn.evaluation.reconstruction import blur
from ppgn.media import images
from ppgn.metrics import fidelity
from ppgn.model import PPGN
from tests.evaluation.conftest import grey
from tests.tiny import TinyGenerator


def test_figures_are_those_of_what_is_drawn_again(model: PPGN, photos: np.ndarray) -> None:
    table = evaluation.reconstruction(model, "photos", n=8, device="cpu", out="out")
    assert list(table.rows) == ["reconstruction", "other real", "blur 8 px"]

    spread = torch.from_numpy(photos).permute(0, 3, 1, 2)[np.linspace(0, 19, 16).astype(int)]
    originals, others = spread[::2], spread[1::2]
    drawn = images.to_uint8(model.decode(model.encode(originals / 255)))
    features = fidelity.Features()
    expected = {
        "frechet": fidelity.frechet(features(drawn), features(originals)).value,
        "kid": fidelity.kid(features(drawn), features(others)).value,
        "psnr": fidelity.psnr(drawn, originals).mean().item(),
    }
    found = {name: figure for name, figure in table.rows["reconstruction"].items() if figure is not None}
    assert {name: found[name].value for name in expected} == pytest.approx(expected, rel=1e-3)
    assert found["psnr"].low is not None
    assert found["psnr"].high is not None
    assert found["psnr"].low < found["psnr"].value < found["psnr"].high
    blurred = table.rows["blur 8 px"]["psnr"]
    assert blurred is not None
    assert blurred.value > found["psnr"].value
    assert set(table.rows["other real"]) == {"frechet", "kid"}

    grid = torch.from_numpy(np.array(Image.open("out/grid.png"))).permute(2, 0, 1)
    assert grid.shape == (3, 2 * 18 + 2, 8 * 18 + 2)
    assert torch.equal(grid[:, 2:18, 2:18], originals[0])
    assert torch.equal(grid[:, 20:36, 2:18], drawn[0])


def test_a_blur_keeps_what_is_even() -> None:
    assert torch.equal(blur(grey(0, 100, 255), 8), grey(0, 100, 255))
    lines = torch.arange(16).remainder(2).mul(200).to(torch.uint8).expand(1, 3, 16, 16)
    assert blur(lines, 4).float().std() < 0.2 * lines.float().std()


def test_a_model_without_encoder_cannot_reconstruct(photos: np.ndarray) -> None:
    with pytest.raises(InputError, match="encoder"):
        evaluation.reconstruction(PPGN(TinyGenerator()), "photos", n=2)


def test_the_command_line_gives_the_same(check_same: Callable[..., None]) -> None:
    check_same(evaluation.reconstruction, ["data=photos", "n=8"], data=Path("photos"), n=8)
