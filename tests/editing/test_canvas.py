from __future__ import annotations

import pytest
import torch

from ppgn.editing.canvas import Canvas
from ppgn.errors import InputError

PHOTO = torch.randint(256, (3, 40, 60), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
LIGHTER = torch.full((3, 8, 8), 0.1)


def test_the_square_in_the_middle_changes_and_fades_towards_the_rest() -> None:
    canvas = Canvas.of(PHOTO // 2, None, (8, 8))
    assert canvas.cut(PHOTO).shape == (3, 40, 40)
    change = (canvas.changed(LIGHTER).int() - (PHOTO // 2).int())[0]
    assert (change[:, :10] == 0).all()
    assert (change[:, 50:] == 0).all()
    assert (change[:, 14:46] - 25.5).abs().max() <= 0.5  # up to the picture's own edges
    assert (change.diff(dim=1).abs() <= 13).all()  # without a seam


def test_pixels_outside_a_mask_stay_bit_for_bit() -> None:
    mask = torch.zeros(40, 60, dtype=torch.bool)
    mask[5:20, 30:50] = True
    edited = Canvas.of(PHOTO, mask, (8, 8)).changed(torch.randn(3, 8, 8))
    assert torch.equal(edited[:, ~mask], PHOTO[:, ~mask])
    assert not torch.equal(edited, PHOTO)


def test_a_square_photo_of_the_generators_size_is_seen_as_it_is() -> None:
    square = PHOTO[:, :, :40]
    canvas = Canvas.of(square, torch.ones(40, 40, dtype=torch.bool), (40, 40))
    assert torch.equal(canvas.image, square / 255)
    assert (canvas.share == 1).all()
    assert torch.equal(canvas.changed(torch.zeros(3, 40, 40)), square)


@pytest.mark.parametrize(
    ("mask", "word"), [(torch.ones(3, 3, dtype=torch.bool), "3x3"), (torch.zeros(40, 60, dtype=torch.bool), "nothing")]
)
def test_a_mask_that_cannot_be_is_refused(mask: torch.Tensor, word: str) -> None:
    with pytest.raises(InputError, match=word):
        Canvas.of(PHOTO, mask, (8, 8))
