"""State dicts of a user: read without code, put in only where they fit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from ppgn.errors import InputError
from ppgn.networks import _weights


class Harm:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return (Path.touch, (Path("harm"),))  # type: ignore[return-value]


def test_tensors_are_read_and_nothing_else_is_unpickled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    state = {"weight": torch.rand(2, 3), "bias": torch.rand(2)}
    save_file(state, "a.safetensors")
    torch.save(state, "a.pth")
    for name in ("a.safetensors", "a.pth"):
        assert all(torch.equal(value, state[key]) for key, value in _weights.read(name).items())
    torch.save({"weight": Harm()}, "harm.pth")
    for name, word in (("harm.pth", "not a state dict"), ("none.pth", "no such file")):
        with pytest.raises(InputError, match=word):
            _weights.read(name)
    assert not Path("harm").exists()


@pytest.mark.parametrize(
    ("change", "word"),
    [({"bias": None}, "'bias' is missing"), ({"more": torch.zeros(1)}, "'more' is not part"),
     ({"bias": torch.zeros(3)}, r"'bias' has shape \(3,\)"), ({"bias": [0.0, 0.0]}, "'bias' has shape"),
     ({"bias": torch.zeros(2, dtype=torch.int32)}, "'bias' is of torch.int32"),
     ({"bias": torch.tensor([0.0, torch.nan])}, "'bias' holds numbers that are not finite"),
     ({"bias": torch.tensor([torch.inf, -torch.inf])}, "'bias' holds numbers that are not finite")],
)  # fmt: skip
def test_what_does_not_fit_is_refused_and_nothing_changed(change: dict[str, Any], word: str) -> None:
    body = nn.Linear(3, 2)
    before = body.weight.clone()
    state = {"weight": torch.zeros(2, 3), "bias": torch.zeros(2)} | change
    with pytest.raises(InputError, match=f"these do not fit: {word}"):
        _weights.assign(body, {key: value for key, value in state.items() if value is not None}, "these do not fit")
    assert torch.equal(body.weight, before)
    _weights.assign(body, {"weight": torch.ones(2, 3), "bias": torch.ones(2)}, "")
    assert bool((body.weight == 1).all())
    _weights.assign(body, {"weight": torch.full((2, 3), 3e38), "bias": torch.ones(2)}, "")  # huge, but finite
