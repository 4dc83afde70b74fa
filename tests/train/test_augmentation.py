"""Augmentation: what it changes, alike for two images of one row, differentiable."""

import torch

from train.augmentation import Augmentation

NONE = {"brightness": 0.0, "saturation": 0.0, "contrast": 0.0, "cutout": 0.0}


def test_a_draw_makes_the_same_changes_at_every_call_and_each_row_has_its_own():
    torch.manual_seed(0)
    x = torch.rand(1, 3, 12, 12).expand(6, 3, 12, 12)
    augment = Augmentation(colour=1.0, cutout=1.0).draw(6)
    seen = augment(x)
    assert torch.equal(seen, augment(x))
    assert all(not torch.equal(seen[0], other) for other in seen[1:])
    assert not torch.equal(seen, Augmentation(colour=1.0).draw(6)(x))


def test_nothing_drawn_changes_nothing():
    x = torch.rand(4, 3, 8, 8)
    assert torch.allclose(Augmentation(**NONE).draw(4)(x), x, atol=1e-6)
    assert torch.allclose(Augmentation(colour=0.0, cutout=0.0).draw(4)(x), x, atol=1e-6)


def test_brightness_moves_all_pixels_alike_and_contrast_keeps_the_mean():
    torch.manual_seed(1)
    x = torch.rand(64, 3, 8, 8)
    moved = Augmentation(**{**NONE, "brightness": 0.3}, colour=1.0).draw(64)(x) - x
    assert torch.allclose(moved, moved[:, :1, :1, :1].expand_as(moved), atol=1e-5)
    assert 0.25 < float(moved.abs().max()) <= 0.3
    spread = Augmentation(**{**NONE, "contrast": 0.25}, colour=1.0).draw(64)(x)
    assert torch.allclose(spread.mean(dim=(1, 2, 3)), x.mean(dim=(1, 2, 3)), atol=1e-5)
    ratio = spread.std(dim=(1, 2, 3)) / x.std(dim=(1, 2, 3))
    assert 0.75 <= float(ratio.min()) < 0.85 < 1.15 < float(ratio.max()) <= 1.25


def test_saturation_keeps_grey_pixels_and_the_brightness_of_others():
    torch.manual_seed(2)
    x = torch.rand(32, 3, 8, 8)
    x[:, :, 0, 0] = 0.4
    seen = Augmentation(**{**NONE, "saturation": 0.5}, colour=1.0).draw(32)(x)
    assert torch.allclose(seen[:, :, 0, 0], x[:, :, 0, 0], atol=1e-6)
    assert torch.allclose(seen.mean(1), x.mean(1), atol=1e-6)
    assert not torch.allclose(seen, x, atol=0.05)


def test_a_cutout_is_a_square_of_its_side_wherever_it_fits():
    torch.manual_seed(3)
    seen = Augmentation(**{**NONE, "cutout": 1.0}, hole=0.25).draw(200)(torch.ones(200, 3, 16, 16))
    holes = (seen == 0).all(dim=1)
    assert torch.equal(holes, (seen == 0).any(dim=1))
    rows, columns = holes.any(dim=2).sum(1), holes.any(dim=1).sum(1)
    assert torch.equal(holes.sum(dim=(1, 2)), rows * columns)
    assert int(rows.max()) == int(columns.max()) == 4
    assert holes.any(dim=0).all()  # every pixel is behind one of them


def test_the_gradient_passes():
    torch.manual_seed(4)
    x = torch.rand(3, 3, 8, 8, requires_grad=True)
    Augmentation(colour=1.0, cutout=0.0).draw(3)(x).square().sum().backward()
    assert (x.grad != 0).all()
