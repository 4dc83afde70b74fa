"""Images in [0, 1] from any numbers, a seed's alike in any batch; the spectrum of `Phase` is that of photographs."""

from __future__ import annotations

import pytest
import torch

from ppgn import paths
from ppgn.samplers.noise import Noise
from ppgn.visualize.parametrization import (
    COLOURS,
    SPECTRUM,
    Fourier,
    Phase,
    Pixels,
    frequencies,
    measured,
    natural,
    standardized,
)


@pytest.mark.parametrize("numbers", [Pixels(), Fourier(), Phase()])
@pytest.mark.parametrize("side", [32, 33])
def test_images_are_in_the_unit_interval_and_of_a_seed(numbers: Pixels | Fourier | Phase, side: int) -> None:
    both = numbers.image(numbers.start(Noise([3, 8]), side))
    assert both.shape == (2, 3, side, side)
    assert ((both >= 0) & (both <= 1)).all()
    assert torch.allclose(numbers.image(numbers.start(Noise([8]), side)), both[1:], atol=1e-6)
    assert not torch.allclose(both[0], both[1], atol=1e-2)


def test_the_spectrum_of_phase_images_is_that_of_photographs() -> None:
    start = Phase().start(Noise([0]), 32)
    plain = torch.einsum("ij,bjhw->bihw", torch.linalg.inv(COLOURS), torch.logit(Phase().image(start)))
    found, wanted = torch.fft.rfft2(plain).abs()[0], natural(32).clone()
    inside = slice(1, 16)  # a real image's numbers at the edge columns must be symmetric, so these differ
    ratio = found[:, :, inside] / wanted[:, :, inside]
    assert torch.allclose(ratio, ratio.mean().expand_as(ratio), rtol=1e-2)


def test_measured_inverts_the_colours() -> None:
    images = torch.rand(1, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    spectrum = measured(images)
    logits = torch.logit(images * 0.98 + 0.01)
    mixed = torch.einsum(
        "ij,jhw->ihw",
        COLOURS.to(images),
        torch.fft.irfft2(torch.fft.rfft2(torch.einsum("ij,jhw->ihw", torch.linalg.inv(COLOURS), logits[0])), (16, 16)),
    )
    assert torch.allclose(mixed, logits[0], atol=1e-4)
    assert spectrum.shape == (3, 16, 9)


def test_the_shipped_spectrum_falls_with_frequency_and_is_small() -> None:
    assert (paths.checkpoints() / SPECTRUM).stat().st_size < 200_000
    table, f = natural(64), frequencies(64)
    assert table.shape == (3, 64, 33)
    means = [table[:, (f > low) & (f <= 2 * low)].mean().item() for low in (0.02, 0.04, 0.08, 0.16)]
    assert means == sorted(means, reverse=True)


def test_standardized_rows_have_no_mean_and_unit_spread() -> None:
    x = standardized(5 + 3 * torch.rand(2, 3, 8, 8, generator=torch.Generator().manual_seed(0)))
    assert torch.allclose(x.mean((1, 2, 3)), torch.zeros(2), atol=1e-5)
    assert torch.allclose(x.std((1, 2, 3)), torch.ones(2), atol=1e-3)
