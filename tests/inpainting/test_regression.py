"""The regression on drawings against one fitted anew without each drawing, and what the disk remembers."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest
import torch
from torch import Tensor

import ppgn
from ppgn.inpainting import regression
from ppgn.inpainting.regression import Drawings, Regression, drawings, fitted, some_hole
from ppgn.media.blending import harmonic
from ppgn.model import PPGN
from ppgn.priors.bank import Bank
from tests.inpainting.test_completion import whitening_model

HOLE = torch.zeros(4, 4, dtype=torch.bool)
HOLE[2:, 2:] = True
MIDDLE = torch.zeros(4, 4, dtype=torch.bool)  # which many holes at random are
MIDDLE[1:3, 1:3] = True


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(regression, "RIDGE", 1.0)
    monkeypatch.setattr(regression, "EFFECTIVE", 40.0)
    return tmp_path / "ppgn"


def bank(members: int = 80) -> Bank:
    prior = Bank([5], members, sigma=0.5)
    prior.fit(torch.randn(members, 5, generator=torch.Generator().manual_seed(4)))
    return prior.eval()


def test_what_counts_twice_is_like_two_and_the_covariance_is_that_of_what_is_left_out() -> None:
    random = torch.Generator().manual_seed(0)
    smooth = torch.randn(30, 4, generator=random, dtype=torch.float64) + 2
    whole = smooth @ torch.randn(4, 4, generator=random, dtype=torch.float64) + smooth.sin()
    folds, counts = torch.arange(30) % 3, torch.ones(30)
    counts[:5] = 2.0
    ones, left = torch.cat([smooth, torch.ones(30, 1)], dim=1), []
    penalty = torch.diag(torch.tensor([1.0] * 4 + [1e-6], dtype=torch.float64))
    rows = torch.tensor([*range(30), *range(5)])  # the first five twice
    for fold in range(3):
        mine, others = rows[folds[rows] == fold], rows[folds[rows] != fold]
        s, apart = ones[others], (whole - smooth)[others]
        weight = torch.linalg.solve(s.T @ s + penalty, s.T @ apart)
        left.append((whole - smooth)[mine] - ones[mine] @ weight)
    errors = torch.cat(left)
    found = Regression.fit(smooth, whole, counts, folds)
    covariance = (found.directions * found.variance) @ found.directions.T
    torch.testing.assert_close(covariance, errors.T @ errors / 35, rtol=1e-8, atol=1e-10)
    every = torch.linalg.solve(ones[rows].T @ ones[rows] + penalty, ones[rows].T @ (whole - smooth)[rows])
    torch.testing.assert_close(found.mean(smooth), smooth + ones @ every, rtol=1e-8, atol=1e-10)


def test_it_comes_nearer_to_the_whole_pictures_code_than_a_smooth_fill() -> None:
    model = whitening_model()
    found = drawings(model, bank(), 80).regression(HOLE)
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
    assert first.regression(HOLE) is first.regression(HOLE.clone())
    (file,) = cache.iterdir()
    whole = file.read_bytes()
    file.write_bytes(whole[:-3])
    assert torch.equal(Drawings(model, prior, 80).codes, first.codes)
    assert len(file.read_bytes()) == len(whole)
    monkeypatch.setattr(regression, "_draw", None)
    assert torch.equal(Drawings(model, prior, 80).smooth, first.smooth)


def test_those_of_the_shipped_model_come_along(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(regression, "_draw", None)
    model = ppgn.load()
    found = drawings(model, model.priors["bank"], 1024)
    assert (found.codes.shape, found.smooth.shape, found.cells.shape) == ((1024, 512), (4096, 512), (4096, 64))
    errors = (found.smooth - found.codes.repeat_interleave(4, dim=0)).square().mean(dim=1)
    assert errors.mean() < 1  # of codes of unit variance; those of two pictures are 2 apart


def test_a_hole_costs_no_encoding_once_drawings_are_known(monkeypatch: pytest.MonkeyPatch) -> None:
    model = whitening_model()
    found = drawings(model, bank(), 80)
    monkeypatch.setattr(PPGN, "encode", None)
    first, second = found.regression(HOLE), found.regression(~HOLE)
    assert not torch.equal(first.weight, second.weight)


def test_a_regression_is_that_of_holes_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    """Codes of other holes, spoilt, do not matter where enough are alike."""
    monkeypatch.setattr(regression, "EFFECTIVE", 10.0)
    found = drawings(whitening_model(), bank(), 80)
    apart = (found.cells - regression._cells(MIDDLE[None])).square().mean(dim=1)
    clean = found.regression(MIDDLE).weight
    found.smooth[apart > 0.2] = 1e3
    found._known.clear()
    torch.testing.assert_close(found.regression(MIDDLE).weight, clean)
    found.smooth[apart.argmin()] = 1e3
    found._known.clear()
    assert not torch.allclose(found.regression(MIDDLE).weight, clean)


def test_a_hole_from_edge_to_edge_is_fitted_to_the_very_hole() -> None:
    model, prior = whitening_model(), bank()
    found, exact = drawings(model, prior, 80), partial(fitted, model, prior, 80)
    columns = torch.zeros_like(HOLE)
    columns[:, :2] = True
    for hole in (columns, columns.T.clone()):
        assert torch.equal(found.regression(hole, exact).weight, exact(hole).weight)
        found._known.clear()
        assert not torch.equal(found.regression(hole).weight, exact(hole).weight)
    assert torch.equal(found.regression(MIDDLE, exact).weight, drawings(model, prior, 80).regression(MIDDLE).weight)
    assert not torch.equal(found.regression(MIDDLE).weight, exact(MIDDLE).weight)


@pytest.mark.parametrize("size", [(4, 4), (64, 64), (16, 48)])
def test_holes_at_random_are_of_many_kinds_and_leave_something(size: tuple[int, int]) -> None:
    random = torch.Generator().manual_seed(0)
    holes = torch.stack([some_hole(size, random) for _ in range(300)])
    shares = holes.double().mean(dim=(1, 2))
    assert holes.shape == (300, *size)
    assert (shares.min(), shares.max()) < (0.2, 0.6)
    assert shares.max() > 0.3
    assert holes.any(dim=0).double().mean() > 0.9  # few places are always known


def test_it_is_as_good_as_one_fitted_to_the_very_hole() -> None:
    model, prior = whitening_model(), bank(300)
    whole = model.encode(model.decode(prior.codes(torch.arange(300))))
    new = model.decode(torch.randn(60, 5, generator=torch.Generator().manual_seed(9)))

    def smooth(pictures: Tensor) -> Tensor:
        return model.encode(harmonic(pictures.flatten(0, 1), MIDDLE).view_as(pictures))

    drawn = model.decode(prior.codes(torch.arange(300)))
    very = Regression.fit(smooth(drawn), whole, torch.ones(300), torch.arange(300) % 8)
    found = drawings(model, prior, 300).regression(MIDDLE)
    errors = [(way.mean(smooth(new)) - model.encode(new)).square().mean() for way in (found, very)]
    assert errors[0] < 1.3 * errors[1]
