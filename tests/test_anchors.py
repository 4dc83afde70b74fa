"""Anchors on a bank and a network small enough to ask about every member by hand."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from ppgn import anchors
from ppgn.conditions.base import Condition, Plain
from ppgn.conditions.classifier import Classifier
from ppgn.errors import InputError
from ppgn.networks.network import Network, Preprocessing
from ppgn.posterior import Posterior
from ppgn.priors.bank import Bank
from ppgn.priors.gaussian import Gaussian
from tests.tiny import CLASSES, PIXELS, TinyGenerator, weights

MEMBERS = 60


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path / "ppgn"


class Body(nn.Module):
    """Logits of a linear classifier; counts the images it sees."""

    def __init__(self, seed: int = 20) -> None:
        super().__init__()
        self.weight = nn.Parameter(8 * weights(seed, CLASSES, PIXELS, dtype=torch.float32))
        self.seen = 0

    def forward(self, x: Tensor) -> Tensor:
        self.seen += len(x)
        return x.flatten(1) @ self.weight.T


class Bright(Condition):
    """A condition of somebody else: log p falls with every pixel's distance from white."""

    def forward(self, x: Tensor) -> Tensor:
        return -(1 - x).square().flatten(1).sum(1)


@pytest.fixture
def body() -> Body:
    return Body()


@pytest.fixture
def network(body: Body) -> Network:
    return Network(body, Preprocessing(4), name="tiny", labels=[f"class {k}" for k in range(CLASSES)], copy=False)


@pytest.fixture
def generator() -> TinyGenerator:
    return TinyGenerator(dtype=torch.float32)


@pytest.fixture
def bank() -> Bank:
    prior = Bank([5], MEMBERS, sigma=0.5)
    prior.fit(torch.randn(MEMBERS, 5, generator=torch.Generator().manual_seed(4)))
    return prior.eval()


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    """Look at few members, in small batches."""
    for name, value in (("SURVEY", 20), ("SHORTLIST", 12), ("BATCH", 7), ("CHUNK", 25), ("RIDGE", 0.1)):
        monkeypatch.setattr(anchors, name, value)


def true(generator: TinyGenerator, bank: Bank, condition: nn.Module) -> Tensor:
    log_p: Tensor = condition(generator(bank.codes(torch.arange(MEMBERS))))
    return log_p


def test_log_p_is_that_of_each_code_drawn(generator: TinyGenerator, bank: Bank, network: Network) -> None:
    for condition in (Classifier(network, 1), Bright(), Classifier(network, 2) & ~Classifier(network, 0)):
        codes, log_p = anchors.find(generator, bank, condition)
        torch.testing.assert_close(log_p, condition(generator(codes)), rtol=5e-3, atol=5e-3)


@pytest.mark.usefixtures("few")
def test_the_shortlist_holds_the_members_that_the_condition_likes(
    generator: TinyGenerator, bank: Bank, network: Network
) -> None:
    either = Classifier(network, 1) | Classifier(network, 3)
    for condition in (Classifier(network, 1), Bright(), either, Bright() & 0.5 * Classifier(network, 2)):
        _, log_p = anchors.find(generator, bank, condition)
        assert len(log_p) == 12
        best = true(generator, bank, condition).sort(descending=True).values
        assert log_p.max() == pytest.approx(best[0].item(), abs=0.02)
        assert log_p.exp().sum() > 0.7 * best[:12].exp().sum()


@pytest.mark.usefixtures("few")
def test_a_network_is_asked_once_for_all_targets_and_runs(
    generator: TinyGenerator, bank: Bank, network: Network, body: Body, cache: Path
) -> None:
    condition = Classifier(network, 1)
    body.seen = 0  # a blank image told the number of classes
    first = anchors.find(generator, bank, condition)
    assert body.seen == 20 + 12 - sum(bool((bank.codes(torch.arange(20)) == code).all(1).any()) for code in first[0])
    body.seen = 0
    again = anchors.find(generator, bank, Classifier(network, 1))
    assert body.seen == 0
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    anchors.find(generator, bank, Classifier(network, 2))
    assert body.seen <= 12
    assert sorted(path.name.split("-")[0] for path in cache.iterdir()) == ["anchors", "anchors", "answers"]


