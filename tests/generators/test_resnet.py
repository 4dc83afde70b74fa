"""The residual generator: shapes, cost, independence of rows."""

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from ppgn.errors import InputError
from ppgn.generators.resnet import Block, ModulatedNorm, ResNet


def tiny() -> ResNet:
    torch.manual_seed(0)
    generator = ResNet(code_dim=5, widths=(8, 6, 4), depths=(1, 0, 1)).double()
    for parameter in generator.parameters():
        parameter.data.normal_(std=0.3)
    return generator.eval().requires_grad_(False)


def test_images_have_the_promised_shape_and_range():
    generator = tiny()
    x = generator(torch.randn(3, 5, dtype=torch.float64))
    assert generator.signal_shape == (3, 16, 16)
    assert x.shape == (3, 3, 16, 16)
    assert x.min() >= 0
    assert x.max() <= 1
    assert x.std() > 0.01


def test_a_row_does_not_see_its_neighbours():
    generator, h = tiny(), torch.randn(4, 5, dtype=torch.float64)
    assert torch.allclose(generator(h)[2:3], generator(h[2:3]), atol=1e-12)


def test_the_gradient_reaches_the_code():
    generator, h = tiny(), torch.randn(2, 5, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda code: generator(code).mean(dim=(1, 2, 3)), h)


def test_the_default_costs_what_its_configuration_says():
    generator = ResNet()
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        generator(torch.zeros(4, 512))
    assert counter.get_total_flops() / 4 / 2e6 == pytest.approx(246, abs=1)
    assert sum(p.numel() for p in generator.parameters()) / 1e6 == pytest.approx(7.15, abs=0.01)


def test_norm_standardises_positions_then_applies_the_code():
    norm = ModulatedNorm(4, 2)
    x, h = torch.randn(1, 4, 3, 3), torch.randn(1, 2)
    gain, shift = norm.style(h)[0, :4], norm.style(h)[0, 4:]
    position = x[0, :, 1, 2]
    by_hand = (position - position.mean()) / (position.var(unbiased=False) + 1e-5).sqrt() * (1 + gain) + shift
    assert torch.allclose(norm(x, h)[0, :, 1, 2], by_hand, atol=1e-5)


def test_a_fresh_block_passes_its_input_on():
    block, x = Block(4, 4, 2, up=False), torch.randn(1, 4, 3, 3)
    assert torch.equal(block(x, torch.randn(1, 2)), x)


def test_smooth_blocks_repeat_no_pixel():
    repeated, x, h = [], torch.randn(1, 2, 4, 4), torch.zeros(1, 2)
    for smooth in (False, True):
        block = Block(2, 2, 2, up=True, smooth=smooth)
        block.norm2.register_forward_pre_hook(
            lambda _, given: repeated.append(given[0][..., ::2] == given[0][..., 1::2])
        )
        block(x, h)
    assert repeated[0].all()
    assert not repeated[1].any()


def test_only_the_last_blocks_are_smooth():
    generator = ResNet(code_dim=5, widths=(8, 6, 4), depths=(1, 0, 1), smooth=1)
    assert [block.mode for block in generator.blocks] == [None, None, "bilinear", None]


def test_widths_and_depths_must_match():
    with pytest.raises(InputError, match="2 widths need as many depths, not 1"):
        ResNet(widths=(4, 4), depths=(0,))


def test_it_draws_grey_pictures_and_spectrograms_of_sounds() -> None:
    generator = ResNet(code_dim=5, widths=(8, 4), depths=(0, 0), channels=1, medium="sound")
    assert generator(torch.zeros(2, 5)).shape == (2, *generator.signal_shape) == (2, 1, 8, 8)
    assert generator.medium.name == "sounds"
    with pytest.raises(InputError, match="sound"):
        ResNet(medium="sounds")


def grown(widths: tuple[int, ...] = (8, 6, 4, 4), depths: tuple[int, ...] = (1, 0, 2, 0)) -> ResNet:
    larger = ResNet(code_dim=5, widths=widths, depths=depths).double()
    larger.grow_from(tiny())
    return larger


def test_a_grown_generator_draws_the_smaller_ones_pictures_enlarged():
    smaller, h = tiny(), torch.randn(3, 5, dtype=torch.float64)
    plain = ResNet(code_dim=5, widths=(8, 6, 4), depths=(1, 0, 2)).double()  # a block more, no new level
    plain.grow_from(smaller)
    assert torch.allclose(plain(h), smaller(h), atol=1e-12)
    larger = grown()(h)
    assert larger.shape == (3, 3, 32, 32)
    enlarged = torch.nn.functional.interpolate(smaller(h), scale_factor=2.0, mode="bilinear")
    assert (larger - enlarged).abs().mean() < 0.5 * (larger - enlarged.flip(0)).abs().mean()


@pytest.mark.parametrize(
    ("widths", "depths"), [((8, 6, 4, 3), (1, 0, 1, 0)), ((8, 6, 5, 5), (1, 0, 1, 0)), ((8, 6, 4, 4), (0, 1, 1, 0))]
)
def test_a_generator_does_not_grow_from_what_is_no_beginning_of_it(widths, depths):
    with pytest.raises(InputError, match=r"do not grow from \[8, 6, 4\]; give these, then 4 for each doubling"):
        grown(widths, depths)
