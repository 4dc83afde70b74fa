"""Distances between sets of features: closed forms, numpy, and torchmetrics as an oracle."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor
from torchmetrics.image.kid import poly_mmd

from ppgn.errors import InputError
from ppgn.metrics import bootstrap, fidelity


def standardised(n: int, d: int, seed: int) -> Tensor:
    """Rows (n, d) with mean exactly 0 and covariance exactly the identity."""
    x = torch.randn(n, d, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    x = x - x.mean(0)
    return x @ torch.linalg.inv(torch.linalg.cholesky(torch.cov(x.T)).T)


def test_frechet_of_gaussians_that_commute() -> None:
    x, y = standardised(50, 3, 0), standardised(80, 3, 1)
    scale, shift = torch.tensor([1.0, 2.0, 5.0]), torch.tensor([1.0, 0.0, -2.0])
    # |m|² + Σ (s − 1)²
    assert fidelity.frechet(x, y * scale + shift).value == pytest.approx(5 + 0 + 1 + 16)
    assert fidelity.frechet(x, x).value == pytest.approx(0, abs=1e-8)


def test_frechet_of_any_two_covariances_is_that_of_the_matrix_square_root() -> None:
    x, y = (standardised(40, 4, s) @ torch.randn(4, 4, dtype=torch.float64) + s for s in (2, 3))
    a, b = np.cov(x.T.numpy()), np.cov(y.T.numpy())
    values, vectors = np.linalg.eig(a @ b)
    root = (vectors * np.sqrt(values)) @ np.linalg.inv(vectors)
    assert np.allclose(root @ root, a @ b)
    expected = ((x.mean(0) - y.mean(0)) ** 2).sum().item() + np.trace(a + b - 2 * root)
    assert fidelity.frechet(x, y).value == pytest.approx(expected)
    assert fidelity.frechet(y, x).value == pytest.approx(expected)


def test_frechet_of_fewer_rows_than_features() -> None:
    x = torch.tensor([[0.0, 0, 0, 0], [2.0, 0, 0, 0]])  # variance 2 along one axis
    y = torch.tensor([[0.0, 0, 0, 0], [0.0, 4.0, 0, 0]])  # variance 8 along another
    assert fidelity.frechet(x, y).value == pytest.approx(1 + 4 + 2 + 8)


@pytest.mark.parametrize("rows", [5, 40])  # fewer than features, and more
def test_frechet_of_weighted_rows_is_that_of_rows_repeated(rows: int) -> None:
    x, y = torch.randn(rows, 8, generator=torch.Generator().manual_seed(0)), 2 * standardised(50, 8, 1) + 1
    weights = torch.randint(4, (3, rows), generator=torch.Generator().manual_seed(2))
    found = fidelity.frechet(x, y, weights.double())
    expected = torch.tensor([fidelity.frechet(x.repeat_interleave(w, dim=0), y).value for w in weights])
    moved = expected - expected.mean() + found.value  # the interval is centred
    ends = moved.double().quantile(torch.tensor([0.025, 0.975]).double())
    assert [found.low, found.high] == pytest.approx(ends.tolist(), rel=1e-5)


def test_the_interval_of_the_frechet_distance_lies_around_it() -> None:
    x, y = (torch.randn(n, 6, generator=torch.Generator().manual_seed(n)) for n in (20, 500))
    weights = bootstrap.draws(20)
    found = fidelity.frechet(x, y, weights)
    resampled = torch.tensor(
        [fidelity.frechet(x.repeat_interleave(w.long(), 0), y).value for w in weights[:100]]
    ).double()
    assert resampled.mean() > found.value + 0.05  # rows drawn twice narrow the covariance
    assert found.low is not None
    assert found.high is not None
    assert found.low < found.value < found.high
    spread = resampled.quantile(0.975) - resampled.quantile(0.025)
    assert found.high - found.low == pytest.approx(spread.item(), rel=1e-6)


def test_kid_is_the_double_sum_over_pairs() -> None:
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(4, 3)), rng.normal(size=(6, 3)) + 0.5

    def k(u: np.ndarray, v: np.ndarray) -> float:
        return float((u @ v / 3 + 1) ** 3)

    xx = np.mean([k(x[i], x[j]) for i in range(4) for j in range(4) if i != j])
    yy = np.mean([k(y[i], y[j]) for i in range(6) for j in range(6) if i != j])
    xy = np.mean([k(u, v) for u in x for v in y])
    found = fidelity.kid(torch.tensor(x), torch.tensor(y))
    assert found.value == pytest.approx(xx + yy - 2 * xy)


def test_kid_of_sets_of_one_size_is_that_of_torchmetrics() -> None:
    x, y = (torch.rand(30, 8, generator=torch.Generator().manual_seed(s), dtype=torch.float64) for s in (0, 1))
    assert fidelity.kid(x, y).value == pytest.approx(poly_mmd(x, y).item())


def test_kid_of_one_distribution_is_about_0_and_of_two_is_not() -> None:
    x, y = (torch.randn(400, 5, generator=torch.Generator().manual_seed(s)) for s in (0, 1))
    same, other = fidelity.kid(x, y), fidelity.kid(x, y + 1)
    assert same.low is not None
    assert same.high is not None
    assert same.low < 0 < same.high
    assert abs(same.value) < 0.1
    assert other.low is not None
    assert other.low > 1


def test_kid_weighs_rows_and_never_compares_a_row_with_itself() -> None:
    x, y = (torch.randn(5, 3, generator=torch.Generator().manual_seed(s)).double() for s in (0, 1))
    distance, of_y = fidelity.kernel_distance(x, y), torch.ones(1, 5).double()
    some = torch.tensor([[1.0, 1, 1, 0, 0]]).double()
    assert distance(some, of_y).item() == pytest.approx(fidelity.kid(x[:3], y).value)
    assert distance(2 * some, of_y).item() == pytest.approx(distance(some, of_y).item())


def test_the_interval_of_kid_is_about_as_wide_as_kid_varies() -> None:
    generator = torch.Generator().manual_seed(0)
    sets = [torch.randn(60, 4, generator=generator) + 0.5 for _ in range(200)]
    real = torch.randn(4000, 4, generator=generator)
    values = torch.tensor([fidelity.kid(x, real[i * 20 : i * 20 + 60]).value for i, x in enumerate(sets[:190])])
    interval = fidelity.kid(sets[0], real[:60])
    assert interval.low is not None
    assert interval.high is not None
    assert interval.high - interval.low == pytest.approx(3.92 * values.std().item(), rel=0.4)


def test_density_and_coverage_of_a_line_by_hand() -> None:
    real = torch.tensor([[0.0], [1.0], [3.0], [10.0]])  # radii for k=1: 1, 1, 2, 7
    fake = torch.tensor([[0.5], [2.5], [20.0]])  # inside the balls of 0, 1 | 3 | none
    density, coverage = fidelity.density_coverage(real, fake, k=1)
    assert (density.value, coverage.value) == pytest.approx((3 / 3, 3 / 4))
    # k=2: radii 3, 2, 3, 9 around 0, 1, 3, 10: 0.5 lies in three balls, 2.5 in all four
    density, coverage = fidelity.density_coverage(real, fake, k=2)
    assert (density.value, coverage.value) == pytest.approx((7 / (2 * 3), 4 / 4))


def test_density_and_coverage_of_weighted_rows_are_those_of_rows_repeated() -> None:
    real, fake = (torch.randn(n, 2, generator=torch.Generator().manual_seed(n)) for n in (30, 6))
    weights = torch.tensor([[2.0, 0, 1, 0, 0, 3], [0, 0, 0, 6, 0, 0]]).double()
    found = fidelity.density_coverage(real, fake, weights, k=3)
    repeated = [fidelity.density_coverage(real, fake.repeat_interleave(w.long(), dim=0), k=3) for w in weights]
    for figure, values, centred in zip(found, zip(*repeated, strict=True), (False, True), strict=True):
        expected = torch.tensor([value.value for value in values]).double()
        expected += centred * (figure.value - expected.mean())
        ends = expected.quantile(torch.tensor([0.025, 0.975]).double())
        assert [figure.low, figure.high] == pytest.approx(ends.tolist(), rel=1e-5)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda x: fidelity.frechet(x[:1], x), "the Fréchet distance needs 2 pictures or more, not 1"),
        (lambda x: fidelity.kid(x, x[:1]), "KID needs 2 pictures or more, not 1"),
        (lambda x: fidelity.density_coverage(x, x), "density and coverage with k=5 needs 6 pictures or more, not 5"),
        (lambda x: fidelity.density_coverage(x, x[:0], k=1), "density and coverage needs 1 pictures or more, not 0"),
    ],
)
def test_too_few_rows(call, message: str) -> None:
    with pytest.raises(InputError, match=message):
        call(torch.rand(5, 3))


def test_psnr_of_a_constant_difference() -> None:
    x = torch.zeros(2, 3, 4, 4, dtype=torch.uint8)
    y = torch.stack([torch.full((3, 4, 4), 255), torch.full((3, 4, 4), 51)]).to(torch.uint8)
    assert fidelity.psnr(x, y).tolist() == pytest.approx([0, -20 * np.log10(0.2)])


def test_psnr_counts_the_hole_alone_where_there_is_one() -> None:
    ramp = torch.arange(20, dtype=torch.uint8).mul(12).expand(2, 3, 24, 20).contiguous()
    holes = torch.zeros(2, 24, 20, dtype=torch.bool)
    holes[0, 8:16, 6:14] = True
    holes[1, 0:5, 0:7] = True
    completed = ramp.clone()
    completed[:, :, 20:] += 10  # outside of both holes
    completed[0, :, 8:16, 6:10] += 5  # half of the first hole
    completed[1, :, 0:5, 0:7] += 5
    expected = 10 * torch.tensor([255**2 / 12.5, 255**2 / 25]).double().log10()
    torch.testing.assert_close(fidelity.psnr(completed, ramp, holes), expected)


def test_features_are_pooled_channels_that_do_not_depend_on_batches_or_types() -> None:
    features = fidelity.Features(batch_size=2)
    pictures = torch.randint(256, (3, 3, 64, 64), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    found = features(pictures)
    maps = features.network.features(pictures.float() / 255, ["bn2"])["bn2"]
    assert found.shape == (3, 1280)
    assert maps.shape == (3, 1280, 4, 4)
    assert torch.allclose(found, maps.sum(dim=(2, 3)) / 16, atol=1e-4)
    assert torch.allclose(features(pictures.double() / 255), found, atol=1e-4)


def test_one_unit_has_no_interval() -> None:
    assert bootstrap.mean(torch.tensor([3.0])) == bootstrap.Estimate(3.0)
    x = torch.randn(4, 3)
    assert fidelity.kid(x, x + 1, bootstrap.draws(1).repeat(1, 4)).low is None


def test_the_interval_of_kid_over_classes_holds_the_figure() -> None:
    """Classes of pictures much alike: a class drawn twice has more such pairs, which alone would move the interval."""
    torch.manual_seed(0)
    x = torch.randn(6, 1, 16).expand(6, 4, 16).flatten(0, 1) + 0.01 * torch.randn(24, 16)
    found = fidelity.kid(x, torch.randn(200, 16), bootstrap.draws(6).repeat_interleave(4, dim=1))
    assert found.low is not None
    assert found.high is not None
    assert found.low < found.value < found.high


def test_realism_is_the_largest_quotient_of_radius_and_distance() -> None:
    real = torch.tensor([[0.0], [1.0], [2.0], [10.0]])
    radii = {0: 1.0, 1: 1.0, 2: 1.0}  # to the nearest; that of 10 is 8, above the median
    points = torch.tensor([[0.5], [4.0], [11.0]])
    expected = [max(r / abs(p - x) for x, r in radii.items()) for p in points.flatten().tolist()]
    assert torch.allclose(fidelity.realism(real, k=1)(points), torch.tensor(expected))
    with pytest.raises(InputError, match="realism"):
        fidelity.realism(real[:3])


def test_figures_of_groups_are_those_of_their_rows_in_blocks_of_any_size(monkeypatch: pytest.MonkeyPatch) -> None:
    """The pairs of rows are looked at block by block, and only sums over groups are kept."""
    x, real = (torch.randn(n, 4, generator=torch.Generator().manual_seed(n)) for n in (23, 30))
    groups = torch.tensor([0, 1, 2, 3, 1] * 5)[:23]
    weights = bootstrap.draws(4)[:40]
    rows = weights[:, groups]
    expected = [fidelity.kid(x, real, rows), fidelity.frechet(x, real, rows)]
    expected += fidelity.density_coverage(real, x, rows)
    expected.append(bootstrap.mean(x[:, 0], rows))
    monkeypatch.setattr(fidelity, "BLOCK", 7)
    found = [fidelity.kid(x, real, weights, groups), fidelity.frechet(x, real, weights, groups)]
    found += fidelity.density_coverage(real, x, weights, groups=groups)
    found.append(bootstrap.mean(x[:, 0], weights, groups))
    for one, other in zip(found, expected, strict=True):
        ends = (other.value, other.low, other.high)
        assert (one.value, one.low, one.high) == pytest.approx(ends, rel=1e-6, abs=1e-6)
    assert fidelity.frechet(x[:4], real, weights, torch.arange(4)).value == pytest.approx(
        fidelity.frechet(x[:4], real).value
    )
