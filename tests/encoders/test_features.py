"""The feature encoder: what it concatenates, and codes that are white."""

import copy

import pytest
import torch
from torch import nn

from ppgn.encoders.features import FeatureEncoder
from ppgn.errors import InputError
from ppgn.networks.network import Network, Preprocessing


def network() -> Network:
    torch.manual_seed(0)
    body = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(inplace=True), nn.Conv2d(4, 6, 2, stride=2))
    return Network(body, Preprocessing(size=8), name="tiny")


def test_features_are_pooled_and_concatenated_in_the_order_asked():
    net = network()
    encoder = FeatureEncoder(net, ["2", "0"], pool=[0, 2])
    x = torch.rand(3, 3, 8, 8)
    maps = net.features(x, ["2", "0"])
    by_hand = torch.cat([maps["2"].flatten(1), maps["0"].view(3, 4, 2, 4, 2, 4).mean(dim=(3, 5)).flatten(1)], dim=1)
    assert encoder.code_shape == (6 * 16 + 4 * 4,)
    assert torch.allclose(encoder(x), by_hand, atol=1e-6)


def test_with_pixels_a_larger_picture_has_the_code_of_its_average():
    encoder, x = FeatureEncoder(network(), ["2"], pixels=4), torch.rand(2, 3, 8, 8)
    smaller = x.view(2, 3, 4, 2, 4, 2).mean(dim=(3, 5))
    assert torch.allclose(encoder(x), encoder(smaller), atol=1e-6)
    assert not torch.allclose(encoder(x), FeatureEncoder(network(), ["2"])(x), atol=1e-2)
    with encoder.beside(nn.Sequential(encoder.network), x) as encode:  # its own pass is of another picture
        assert torch.equal(encode(x), encoder(x))


def test_codes_of_the_data_it_was_fitted_on_are_white():
    encoder = FeatureEncoder(network(), ["0", "2"], pool=2, dim=7)
    x = torch.rand(400, 3, 8, 8)
    kept = encoder.fit(x.split(64))
    codes = encoder(x)
    assert 0 < kept < 1
    assert torch.allclose(codes.mean(0), torch.zeros(7), atol=1e-3)
    assert torch.allclose(codes.T @ codes / 400, torch.eye(7), atol=2e-3)


def test_more_directions_keep_more_variance_and_all_keep_all():
    x = torch.rand(400, 3, 8, 8)
    kept = [FeatureEncoder(network(), ["2"], pool=1, dim=dim).fit([x]) for dim in (1, 3, 6)]
    assert kept[0] < kept[1] < kept[2]
    assert kept[2] == pytest.approx(1, abs=1e-6)


def test_a_layers_own_scale_does_not_matter_but_its_weight_does():
    x = torch.rand(300, 3, 8, 8)
    louder = network()
    louder.body[2].weight.mul_(10)
    louder.body[2].bias.mul_(10)
    codes = []
    for net, weights in ((network(), [1, 1]), (louder, [1, 1]), (network(), [1, 0.1])):
        encoder = FeatureEncoder(net, ["0", "2"], pool=1, dim=3, weights=weights)
        encoder.fit([x])
        codes.append(encoder(x).abs())  # the sign of a direction is free
    assert torch.allclose(codes[0], codes[1], atol=1e-2)
    assert not torch.allclose(codes[0], codes[2], atol=0.3)


def test_its_directions_are_the_shortest_way_to_a_code():
    encoder = FeatureEncoder(network(), ["0", "2"], pool=2, dim=7, weights=[1, 0.5])
    encoder.fit([torch.rand(400, 3, 8, 8)])
    codes = torch.randn(5, 7, dtype=torch.float64)
    features = codes @ encoder.directions().T
    assert torch.allclose(encoder.project(encoder.mean + features).double(), codes, atol=1e-4)
    elsewhere = torch.randn_like(features)
    unseen = elsewhere - torch.linalg.lstsq(encoder.whitening.double(), encoder.whitening.double() @ elsewhere.T)[0].T
    assert unseen.norm() > 1
    assert torch.allclose((features * unseen).sum(1), torch.zeros(5, dtype=torch.float64), atol=1e-8)


def test_an_encoder_that_was_not_fitted_says_nothing():
    encoder = FeatureEncoder(network(), ["0"], dim=2)
    assert encoder(torch.rand(1, 3, 8, 8)).isnan().all()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"layers": ["3"]}, "unknown layer of tiny '3'"),
        ({"layers": ["0"], "dim": 1000}, "dim=1000 is more than the 64 features"),
        ({"layers": ["0", "2"], "pool": [4]}, "2 layers need as many pool sizes, not 1"),
        ({"layers": ["0", "2"], "weights": [1.0]}, "2 layers need as many weights, not 1"),
    ],
)
def test_bad_arguments_are_named(arguments, words):
    with pytest.raises(InputError, match=words):
        FeatureEncoder(network(), **arguments)


