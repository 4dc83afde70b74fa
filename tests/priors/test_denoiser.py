"""What trained priors share, against its definitions."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from ppgn.contracts import Prior
from ppgn.errors import InputError
from ppgn.priors.denoiser import Denoiser, Level, preconditioning, vector_dim, zero

CODES = torch.tensor([[1.0, -2.0], [3.0, 4.0]])


class Linear(Denoiser):
    """The best denoiser of codes N(0, I)."""

    def denoise(self, h: Tensor, sigma: Tensor) -> Tensor:
        return h / (1 + sigma[:, None] ** 2)

    def residual_at(self, h: Tensor, x: Tensor, sigma: float) -> Tensor:
        return self.denoise(h, torch.tensor([sigma])) - h


def test_residual_is_that_of_the_default_level() -> None:
    prior = Linear([2], (0.1, 10.0), 2.0)
    assert (prior.code_shape, prior.sigmas, prior.sigma) == ((2,), (0.1, 10.0), 2.0)
    torch.testing.assert_close(prior.residual(CODES, CODES), -0.8 * CODES)


def test_a_level_is_a_prior_of_its_own() -> None:
    level = Level(Linear([2], (0.1, 10.0), 2.0), 3.0)
    assert isinstance(level, Prior)
    torch.testing.assert_close(level.residual(CODES, CODES), -0.9 * CODES)


@pytest.mark.parametrize("sigmas", [(0.0, 1.0), (2.0, 3.0), (0.1, 0.4), (0.1, float("inf")), (0.5,)])
def test_noise_levels_that_cannot_be(sigmas: tuple[float, ...]) -> None:
    with pytest.raises(InputError, match=r"noise levels .* expected"):
        Linear([2], sigmas, 0.5)


def test_codes_that_are_no_vectors_are_refused() -> None:
    assert vector_dim([7]) == 7
    with pytest.raises(InputError, match="image_dae"):
        vector_dim([3, 8, 8])


def test_the_network_sees_and_aims_at_unit_variance() -> None:
    sigma = torch.tensor([0.3, 4.0])
    h = torch.randn(100_000, 1, generator=torch.Generator().manual_seed(0)).expand(-1, 2)
    noisy = h + sigma * torch.randn(h.shape, generator=torch.Generator().manual_seed(1))
    c_skip, c_out, c_in = (value[:, 0] for value in preconditioning(sigma))
    for seen in (c_in * noisy, (h - c_skip * noisy) / c_out):
        torch.testing.assert_close(seen.var(dim=0), torch.ones(2), rtol=0.02, atol=0)


def test_zero_empties_a_layer() -> None:
    layer = torch.nn.Linear(2, 3)
    assert zero(layer) is layer
    assert not any(parameter.any() for parameter in layer.parameters())
