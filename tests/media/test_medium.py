"""What is kept, shown and written of pictures and of plain signals."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from ppgn.contracts import Medium, Shape
from ppgn.media import images, medium
from ppgn.media.medium import HEIGHT, SIDE, Pictures, Signals
from ppgn.model import PPGN
from ppgn.samplers.annealed import Annealed


class Drawing:
    """A generator of which the shape alone is asked."""

    code_shape: Shape = (2,)

    def __init__(self, *signal_shape: int) -> None:
        self.signal_shape = signal_shape


def test_the_shape_tells_pictures_from_signals_unless_the_generator_does() -> None:
    assert isinstance(medium.of(Drawing(3, 8, 8)), Pictures)
    assert isinstance(medium.of(Drawing(1, 8, 8)), Pictures)
    for shape in ((8000,), (1, 8000), (2, 8, 8), (80, 100)):
        assert isinstance(medium.of(Drawing(*shape)), Signals)
    spectrogram = Drawing(1, 80, 100)
    spectrogram.medium = Signals()  # type: ignore[attr-defined]
    assert medium.of(spectrogram) is spectrogram.medium  # type: ignore[attr-defined]


@pytest.mark.parametrize("channels", [1, 3])
def test_pictures_are_kept_in_256_levels(channels: int, tmp_path: Path) -> None:
    made: Medium = Pictures()
    x = torch.tensor([-1.0, 0.1234, 2.0, float("nan")]).view(1, 1, 2, 2).expand(2, channels, -1, -1)
    stored = made.store(x)
    assert (stored.dtype, stored.shape) == (torch.uint8, (2, channels, 2, 2))
    assert stored[0, 0].flatten().tolist() == [0, 31, 255, 0]
    assert torch.equal(made.store(made.restore(stored)), stored)
    assert made.show(stored).shape == (2, 3, 2, 2)
    path = made.write(tmp_path / "seed-0.5", stored[0])
    assert path == tmp_path / "seed-0.5.png"
    assert torch.equal(images.to_uint8(images.read(path)), made.show(stored)[0])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_signals_lose_nothing(dtype: torch.dtype, tmp_path: Path) -> None:
    made: Medium = Signals()
    x = torch.linspace(-3, 5, 20).view(2, 10).to(dtype)
    stored = made.store(x)
    assert torch.equal(stored, x)
    assert torch.equal(made.restore(stored), x)
    path = made.write(tmp_path / "seed-1", stored[1])
    assert path == tmp_path / "seed-1.npy"
    assert np.load(path).tolist() == x[1].tolist()


def test_a_waveform_is_drawn_as_a_line_scaled_by_itself() -> None:
    time = torch.linspace(0, 1, 5000)
    wave = torch.stack([0.01 * torch.sin(6.2832 * time), 1000 * torch.sin(6.2832 * time), torch.zeros(5000)])
    shown = Signals().show(wave)
    assert (shown.dtype, shown.shape) == (torch.uint8, (3, 3, HEIGHT, SIDE))
    assert torch.equal(shown[0], shown[1])
    ink = shown[:, 0] < 128
    assert bool(ink.any(dim=1).all())  # in every column
    heights = ink[0].float().argmax(dim=0)
    assert heights[SIDE // 4] < 4  # the crest, a quarter on, at the top
    assert heights[3 * SIDE // 4] > HEIGHT - 6
    assert heights[0] == pytest.approx(HEIGHT / 2, abs=3)
    assert bool(ink[2, HEIGHT // 2 - 2 : HEIGHT // 2 + 2].any(dim=0).all())
    assert not ink[2, : HEIGHT // 2 - 2].any()


def test_a_single_peak_is_not_lost_and_jumps_are_joined() -> None:
    wave = torch.zeros(1, 1, 100_000)
    wave[0, 0, 54_321] = 1
    ink = Signals().show(wave)[0, 0] < 128
    assert ink[: HEIGHT // 2].any(dim=1).all()  # one stroke from the top to the middle and back
    assert Signals().show(torch.zeros(2, 3, 7)).shape == (2, 3, 3 * HEIGHT, 7)


def test_more_rows_are_a_heat_map() -> None:
    x = torch.zeros(2, 80, 600)
    x[0, 10, 100:110] = 3.0
    x[1] = float("nan")
    shown = Signals().show(x)
    assert shown.shape == (2, 3, 80, SIDE)
    assert shown[0].amax(dim=(1, 2)).tolist() == [255, 255, 255]
    assert shown[0, :, 10].sum() == shown[0].sum() > 0
    assert not shown[1].any()


class Tone(nn.Module):
    """Codes (B, 2) -> waveforms (B, 50), of both signs and beyond 1."""

    code_shape: Shape = (2,)
    signal_shape: Shape = (50,)

    def forward(self, h: Tensor) -> Tensor:
        time = torch.linspace(0, 6, 50, dtype=h.dtype)
        return 3 * h[:, :1] * time.sin() + h[:, 1:] * time.cos()


class Loud(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return -(x.square().mean(dim=1) - 9).square()


def test_chains_of_waveforms_lose_nothing_and_see_no_random_views() -> None:
    model = PPGN(Tone())
    drawn = model.sample(Loud(), range(4), sampler=Annealed(steps=40, epsilon2=3.0))
    assert torch.equal(drawn.signals, Tone()(drawn.codes))
    assert bool((drawn.signals.amin(dim=1) < -1).all())
    assert drawn.log_prob.tolist() == pytest.approx(Loud()(drawn.signals).tolist(), abs=1e-4)
    kept = medium.of(model.generator)
    assert kept.show(kept.store(drawn.signals)).shape == (4, 3, HEIGHT, 50)