def alike() -> tuple[Network, torch.Tensor]:
    """A network whose six channels are two, each three times, and images to look at."""
    net = network()
    net.body[2].weight[2:] = net.body[2].weight[:2].repeat(2, 1, 1, 1)
    net.body[2].bias[2:] = net.body[2].bias[:2].repeat(2)
    return net, torch.rand(100, 3, 8, 8)


def test_directions_that_the_features_do_not_have_are_refused():
    net, x = alike()
    with pytest.raises(InputError, match="the features span fewer than dim=3 directions"):
        FeatureEncoder(net, ["2"], pool=1, dim=3).fit([x])
    with pytest.raises(InputError, match="the features span fewer than dim=2 directions"):
        FeatureEncoder(network(), ["2"], pool=1, dim=2).fit([x[:1].expand(50, -1, -1, -1)])
    encoder = FeatureEncoder(net, ["2"], pool=1, dim=2)
    assert encoder.fit([x]) == pytest.approx(1, abs=1e-6)
    codes = encoder(x)
    assert torch.allclose(codes.T @ codes / 100, torch.eye(2), atol=2e-3)


def test_a_layer_that_never_varies_spoils_nothing():
    net, x = network(), torch.rand(100, 3, 8, 8)
    net.body[0].weight.zero_()
    net.body[0].bias.copy_(torch.tensor([1.0, 2.0, 3.0, 4.0]))
    with pytest.raises(InputError, match="span fewer than dim=1"):
        FeatureEncoder(net, ["0"], pool=1, dim=1).fit(x.split(30))


def test_large_means_cost_no_precision():
    net, x = network(), torch.rand(400, 3, 8, 8)
    net.body[2].bias.add_(1e3)
    encoder = FeatureEncoder(net, ["2"], pool=1, dim=3)
    encoder.fit(x.split(64))
    features = encoder.features(x).double()
    codes = (features - features.mean(0)) @ encoder.whitening.double().T
    assert torch.allclose(codes.T @ codes / 400, torch.eye(3, dtype=torch.float64), atol=1e-4)


def test_the_linear_map_keeps_its_precision_under_autocast():
    torch.manual_seed(1)
    encoder = FeatureEncoder(network(), ["0"], dim=8)
    encoder.fit([torch.rand(100, 3, 8, 8)])
    features = encoder.features(torch.rand(5, 3, 8, 8))
    exact = encoder.project(features.double()).float()
    with torch.autocast("cpu", torch.bfloat16):
        codes = encoder.project(features)
        rounded = encoder.project(features.bfloat16())
    assert codes.dtype == rounded.dtype == torch.float32
    assert torch.allclose(codes, exact, atol=1e-4)
    assert torch.equal(rounded, encoder.project(features.bfloat16().float()))
    assert encoder.bfloat16().project(features.bfloat16()).dtype == torch.bfloat16


def test_too_few_images_cannot_fit():
    with pytest.raises(InputError, match="3 images cannot fit 4 directions"):
        FeatureEncoder(network(), ["0"], dim=4).fit([torch.rand(3, 3, 8, 8)])


def test_beside_a_condition_on_the_same_network_it_does_not_pass_it_again():
    net = network()
    x = torch.rand(2, 3, 8, 8)
    encoder = FeatureEncoder(net, ["0", "2"], pool=1)
    passes = []
    net.body[0].register_forward_hook(lambda *_: passes.append(1))
    copied = copy.deepcopy(net)
    for asked, count in ((net, 1), (copied, 1), (Network(net.body, Preprocessing(4), name="tiny"), 2)):
        condition, codes = nn.Sequential(nn.Identity(), asked), encoder(x)
        passes.clear()
        with encoder.beside(condition, x) as encode:
            condition(x)
        assert torch.equal(encode(x), codes)
        assert len(passes) == count


def test_beside_a_condition_that_is_shown_something_else_it_passes_its_network():
    net = network()
    encoder, x = FeatureEncoder(net, ["0"], pool=1), torch.rand(2, 3, 8, 8)
    for condition in (net, lambda x: x):
        with encoder.beside(condition, x) as encode:
            condition(x + 0.1)
        assert torch.equal(encode(x), encoder(x))
