"""Losses against values worked out by hand."""

import math

import pytest
import torch
from torch.nn import functional as F

from train.losses import (
    BalanceRule,
    HingeAdversarial,
    SoftmaxAdversarial,
    feature_loss,
    gradients,
    image_loss,
)


def test_the_image_loss_is_a_mean_power():
    a, b = torch.tensor([[0.0, 1.0]]), torch.tensor([[0.5, 0.0]])
    assert float(image_loss(a, b)) == pytest.approx((0.25 + 1.0) / 2)
    assert float(image_loss(a, b, power=1.0)) == pytest.approx(0.75)


def test_published_feature_loss_is_the_mean_squared_difference():
    real = {"pool5": torch.tensor([1.0, 2.0, 3.0, 4.0]).view(1, 1, 2, 2)}
    fake = {"pool5": torch.zeros(1, 1, 2, 2)}
    assert float(feature_loss(fake, real, relative=False)) == pytest.approx(30 / 4)


def test_relative_feature_loss_ignores_the_scale_of_a_layer():
    real = torch.randn(4, 3, 5, 5, generator=torch.Generator().manual_seed(0))
    fake = torch.randn(4, 3, 5, 5, generator=torch.Generator().manual_seed(1))
    one = feature_loss({"a": fake}, {"a": real})
    both = feature_loss({"a": fake, "b": 100 * fake}, {"a": real, "b": 100 * real})
    assert float(both) == pytest.approx(float(one), rel=1e-4)
    variance = real.var(dim=(0, 2, 3), keepdim=True)
    by_hand = ((fake - real) ** 2 / (1e-8 + variance + 0.1 * variance.mean())).mean()
    assert float(one) == pytest.approx(float(by_hand), rel=1e-6)


def test_softmax_loss_takes_real_as_0_and_fake_as_1():
    real, fake = torch.tensor([[2.0, 0.0]]), torch.tensor([[1.0, 0.0]])
    on_real, on_fake = SoftmaxAdversarial().discriminator([real], [fake])
    assert float(on_real) == pytest.approx(math.log(1 + math.exp(-2)), rel=1e-5)
    assert float(on_fake) == pytest.approx(math.log(1 + math.exp(1)), rel=1e-5)
    assert float(SoftmaxAdversarial().generator([fake])) == pytest.approx(math.log(1 + math.exp(-1)), rel=1e-5)


def test_hinge_loss_is_averaged_over_heads():
    real = [torch.tensor([[0.5, 2.0]]), torch.tensor([[-1.0]])]
    fake = [torch.tensor([[-0.5, -2.0]]), torch.tensor([[1.0]])]
    on_real, on_fake = HingeAdversarial().discriminator(real, fake)
    assert float(on_real) == pytest.approx((0.25 + 2.0) / 2)
    assert float(on_fake) == pytest.approx((0.25 + 2.0) / 2)
    assert float(HingeAdversarial().generator(fake)) == pytest.approx((1.25 - 1.0) / 2)


def test_balance_rule_follows_the_published_thresholds():
    rule = BalanceRule()
    steps = [  # (D's loss, G's loss) -> who trains next: (D, G)
        ((1.0, 1.0), (True, True)),
        ((0.09, 1.0), (False, True)),  # r < 0.1 freezes D
        ((0.4, 1.0), (False, True)),  # until
        ((0.51, 1.0), (True, True)),  # r > 0.5
        ((10.1, 1.0), (True, False)),  # r > 10 freezes G
        ((0.2, 1.0), (True, False)),  # until
        ((0.05, 1.0), (False, True)),  # r < 0.1
    ]
    for losses, expected in steps:
        rule.update(*losses)
        assert (rule.train_discriminator, rule.train_generator) == expected
    restored = BalanceRule()
    restored.load_state_dict(rule.state_dict())
    assert (restored.train_discriminator, restored.train_generator) == (False, True)


def test_gradients_span_all_tensors_and_keep_the_graph():
    a, b = torch.tensor([3.0], requires_grad=True), torch.tensor([2.0], requires_grad=True)
    loss = 1.5 * a.sum() + b.square().sum()
    found, norm = gradients(loss, [a, b, torch.zeros(2, requires_grad=True)])
    assert [gradient.tolist() for gradient in found] == [[1.5], [4.0], [0.0, 0.0]]
    assert float(norm) == pytest.approx(math.hypot(1.5, 4.0))
    loss.backward()
    assert float(F.mse_loss(a.grad, torch.tensor([1.5]))) == 0
