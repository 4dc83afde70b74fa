"""The operators do what the papers' formulas say, the denoising what scikit-image's does."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from ppgn.photographs import Photographs
from ppgn.samplers.noise import Noise
from ppgn.visualize.regularization import (
    MEAN,
    Crops,
    Patches,
    Wobble,
    Yosinski,
    look_once,
    total_variation,
    tv_bregman,
)

X = torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))
G = torch.randn(2, 3, 16, 16, generator=torch.Generator().manual_seed(1))


def test_decay_pulls_to_the_mean_colour() -> None:
    assert torch.allclose(Yosinski(decay=0.3)(X, G, 0) - MEAN, 0.7 * (X - MEAN), atol=1e-6)


def test_blur_comes_every_few_steps_the_first_included() -> None:
    blur = Yosinski(blur=1.0, every=4)
    assert [bool(torch.allclose(blur(X, G, i), X)) for i in range(5)] == [False, True, True, True, False]
    assert total_variation(blur(X, G, 0)).max() < 0.3 * total_variation(X).min()


def test_small_norms_and_contributions_turn_to_the_mean_colour() -> None:
    for operator, said in (
        (Yosinski(norm=50), (X - MEAN).norm(dim=1)),
        (Yosinski(contribution=90), ((X - MEAN) * G).sum(1).abs()),
    ):
        out = operator(X, G, 1)
        gone = (out - MEAN).abs().amax(1) < 1e-7
        share = operator.norm or operator.contribution
        assert torch.allclose(gone.float().mean((1, 2)), torch.tensor(share / 100), atol=0.01)
        for row in range(2):
            assert said[row][gone[row]].max() <= said[row][~gone[row]].min()
            assert torch.allclose(out[row][:, ~gone[row]], X[row][:, ~gone[row]])


def test_contribution_is_judged_after_the_other_operators() -> None:
    both = Yosinski(decay=0.5, norm=50, contribution=90)(X, G, 1)
    one_by_one = Yosinski(contribution=90)(Yosinski(norm=50)(Yosinski(decay=0.5)(X, G, 1), G, 1), G, 1)
    assert torch.allclose(both, one_by_one, atol=1e-6)


@pytest.mark.parametrize("weight", [0.05, 2.0])
def test_denoising_is_that_of_scikit_image(weight: float) -> None:
    restoration = pytest.importorskip("skimage.restoration", reason="the extra inpaint is not installed")
    x = 255 * X[:1].double()
    settings = {"weight": weight, "max_num_iter": 3000, "eps": 1e-9}
    theirs = restoration.denoise_tv_bregman(x[0].permute(1, 2, 0).numpy(), channel_axis=2, **settings)
    ours = tv_bregman(x, weight, 3000, 1e-9)
    assert torch.allclose(ours[0].permute(1, 2, 0), torch.from_numpy(theirs), atol=1e-3)


def test_an_image_is_denoised_alike_in_any_batch() -> None:
    x = torch.cat([X, torch.full((1, 3, 16, 16), 0.5)])
    assert torch.equal(tv_bregman(x, 5.0)[1], tv_bregman(x[1:2], 5.0)[0])


def test_total_variation_of_an_edge() -> None:
    x = torch.zeros(1, 1, 4, 4)
    x[..., 2:] = 0.5
    assert total_variation(x).item() == pytest.approx(4 * 0.25)
    assert total_variation(x, beta=1).item() == pytest.approx(4 * 0.5, abs=1e-4)


def test_patches_of_the_photographs_cost_little(tmp_path: Path) -> None:
    photos = (np.random.default_rng(0).random((3, 32, 32, 3)) * 255).astype(np.uint8)
    np.save(tmp_path / "val_images.npy", photos)
    prior = Patches.of(Photographs.find(tmp_path), 32, torch.device("cpu"), count=6000)
    one, noise = torch.from_numpy(photos[:1]).permute(0, 3, 1, 2) / 255, torch.rand(1, 3, 32, 32)
    assert prior(one, 0).item() < 0.2 * prior(noise, 0).item()


def test_patches_ask_anew_every_few_steps() -> None:
    prior = Patches(torch.randn(50, 48, generator=torch.Generator().manual_seed(0)), size=4, every=3)
    first = prior(X, 0)
    near = prior.near
    assert prior(X, 2).equal(first)
    assert prior.near is near
    prior(1 - X, 3)
    assert prior.near is not near


def test_looks_are_a_seed_s_own_and_move() -> None:
    assert torch.equal(look_once(X, Noise([0, 1]))[0], X)
    for looks, count in ((Wobble(), 1), (Crops(2), 2)):
        both, alone = looks(X, Noise([0, 1])), looks(X[1:], Noise([1]))
        assert both.shape == (count, 2, 3, 16, 16)
        assert torch.allclose(both[:, 1:], alone, atol=1e-6)
        assert not torch.allclose(both[0], X, atol=0.05)


def test_a_wobble_that_does_not_wobble_is_the_image() -> None:
    assert torch.allclose(Wobble(0, [1.0], [0])(X, Noise([0, 1]))[0], X, atol=1e-5)
