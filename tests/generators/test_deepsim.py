from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
import torch
from torch import Tensor

from ppgn.contracts import Generator
from ppgn.errors import InputError
from ppgn.generators.deepsim import DeePSiM, ReleasedPictures
from ppgn.media.medium import Pictures

UPCONV = {
    "deconv5": (256, 8, 8),
    "conv5_1": (512, 8, 8),
    "deconv4": (256, 16, 16),
    "conv4_1": (256, 16, 16),
    "deconv3": (128, 32, 32),
    "conv3_1": (128, 32, 32),
    "deconv2": (64, 64, 64),
    "deconv1": (32, 128, 128),
    "deconv0": (3, 256, 256),
}
DENSE: dict[str, dict[str, tuple[int, ...]]] = {
    "fc6": {"defc7": (4096,), "defc6": (4096,), "defc5": (4096,)},
    "fc7": {"defc7": (4096,), "defc6": (4096,), "defc5": (4096,)},
    "pool5": {"defc7": (512, 6, 6), "defc6": (512, 6, 6), "defc5": (512, 4, 4)},
}
UPCONV_WEIGHTS = {
    "deconv5": 256 * 256 * 16,
    "conv5_1": 256 * 512 * 9,
    "deconv4": 512 * 256 * 16,
    "conv4_1": 256 * 256 * 9,
    "deconv3": 256 * 128 * 16,
    "conv3_1": 128 * 128 * 9,
    "deconv2": 128 * 64 * 16,
    "deconv1": 64 * 32 * 16,
    "deconv0": 32 * 3 * 16,
}


CODE = 300 * torch.randn(1, 9216, generator=torch.Generator().manual_seed(0))


def on_meta(*args: object) -> DeePSiM:
    with torch.device("meta"):
        return DeePSiM(*args)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def generator() -> DeePSiM:
    torch.manual_seed(0)
    return DeePSiM("pool5")


@pytest.mark.parametrize("layer", ["fc6", "fc7", "pool5"])
def test_every_layer_has_the_shape_of_the_table(layer: str) -> None:
    generator = on_meta(layer)
    shapes: dict[str, tuple[int, ...]] = {}
    for name, module in generator.named_children():
        module.register_forward_hook(lambda _m, _i, out, name=name: shapes.update({name: tuple(out.shape[1:])}))
    image = generator(torch.empty(2, *generator.code_shape, device="meta"))
    assert shapes == {**DENSE[layer], **UPCONV}
    assert image.shape == (2, 3, 227, 227)
    assert generator.signal_shape == (3, 227, 227)
    assert isinstance(generator, Generator)


def test_numbers_of_trainable_weights_are_those_of_the_table() -> None:
    trainable = {name: p.numel() for name, p in on_meta("fc6").named_parameters() if p.requires_grad}
    assert {f"{name}.weight": count for name, count in UPCONV_WEIGHTS.items()}.items() <= trainable.items()
    assert sum(trainable.values()) == 3 * (4096 * 4096 + 4096) + 5_752_320 == 56_096_256
    pool5 = sum(p.numel() for p in on_meta("pool5").parameters())
    dense = (256 + 512 + 512) * 512 * 9 + 3 * 512
    assert pool5 == dense + 5_752_320 + 256 * 256 * 16  # its first up-convolution reads 512 channels


def test_biases_of_up_convolutions_are_kept_but_never_train(generator: DeePSiM) -> None:
    generator.requires_grad_(True)
    assert not any(name.startswith(("deconv", "conv")) and "bias" in name for name, _ in generator.named_parameters())
    assert {name for name in generator.state_dict() if name.endswith(".bias")} == {
        f"{name}.bias" for name in (*DENSE["pool5"], *UPCONV)
    }
    assert all(torch.equal(b, torch.zeros_like(b)) for name, b in generator.named_buffers() if name.endswith("bias"))


def test_weights_are_he_initialised(generator: DeePSiM) -> None:
    assert generator.deconv4.weight.std().item() == pytest.approx((2 / (256 * 16)) ** 0.5, rel=0.01)
    assert generator.defc6.weight.std().item() == pytest.approx((2 / (512 * 9)) ** 0.5, rel=0.01)  # type: ignore[operator]


