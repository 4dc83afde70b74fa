from __future__ import annotations

import sys

import pytest
import torch

from ppgn.errors import InputError
from ppgn.metrics import inpainting

HOLES = torch.zeros(2, 24, 20, dtype=torch.bool)
HOLES[0, 8:16, 6:14] = True
HOLES[1, 0:5, 0:7] = True
RAMP = torch.arange(20, dtype=torch.uint8).mul(12).expand(2, 3, 24, 20).contiguous()


@pytest.mark.parametrize("name", inpainting.FILLS)
def test_fills_change_the_hole_alone(name: str) -> None:
    if name == "biharmonic":
        pytest.importorskip("skimage")
    if name in ("telea", "navier_stokes"):
        pytest.importorskip("cv2")
    spoilt = torch.where(HOLES[:, None], 255, RAMP)
    filled = inpainting.fill(spoilt, HOLES, name)
    assert filled.dtype == torch.uint8
    for row in range(2):
        assert torch.equal(filled[row][:, ~HOLES[row]], RAMP[row][:, ~HOLES[row]])
    if name == "mean_colour":
        mean = RAMP[0, 0][~HOLES[0]].float().mean().round()
        assert (filled[0][:, HOLES[0]] == mean).all()
    else:  # the ramp goes on through the hole in its middle
        assert (filled[0].int() - RAMP[0].int()).abs().max() <= {"harmonic": 1, "biharmonic": 1}.get(name, 30)


def test_a_missing_library_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cv2", None)
    with pytest.raises(InputError, match=r"this fill needs cv2: pip install 'ppgn\[inpaint\]'"):
        inpainting.fill(RAMP, HOLES, "telea")
