"""The U-Net prior: what it is before training, that it learns, which codes it takes."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from ppgn.contracts import NoiseConditionalPrior
from ppgn.errors import InputError
from ppgn.numerics.convolution import AlikeInAnyBatch
from ppgn.priors.unet import UNet
from tests.priors.training import randomize

NOTHING = torch.zeros(0)
SHAPE = (2, 4, 4)


def plain(count: int) -> Tensor:
    """Codes of two flat colours, that a denoiser tells by looking at all places at once."""
    side = torch.randint(2, (count, 1, 1, 1)) * 2.0 - 1
    return side.expand(count, *SHAPE)


def test_before_training_it_is_the_best_linear_denoiser() -> None:
    prior, h = UNet(SHAPE, [8, 8], 1, [0.02, 10], 0.5), torch.randn(3, *SHAPE)
    assert isinstance(prior, NoiseConditionalPrior)
    torch.testing.assert_close(h + prior.at(2.0).residual(h, NOTHING), h / 5)
    assert torch.equal(prior.residual(h, NOTHING), prior.at(0.5).residual(h, NOTHING))


def test_it_learns_what_no_linear_map_knows() -> None:
    torch.manual_seed(0)
    prior = UNet(SHAPE, [16, 16], 1, [0.5, 2.0], 1.0, embedding=16)
    optimizer = torch.optim.Adam(prior.parameters(), 5e-3)
    for _ in range(80):
        h, sigma = plain(64), 0.5 * 4 ** torch.rand(64)
        loss = (prior.denoise(h + sigma[:, None, None, None] * torch.randn_like(h), sigma) - h).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    h = plain(300)
    with torch.no_grad():
        found = prior.denoise(h + torch.randn_like(h), torch.ones(1))
    assert (found - h).square().mean() < 0.1  # the linear denoiser of independent numbers leaves 0.5


def test_a_row_is_the_same_in_any_batch() -> None:
    torch.manual_seed(0)
    prior, h = randomize(UNet((4, 8, 8), [16, 24], 2, [0.02, 10], 0.5), std=0.1), torch.randn(5, 4, 8, 8)
    with AlikeInAnyBatch(), torch.no_grad():
        whole = prior.at(0.7).residual(h, NOTHING)
        for rows in (1, 2, 5):
            assert torch.equal(prior.at(0.7).residual(h[:rows], NOTHING), whole[:rows])


@pytest.mark.parametrize("shape", [(16,), (2, 5, 4), (2, 4)])
def test_codes_that_it_does_not_take_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(InputError, match=r"expected \(C, H, W\), sides multiples of 2"):
        UNet(shape, [8, 8], 1, [0.02, 10], 0.5)


def test_a_patch_is_one_place_of_the_network() -> None:
    torch.manual_seed(0)
    squares = randomize(UNet((12, 4, 4), [16, 24], 1, [0.1, 10], 0.5, embedding=16), std=0.1)
    prior = UNet((3, 8, 8), [16, 24], 1, [0.1, 10], 0.5, patch=2, embedding=16)
    prior.load_state_dict(squares.state_dict())
    h = torch.randn(2, 3, 8, 8)
    found = prior.at(0.7).residual(h, NOTHING)
    torch.testing.assert_close(
        F.pixel_unshuffle(found, 2), squares.at(0.7).residual(F.pixel_unshuffle(h, 2), NOTHING), rtol=1e-4, atol=1e-5
    )
    with pytest.raises(InputError, match="sides multiples of 8"):
        UNet((3, 12, 12), [16, 16], 1, [0.1, 10], 0.5, patch=4)
    with pytest.raises(InputError, match="patch=0"):
        UNet((3, 12, 12), [16, 16], 1, [0.1, 10], 0.5, patch=0)
