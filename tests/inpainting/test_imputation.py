"""What a picture with a hole says of its code, against the formula written out, and against the truth."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from torch import Tensor, nn

from ppgn.encoders.features import FeatureEncoder
from ppgn.errors import InputError
from ppgn.inpainting.imputation import LEAST, RESIDUAL, observe
from ppgn.media.blending import poisson_blend
from ppgn.networks.network import Network, Preprocessing

HOLE = torch.zeros(8, 8, dtype=torch.bool)
HOLE[2:6, 3:8] = True


def pictures(count: int, seed: int = 0) -> Tensor:
    """Sums of three slow waves, the channels alike but for a tint: what is in a hole can be told from around it."""
    random = torch.Generator().manual_seed(seed)
    across, down = torch.meshgrid(torch.linspace(0, math.pi, 8), torch.linspace(0, math.pi, 8), indexing="ij")
    waves = torch.stack([across.cos(), down.cos(), (2 * across).cos() * down.cos()])
    strengths = torch.randn(count, 3, generator=random) / 8
    grey = 0.5 + torch.einsum("nk,kij->nij", strengths, waves)
    return (grey[:, None] + torch.randn(count, 3, 1, 1, generator=random) / 20).clamp(0, 1)


@pytest.fixture(scope="module")
def encoder() -> FeatureEncoder:
    torch.manual_seed(0)
    body = nn.Sequential(nn.Conv2d(3, 6, 3, padding=1), nn.ReLU(), nn.Conv2d(6, 8, 2, stride=2))
    made = FeatureEncoder(Network(body, Preprocessing(size=8), name="tiny"), ["0", "2"], pool=[2, 4], dim=5)
    made.fit([pictures(500)])
    return made


def test_it_is_the_formula_of_its_description(encoder: FeatureEncoder) -> None:
    picture, *fills = (pictures(7) + torch.rand(7, 3, 8, 8) / 2).clamp(0, 1)  # so that the code leaves something out
    filled = torch.stack([poisson_blend(picture, fill, HOLE) for fill in fills])
    features = encoder.features(filled).double()
    directions = encoder.directions()
    left_out = features - encoder.mean - encoder(filled).double() @ directions.T
    noise = features.var(dim=0) + RESIDUAL * left_out.square().mean(dim=0)
    noise = torch.maximum(noise, LEAST * directions.square().sum(dim=1))
    precision, information = observe(encoder, picture, HOLE, torch.stack(fills))
    by_hand = torch.zeros(5, 5, dtype=torch.float64)
    for feature, direction in enumerate(directions):
        assert noise[feature] > 0
        by_hand += torch.outer(direction, direction) / noise[feature]
    torch.testing.assert_close(precision, by_hand, rtol=1e-3, atol=1e-3)
    expected = directions.T @ ((features.mean(0) - encoder.mean) / noise)
    torch.testing.assert_close(information, expected, rtol=1e-3, atol=1e-3)


def test_it_comes_nearer_to_the_whole_pictures_code_than_a_smooth_fill_or_nothing(encoder: FeatureEncoder) -> None:
    errors = {"told": 0.0, "smooth": 0.0, "nothing": 0.0}
    for picture in pictures(20, seed=3):
        precision, information = observe(encoder, picture, HOLE, pictures(16, seed=4))
        told = torch.linalg.solve(torch.eye(5) + precision, information)
        smooth = encoder(poisson_blend(picture, torch.zeros(3, 8, 8), HOLE)[None])[0]
        code = encoder(picture[None])[0]
        for name, guess in (("told", told), ("smooth", smooth), ("nothing", torch.zeros(5))):
            errors[name] += float((guess - code).square().mean()) / 20
    assert errors["told"] < 0.8 * errors["smooth"]
    assert errors["told"] < 0.5 * errors["nothing"]


def test_a_larger_hole_says_less(encoder: FeatureEncoder) -> None:
    larger = torch.ones(8, 8, dtype=torch.bool)
    larger[0] = False
    picture, fills = pictures(1, seed=1)[0], pictures(16, seed=2)
    known = [
        torch.linalg.slogdet(torch.eye(5) + observe(encoder, picture, hole, fills)[0])[1] for hole in (HOLE, larger)
    ]
    assert known[0] > known[1] + 1


def test_a_feature_that_never_lives_says_nothing(encoder: FeatureEncoder) -> None:
    mute = copy.deepcopy(encoder)
    body = mute.network.body
    assert isinstance(body, nn.Sequential)
    with torch.no_grad():
        for parameter in body[0].parameters():
            parameter[1] = 0
    mute.fit([pictures(500)])
    precision, information = observe(mute, pictures(1)[0], HOLE, pictures(4, seed=2))
    assert precision.isfinite().all()
    assert information.isfinite().all()


def test_what_cannot_be(encoder: FeatureEncoder) -> None:
    with pytest.raises(InputError, match="1 fills have no variance; give 2 or more"):
        observe(encoder, pictures(1)[0], HOLE, pictures(1))
    plain = FeatureEncoder(encoder.network, ["0"], pool=2)
    with pytest.raises(InputError, match="dim=None has no directions"):
        observe(plain, pictures(1)[0], HOLE, pictures(2))
