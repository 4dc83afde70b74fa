"""Discriminators: published shapes, the dependence on the code, calibration."""

import pytest
import torch

from train.discriminators import DeePSiMDiscriminator, ProjectedDiscriminator


def test_published_discriminator_has_the_published_shapes():
    d = DeePSiMDiscriminator().eval()
    x, sizes = torch.rand(1, 3, 227, 227), []
    y = x
    for layer in d.image:
        y = layer(y)
        if isinstance(layer, torch.nn.Conv2d):
            sizes.append(tuple(y.shape[1:]))
    assert sizes == [(32, 56, 56), (64, 52, 52), (128, 25, 25), (256, 23, 23), (256, 11, 11)]
    assert y.shape == (1, 256)
    assert d.code(torch.zeros(1, 4096)).shape == (1, 512)
    assert d(x, {}, torch.zeros(1, 4096))[0].shape == (1, 2)


@pytest.fixture
def projected() -> tuple[ProjectedDiscriminator, dict[str, torch.Tensor]]:
    torch.manual_seed(0)
    d = ProjectedDiscriminator(["a", "b"], [3, 5], code_dim=4, width=8).eval()
    return d, {"a": torch.randn(2, 3, 8, 8), "b": 100 * torch.randn(2, 5, 4, 4)}


def test_projected_discriminator_judges_positions_of_every_layer(projected):
    d, features = projected
    first, second = d(torch.zeros(2, 3, 1, 1), features, torch.randn(2, 4))
    assert first.shape == (2, 16)
    assert second.shape == (2, 4)


def test_projected_discriminator_reads_the_code(projected):
    d, features = projected
    x = torch.zeros(2, 3, 1, 1)
    assert not torch.allclose(d(x, features, torch.zeros(2, 4))[0], d(x, features, torch.ones(2, 4))[0])


def test_calibration_brings_layers_to_unit_scale(projected):
    d, features = projected
    d.calibrate(features)
    for name, head in zip(d.layers, d.heads, strict=True):
        rms = (features[name] * head.scale).square().mean().sqrt()
        assert float(rms) == pytest.approx(0.91, abs=0.02)  # 1 / (1 + 0.1)


def test_a_second_game_needs_no_code_and_judges_the_rows_that_have_none():
    torch.manual_seed(0)
    d = ProjectedDiscriminator(["a"], [3], code_dim=4, width=8, pixels=4, unconditional=True).eval()
    features, x, h = {"a": torch.randn(3, 3, 8, 8)}, torch.rand(3, 3, 16, 16), torch.randn(2, 4)
    logits, others = d(x, features, h), d(x, features, -h)
    assert (d.games, d.pixel_heads) == (2, 1)
    assert [tuple(each.shape) for each in logits] == [(2, 16), (2, 4), (3, 16), (3, 4)]
    assert [torch.equal(a, b) for a, b in zip(logits, others, strict=True)] == [False, False, True, True]
    features["a"][2], x[2] = 0, 0
    others = d(x, features, h)
    assert [torch.equal(a, b) for a, b in zip(logits, others, strict=True)] == [True, True, False, False]


def test_what_mixes_features_is_fixed(projected):
    d, _ = projected
    assert all("mixing" not in name and "scale" not in name for name, _ in d.named_parameters())


def test_a_head_on_pixels_judges_patches_of_the_image_and_reads_the_code():
    torch.manual_seed(0)
    d = ProjectedDiscriminator(["a"], [3], code_dim=4, width=8, pixels=4).eval()
    features, x, h = {"a": torch.randn(2, 3, 8, 8)}, torch.rand(2, 3, 16, 16), torch.randn(2, 4)
    on_features, on_pixels = d(x, features, h)
    assert d.pixel_heads == 1
    assert on_pixels.shape == (2, 4)
    assert torch.equal(on_features, d(1 - x, features, h)[0])
    assert not torch.allclose(on_pixels, d(1 - x, features, h)[1])
    assert not torch.allclose(on_pixels, d(x, features, -h)[1])
    changed = x.clone()
    changed[:, :, 0, 0] = 1 - changed[:, :, 0, 0]
    assert torch.equal(on_pixels[:, 3], d(changed, features, h)[1][:, 3])  # a far corner is another patch


def test_a_head_on_pixels_takes_grey_for_colour():
    judge = ProjectedDiscriminator([], [], 4, pixels=2).eval()
    grey, h = torch.rand(2, 1, 16, 16), torch.randn(2, 4)
    assert torch.equal(judge(grey, {}, h)[0], judge(grey.expand(-1, 3, -1, -1), {}, h)[0])
