"""Codes that G is given, and codes of photographs that are kept."""

import math
from pathlib import Path

import pytest
import torch

from ppgn.errors import InputError
from ppgn.priors.mixture import Mixture
from train.codes import CodeCache, GivenCodes, cached, digest

NONE = {"jitter": 0.0, "pairs": 0.0}


def test_photographs_come_first_and_have_at_most_a_little_noise():
    torch.manual_seed(0)
    h = torch.randn(500, 64)
    given = GivenCodes(jitter=0.1)(h, 300)
    assert given.shape == (800, 64)
    sizes = (given[:500] - h).square().mean(dim=1).sqrt()
    assert float(sizes.max()) < 0.14
    assert float(sizes.square().mean().sqrt()) == pytest.approx(0.1 / math.sqrt(3), rel=0.1)  # uniform in [0, 0.1]
    assert torch.equal(GivenCodes(**NONE)(h), h)


@pytest.mark.parametrize(("share", "batch", "expected"), [(0.5, 32, 16), (0.0, 32, 32), (0.25, 8, 6), (0.9, 1, 1)])
def test_the_share_of_a_batch_that_has_photographs(share, batch, expected):
    assert GivenCodes(share=share).photographs(batch) == expected


def test_codes_near_a_photograph_are_no_farther_from_one_than_the_noise():
    torch.manual_seed(0)
    h = 20 * torch.randn(10, 64)
    drawn = GivenCodes(**NONE, noise=0.5)(h, 400)[10:]
    nearest, rows = torch.cdist(drawn, h).min(dim=1)
    assert set(rows.tolist()) == set(range(10))
    assert float(nearest.max()) < 0.5 * 8 * 1.4
    assert float(nearest.square().mean().sqrt()) == pytest.approx(0.5 * 8 / math.sqrt(2), rel=0.1)


def test_pairs_lie_on_the_way_between_two_photographs():
    torch.manual_seed(0)
    h = torch.eye(2, 64)
    drawn = GivenCodes(jitter=0.0, noise=0.0, pairs=1.0)(h, 200)[2:]
    assert (drawn[:, 2:] == 0).all()
    assert (drawn[:, :2] >= 0).all()
    mixed = drawn[(drawn[:, :2] > 0).all(dim=1)]
    assert 60 < len(mixed) < 140  # half of the pairs are of two different ones
    share = mixed[:, 0] / mixed[:, :2].sum(dim=1)
    assert float(share.min()) < 0.2 < 0.8 < float(share.max())
    length = (share.square() + (1 - share).square()).sqrt()
    assert torch.allclose(mixed.norm(dim=1), length.sqrt(), atol=1e-5)  # between that of a mean and that of a code


def test_kinds_come_in_their_shares():
    torch.manual_seed(0)
    h, prior = torch.zeros(1, 8), Mixture((8,), 2, 0.5)
    prior.means.copy_(torch.tensor([[100.0], [-100.0]]).expand(2, 8))
    prior.log_weights.copy_(torch.tensor([0.8, 0.2]).log())
    drawn = GivenCodes(jitter=0.0, noise=0.5, pairs=0.5, mixture=0.25)(h, 4000, prior)[1:]
    between, mixed = (drawn == 0).all(dim=1), drawn.abs().mean(dim=1) > 50
    assert float(between.float().mean()) == pytest.approx(0.5, abs=0.03)
    assert float(mixed.float().mean()) == pytest.approx(0.25, abs=0.03)
    assert float((drawn[mixed][:, 0] > 0).float().mean()) == pytest.approx(0.8, abs=0.05)
    assert float((drawn[mixed] - drawn[mixed].sign() * 100).std()) == pytest.approx(1.0, abs=0.1)


@pytest.mark.parametrize("settings", [{"share": 1.0}, {"share": -0.1}, {"pairs": 0.6, "mixture": 0.6}, {"mixture": -1}])
def test_shares_that_cannot_be_are_refused(settings):
    with pytest.raises(InputError, match=next(iter(settings))):
        GivenCodes(**settings)


class Counting(torch.nn.Module):
    """Codes are the first two pixels of the red channel; counts the images that it reads."""

    def __init__(self, gain: float = 1.0) -> None:
        super().__init__()
        self.gain = torch.nn.Parameter(torch.tensor(gain))
        self.read = 0

    def forward(self, x):
        self.read += len(x)
        return self.gain * x[:, 0, 0, :2]


@pytest.fixture
def images() -> torch.Tensor:
    return torch.randint(1, 256, (5, 3, 4, 4), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def test_a_code_is_computed_once_and_kept_for_the_next_run(images, tmp_path):
    encoder = Counting()
    cache = CodeCache(encoder, images, 2, tmp_path / "codes")
    both = torch.stack([images, images.flip(-1)], dim=1).flatten(0, 1) / 255  # by place
    for places in (torch.tensor([3, 0, 9]), torch.tensor([9, 4, 3])):
        assert torch.allclose(cache(both[places], places), both[places][:, 0, 0, :2], atol=1e-3)
    assert encoder.read == 4
    again = CodeCache(encoder, images, 2, tmp_path / "codes")
    first = cache(both[[9]], torch.tensor([9]))
    assert torch.equal(again(torch.zeros(1, 3, 4, 4), torch.tensor([9])), first)
    assert encoder.read == 4


def test_another_encoder_or_other_images_have_codes_of_their_own(images, tmp_path):
    place, x = torch.tensor([0]), images[:1] / 255
    first = CodeCache(Counting(), images, 2, tmp_path)(x, place)
    assert torch.equal(CodeCache(Counting(3.0), images, 2, tmp_path)(x, place), (3 * x[:, 0, 0, :2]).half().float())
    changed = images.clone()
    changed[0] = 255 - changed[0]
    assert not torch.equal(CodeCache(Counting(), changed, 2, tmp_path)(changed[:1] / 255, place), first)
    names = {digest(Counting(), images), digest(Counting(3.0), images), digest(Counting(), changed)}
    assert len(names | {digest(Counting(), images[:4])}) == 4


def test_codes_that_cannot_be_kept_are_refused_in_one_line(images, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="cannot keep codes"):
        CodeCache(Counting(), images, 2, tmp_path / "file")


def test_is_made_once_for_what_is_asked(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made: list[int] = []

    def make() -> dict[str, torch.Tensor]:
        made.append(len(made))
        return {"train": torch.full((2,), float(len(made)))}

    path, probe = tmp_path / "cache.safetensors", torch.tensor([0.5, 1.0])

    def ask(probe: torch.Tensor, asked: object = (10, None)) -> float:
        return float(cached(path, probe, list(asked) if isinstance(asked, tuple) else asked, make)["train"][0])

    assert [ask(probe), ask(probe + 0.001)] == [1, 1]
    assert capsys.readouterr().out == ""
    assert ask(probe + 0.1) == 2  # another network, or other images
    assert "looking anew" in capsys.readouterr().out
    assert ask(probe + 0.1, (11, None)) == 3
    assert ask(torch.zeros(3), (11, None)) == 4
    path.write_text("no such file")
    assert ask(torch.zeros(3), (11, None)) == 5
