"""The regression on drawings against one fitted anew without each drawing, and what the disk remembers."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from ppgn.inpainting import regression
from ppgn.inpainting.regression import Drawings, Regression, drawings
from ppgn.media.blending import harmonic
from ppgn.priors.bank import Bank
from tests.inpainting.test_completion import whitening_model

HOLE = torch.zeros(4, 4, dtype=torch.bool)
HOLE[2:, 2:] = True


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(regression, "RIDGE", 1.0)
    return tmp_path / "ppgn"


def bank(members: int = 80) -> Bank:
    prior = Bank([5], members, sigma=0.5)
    prior.fit(torch.randn(members, 5, generator=torch.Generator().manual_seed(4)))
    return prior.eval()


def test_the_covariance_is_that_of_what_is_left_out() -> None:
    random = torch.Generator().manual_seed(0)
    smooth = torch.randn(30, 4, generator=random, dtype=torch.float64) + 2
    whole = smooth @ torch.randn(4, 4, generator=random, dtype=torch.float64) + smooth.sin()
    errors = []
    for row in range(30):
        others = torch.arange(30) != row
        s, apart = smooth[others], (whole - smooth)[others]
        # a ridge around the mean of all, so that one row's leverage is known in closed form
        one = torch.cat([s - smooth.mean(0), torch.ones(29, 1, dtype=torch.float64)], dim=1)
        penalty = torch.diag(torch.tensor([1.0] * 4 + [0.0], dtype=torch.float64))
        weight = torch.linalg.solve(one.T @ one + penalty, one.T @ apart)
        mine = torch.cat([smooth[row] - smooth.mean(0), torch.ones(1, dtype=torch.float64)])
        errors.append((whole - smooth)[row] - mine @ weight)
    left = torch.stack(errors)
    found = Regression.fit(smooth, whole)
    covariance = (found.directions * found.variance) @ found.directions.T
    torch.testing.assert_close(covariance, left.T @ left / 30, rtol=1e-8, atol=1e-10)


def test_it_comes_nearer_to_the_whole_pictures_code_than_a_smooth_fill() -> None:
    model = whitening_model()
    found = drawings(model, bank(), 80).regression(model, HOLE)
    new = model.decode(torch.randn(40, 5, generator=torch.Generator().manual_seed(9)))
    smooth = model.encode(harmonic(new.flatten(0, 1), HOLE).view_as(new))

    def error(codes: Tensor) -> float:
        return float((codes - model.encode(new)).square().mean())

    assert error(found.mean(smooth)) < 0.6 * error(smooth)
    assert torch.equal(found.mean(smooth[:1]), found.mean(smooth)[:1])


def test_drawings_are_remembered_by_the_disk_and_by_the_model(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model, prior = whitening_model(), bank()
    first = drawings(model, prior, 80)
    assert drawings(model, prior, 80) is first
    assert first.regression(model, HOLE) is first.regression(model, HOLE.clone())
    (file,) = cache.iterdir()
    whole = file.read_bytes()
    file.write_bytes(whole[:-3])
    assert torch.equal(Drawings(model, prior, 80).codes, first.codes)
    assert file.read_bytes() == whole
    monkeypatch.setattr(regression, "_draw", None)
    assert torch.equal(Drawings(model, prior, 80).pictures, first.pictures)