def test_a_black_drawing_is_the_mean_colour_in_rgb(generator: DeePSiM) -> None:
    image = generator(torch.zeros(1, 9216))
    assert image[0, :, 100, 100].tolist() == pytest.approx([123 / 255, 117 / 255, 104 / 255])


def test_the_image_is_the_centre_of_what_the_last_layer_draws_in_bgr(generator: DeePSiM) -> None:
    drawn: list[Tensor] = []
    handle = generator.deconv0.register_forward_hook(lambda _m, _i, out: drawn.append(out.clone()))
    image = generator(torch.randn(2, 9216, generator=torch.Generator().manual_seed(0)))
    handle.remove()
    for rgb, mean in enumerate((123, 117, 104)):
        torch.testing.assert_close(image[:, rgb], (drawn[0][:, 2 - rgb, 14:241, 14:241] + mean) / 255)


def test_slopes_are_three_tenths_and_the_last_layer_linear(generator: DeePSiM) -> None:
    passed: list[tuple[Tensor, Tensor]] = []  # what each layer takes and gives
    handles = [
        module.register_forward_hook(lambda _m, taken, given: passed.append((taken[0], given)))
        for module in generator.children()
    ]
    generator(CODE)
    for handle in handles:
        handle.remove()
    assert len(passed) == 12
    for (_, given), (taken, _) in pairwise(passed):
        torch.testing.assert_close(taken, torch.where(given > 0, given, 0.3 * given))


def test_pixels_may_leave_the_range_and_keep_their_gradients(generator: DeePSiM) -> None:
    h = CODE.clone().requires_grad_()
    image = generator(h)
    for outside in (image[image < 0], image[image > 1]):
        (gradient,) = torch.autograd.grad(outside.sum(), h, retain_graph=True)
        assert gradient.abs().max() > 0


def test_code_width_is_free_for_features_and_fixed_for_maps() -> None:
    assert on_meta("fc6", 512).code_shape == (512,)
    assert on_meta("pool5").code_shape == (9216,)
    with pytest.raises(InputError, match="code_dim=512 with code_layer=pool5; expected 9216"):
        on_meta("pool5", 512)
    assert on_meta("fc8").code_shape == (1000,)
    with pytest.raises(InputError, match="unknown code layer of DeePSiM 'fc5'; nearest: fc"):
        on_meta("fc5")


@pytest.mark.parametrize(("size", "offset"), [(227, 14), (224, 16), (256, 0), (255, 0)])
def test_the_crop_is_the_authors(size: int, offset: int) -> None:
    with torch.device("meta"):
        made = DeePSiM("fc6", size=size)
    assert (made.offset, made.signal_shape) == (offset, (3, size, size))
    assert made(torch.empty(1, 4096, device="meta")).shape == (1, 3, size, size)


@pytest.mark.parametrize(
    ("given", "said"),
    [({"size": 257}, "size=257.*expected 1 to 256"), ({"size": 0}, "size=0"), ({"pictures": "pale"}, "'pale'")],
)
def test_settings_that_cannot_be(given: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError, match=said):
        DeePSiM("fc6", **given)


def test_pictures_as_the_authors_code_draws_them() -> None:
    with torch.device("meta"):
        assert type(DeePSiM("fc6").medium) is Pictures
    medium = ReleasedPictures()
    drawn = torch.tensor([-130.0, -60.0, 0.0, 60.0, 119.0, 130.0]).view(6, 1, 1, 1).expand(6, 3, 2, 2)  # RGB, no mean
    x = (drawn + torch.tensor([123.0, 117.0, 104.0]).view(3, 1, 1)) / 255
    stored = medium.store(x)
    assert stored[:, :, 0, 0].tolist() == [[value] * 3 for value in (0, 64, 128, 191, 254, 255)]
    assert (medium.restore(stored) - x)[1:5].abs().max() < 0.5 / 255
