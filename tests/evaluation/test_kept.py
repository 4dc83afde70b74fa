"""What is kept is made once, unless it was made otherwise or is damaged."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from ppgn.evaluation.kept import kept


def test_what_is_kept_is_made_anew_for_other_settings_and_where_it_is_damaged(tmp_path: Path) -> None:
    made: list[int] = []

    def make() -> dict[str, Tensor]:
        made.append(0)
        return {"code": torch.tensor([float(len(made))])}

    assert kept(tmp_path, "unit", {"seed": 0}, make)["code"] == 1
    assert kept(tmp_path, "unit", {"seed": 0}, make)["code"] == 1
    assert kept(tmp_path, "other", {"seed": 0}, make)["code"] == 2
    assert kept(tmp_path, "unit", {"seed": 1}, make)["code"] == 3
    (tmp_path / "drawn" / "unit.safetensors").write_bytes(b"x" * 40)
    assert kept(tmp_path, "unit", {"seed": 1}, make)["code"] == 4
    assert kept(None, "unit", {"seed": 1}, make)["code"] == 5
