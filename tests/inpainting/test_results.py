from __future__ import annotations

import pytest
import torch

from ppgn.inpainting.results import TILE, _stack, _tile, bar

PHOTO = torch.randint(256, (3, 30, 44), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)


def test_tiles_keep_their_shape_and_small_ones_are_enlarged_by_a_whole_factor() -> None:
    wide = _tile(torch.zeros(3, 300, 600, dtype=torch.uint8))
    assert wide.shape == (3, TILE // 2, TILE)
    assert torch.equal(_tile(PHOTO), PHOTO)
    sheet = _stack([wide, PHOTO])[1]
    assert torch.equal(sheet[:, 64 - 60 : 64 + 60, 128 - 88 : 128 + 88][:, ::4, ::4], PHOTO)
    assert (sheet[:, :4] == 255).all()


def test_a_bar_appears_with_the_first_step(capsys: pytest.CaptureFixture[str]) -> None:
    with bar(True, 2, "walk"):
        pass
    assert capsys.readouterr().err == ""
    with bar(True, 2, "walk") as advance:
        advance("what", "ever")
        advance()
    assert "walk: 100%" in capsys.readouterr().err