@pytest.mark.usefixtures("few")
def test_what_was_found_is_not_guessed_again(
    generator: TinyGenerator, bank: Bank, network: Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    conditions = Classifier(network, 1), Classifier(network, 2) & 0.5 * Classifier(network, 3)
    first = [anchors.find(generator, bank, condition) for condition in conditions]
    with monkeypatch.context() as patch:
        patch.setattr(anchors.Answers, "guesses", None)
        again = [anchors.find(generator, bank, condition) for condition in conditions]
    assert all(torch.equal(a, b) for pair in zip(first, again, strict=True) for a, b in zip(*pair, strict=True))
    other = anchors.find(generator, bank, Classifier(network, 2) & 0.25 * Classifier(network, 3))
    assert not torch.equal(other[1], first[1][1])
    monkeypatch.setattr(anchors, "SHORTLIST", 11)  # of another version
    assert len(anchors.find(generator, bank, conditions[0])[1]) == 11


@pytest.mark.usefixtures("few")
def test_what_was_asked_before_changes_no_answer(generator: TinyGenerator, bank: Bank, network: Network) -> None:
    anchors.find(generator, bank, Classifier(network, 1))
    later = anchors.find(generator, bank, Classifier(network, 2))
    for path in anchors.paths.cache().iterdir():
        path.unlink()
    alone = anchors.find(generator, bank, Classifier(network, 2))
    assert all(torch.equal(a, b) for a, b in zip(later, alone, strict=True))


@pytest.mark.usefixtures("few")
@pytest.mark.parametrize("data", [b"", b"no safetensors at all", b'\x08\0\0\0\0\0\0\0{"a":1}}'])
def test_a_damaged_cache_is_as_good_as_none(
    generator: TinyGenerator, bank: Bank, network: Network, cache: Path, data: bytes
) -> None:
    first = anchors.find(generator, bank, Classifier(network, 1))
    files = list(cache.iterdir())
    assert len(files) == 2
    for path in files:
        path.write_bytes(data)
    again = anchors.find(generator, bank, Classifier(network, 1))
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    assert all(path.stat().st_size > len(data) for path in files)


def test_a_cache_that_cannot_be_written_is_done_without(
    generator: TinyGenerator, bank: Bank, network: Network, cache: Path
) -> None:
    cache.write_text("a file where the folder should be")
    assert len(anchors.find(generator, bank, Classifier(network, 1))[1]) == MEMBERS


@pytest.mark.usefixtures("few")
def test_other_weights_are_other_answers(generator: TinyGenerator, bank: Bank, network: Network, cache: Path) -> None:
    anchors.find(generator, bank, Classifier(network, 1))
    changed = Network(Body(seed=21), Preprocessing(4), name="tiny", labels=network.labels)
    _, log_p = anchors.find(generator, bank, Classifier(changed, 1))
    anchors.find(TinyGenerator(seed=5, dtype=torch.float32), bank, Classifier(network, 1))
    assert len(list(cache.glob("answers-*"))) == len(list(cache.glob("anchors-*"))) == 3
    best = true(generator, bank, Classifier(changed, 1)).max()
    assert log_p.max() == pytest.approx(best.item(), abs=0.02)


def test_conditions_of_other_people_leave_nothing_on_the_disk(
    generator: TinyGenerator, bank: Bank, cache: Path
) -> None:
    said = [lambda x: -x.flatten(1).sum(1), lambda x: x.flatten(1).sum(1)]  # of one name
    low, high = (anchors.find(generator, bank, condition)[1] for condition in map(Plain, said))
    assert low.max() < 0 < high.min()
    for condition in (Bright(), Bright() & ~Plain(said[0])):
        anchors.find(generator, bank, condition)
    assert not cache.exists()


@pytest.mark.usefixtures("few")
def test_a_bank_that_knows_the_network_needs_no_survey(
    generator: TinyGenerator, bank: Bank, network: Network, body: Body
) -> None:
    every = bank.codes(torch.arange(MEMBERS))
    knows = Bank([5], MEMBERS, sigma=0.5, network=anchors.digest(network), outputs=CLASSES).eval()
    knows.load_state_dict({**bank.state_dict(), "readout": anchors.regression(every, network(generator(every)))})
    body.seen = 0
    _, log_p = anchors.find(generator, knows, Classifier(network, 1))
    assert body.seen == 12
    best = true(generator, bank, Classifier(network, 1)).sort(descending=True).values
    assert log_p.exp().sum() > 0.9 * best[:12].exp().sum()


def test_digests_tell_weights_and_settings_apart(network: Network, bank: Bank) -> None:
    same = Network(Body(), Preprocessing(4), name="tiny", labels=network.labels)
    others = [
        Network(Body(), Preprocessing(4, mean=(0.1, 0.1, 0.1)), name="tiny", labels=network.labels),
        Network(Body(seed=3), Preprocessing(4), name="tiny", labels=network.labels),
    ]
    assert anchors.digest(same) == anchors.digest(network)
    assert anchors.digest(same.double().eval()) == anchors.digest(network)
    assert len({anchors.digest(other) for other in [network, *others]}) == 3


def test_nothing_finite_is_refused(generator: TinyGenerator, bank: Bank) -> None:
    class Nothing(Condition):
        def forward(self, x: Tensor) -> Tensor:
            return x.flatten(1)[:, 0] * math.nan

    with pytest.raises(InputError, match="finite"):
        anchors.find(generator, bank, Nothing())


def test_a_posterior_finds_its_anchors_once(generator: TinyGenerator, bank: Bank, network: Network, body: Body) -> None:
    target = Posterior(generator, bank, Classifier(network, 1), find_anchors=anchors.find)
    codes, log_p = target.anchors()
    assert torch.equal(log_p, anchors.find(generator, bank, Classifier(network, 1))[1])
    body.seen = 0
    assert target.anchors()[0] is codes
    assert body.seen == 0


def test_a_posterior_near_anchors_keeps_all_but_the_prior(
    generator: TinyGenerator, bank: Bank, network: Network
) -> None:
    target, h, anchor = Posterior(generator, bank, Classifier(network, 1)), torch.randn(2, 5), torch.randn(2, 5)
    near = target.near(anchor, 0.5).at(0.5).evaluate(h)
    torch.testing.assert_close(near.prior_residual, (anchor - h) / 2)
    torch.testing.assert_close(near.log_condition, target.evaluate((h + anchor) / 2).log_condition)


def test_a_prior_without_photographs_has_no_anchors(generator: TinyGenerator, network: Network) -> None:
    target = Posterior(generator, Gaussian(), Classifier(network, 1))
    for refused in (target.anchors, lambda: target.near(torch.zeros(1, 5), 0.5)):
        with pytest.raises(InputError, match="prior=bank"):
            refused()


def test_the_shipped_bank_knows_the_default_condition_network() -> None:
    """Otherwise the first picture would wait for a survey."""
    from ppgn import model
    from ppgn.networks import imagenet

    bank = model.load("natural64").priors["bank"]
    weight = bank.regression(anchors.digest(imagenet.load()))
    assert weight is not None
    assert weight.shape == (1000, 513)
    assert bank.regression(anchors.digest(imagenet.load("efficientnet_lite0"))) is None
