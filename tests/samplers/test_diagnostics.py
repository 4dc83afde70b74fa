from __future__ import annotations

import sys

import numpy as np
import pytest
import torch

from ppgn.errors import InputError
from ppgn.posterior import Posterior
from ppgn.priors.gaussian import Gaussian
from ppgn.samplers.chains import run_chains
from ppgn.samplers.diagnostics import Recorder, diagnose
from ppgn.samplers.noise import Noise
from tests.samplers.plain import langevin, mala
from tests.tiny import TinyCondition, TinyGenerator

TARGET = Posterior(TinyGenerator(), Gaussian(), TinyCondition(1))
RNG = np.random.default_rng(0)


def doubles(*seeds: int) -> Noise:
    return Noise(seeds, dtype=torch.float64)


def test_traces_are_those_of_the_states() -> None:
    recorder = Recorder(projections=3)
    samples = run_chains([TARGET], mala(0.3), doubles(1, 2), steps=6, thin=1, callback=recorder)
    traces = recorder.traces()
    assert list(traces) == ["log_condition", "energy", "projection0", "projection1", "projection2"]
    codes = samples.codes.view(2, 6, 5)
    np.testing.assert_array_equal(traces["log_condition"], samples.log_prob.view(2, 6))
    log_prior = torch.distributions.Normal(0.0, 1.0).log_prob(codes).sum(dim=2)
    np.testing.assert_allclose(traces["energy"], -log_prior - samples.log_prob.view(2, 6))
    projected = np.stack([traces[f"projection{k}"] for k in range(3)], axis=2).reshape(12, 3)
    directions = np.linalg.lstsq(samples.codes.numpy(), projected, rcond=None)[0]
    np.testing.assert_allclose(samples.codes.numpy() @ directions, projected, atol=1e-6)
    np.testing.assert_allclose((directions**2).sum(axis=0), 1, atol=1e-6)


def test_a_kernel_without_density_or_test_has_neither_energy_nor_acceptance() -> None:
    pytest.importorskip("arviz_stats")
    recorder = Recorder(projections=1, every=2)
    run_chains([TARGET], langevin(0.1, 0.1, 0.4), doubles(1, 2), steps=20, callback=recorder)
    assert {name: values.shape for name, values in recorder.traces().items()} == {
        "log_condition": (2, 10),
        "projection0": (2, 10),
    }
    diagnosis = recorder.diagnose(burn_in=2)
    assert diagnosis.acceptance is None
    assert diagnosis.ess.keys() == diagnosis.r_hat.keys() == {"log_condition", "projection0"}


def test_acceptance_is_the_share_of_steps_that_moved_after_burn_in() -> None:
    pytest.importorskip("arviz_stats")
    recorder = Recorder()
    samples = run_chains([TARGET], mala(0.6), doubles(1, 2, 3), steps=40, thin=1, callback=recorder)
    codes = samples.codes.view(3, 40, 5)[:, 9:]
    moved = (codes[:, 1:] != codes[:, :-1]).any(dim=2)
    assert 0.05 < moved.double().mean() < 0.95
    assert recorder.diagnose(burn_in=10).acceptance == pytest.approx(moved.double().mean().item())


def test_independent_draws_and_correlated_ones() -> None:
    pytest.importorskip("arviz_stats")
    white, correlated = RNG.standard_normal((4, 1000)), RNG.standard_normal((4, 1000))
    for k in range(1, 1000):  # autoregressive, correlation 0.8: n · (1 − 0.8) / (1 + 0.8) effective draws
        correlated[:, k] = 0.8 * correlated[:, k - 1] + 0.6 * correlated[:, k]
    ess, r_hat = diagnose({"white": white, "correlated": correlated})
    assert ess["white"] == pytest.approx(4000, rel=0.15)
    assert ess["correlated"] == pytest.approx(4000 / 9, rel=0.3)
    assert r_hat["white"] == pytest.approx(1, abs=0.01)


def test_chains_that_disagree_or_drift_are_seen() -> None:
    pytest.importorskip("arviz_stats")
    apart = RNG.standard_normal((2, 500)) + np.array([[0.0], [3.0]])
    drifting = RNG.standard_normal((2, 500)) + np.linspace(0, 4, 500)
    r_hat = diagnose({"apart": apart, "drifting": drifting, "constant": np.ones((2, 50))})[1]
    assert min(r_hat["apart"], r_hat["drifting"]) > 1.3
    assert np.isnan(r_hat["constant"])


def test_too_few_draws_are_refused() -> None:
    pytest.importorskip("arviz_stats")
    with pytest.raises(InputError, match="diagnostics: energy has 3 draws per chain; expected 4 or more"):
        diagnose({"energy": np.zeros((2, 3))})


def test_the_extra_is_named_where_it_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "arviz_stats.base", None)
    with pytest.raises(InputError, match=r"pip install 'ppgn\[diagnostics\]'"):
        diagnose({"energy": np.zeros((2, 30))})
