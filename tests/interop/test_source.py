from __future__ import annotations

from pathlib import Path

import pytest
import torch

from ppgn.errors import InputError
from ppgn.interop.source import Blob, Source


def blob(*shape: int) -> Blob:
    return Blob(shape, lambda: torch.zeros(shape))


def source(**kinds: str) -> Source:
    blobs = {"conv1.weight": blob(8, 3, 11, 11), "conv1.bias": blob(1, 1, 1, 8), "fc8.weight": blob(1, 1, 7, 20)}
    return Source(Path("net.caffemodel"), blobs | {"loss3.weight": blob(2, 2)}, kinds=kinds)


WANTED = {"conv1.weight": (8, 3, 11, 11), "conv1.bias": (8,), "fc8.weight": (7, 20)}


def test_older_shapes_count_from_the_end_and_layers_that_nobody_wants_are_told() -> None:
    given = source()
    assert given.layers == ["conv1", "fc8", "loss3"]
    given.check(WANTED, {}, "CaffeNet", "give another")
    assert given.ignored == ["loss3"]
    assert blob(1, 1, 4, 5).fits((4, 5))
    assert not blob(5, 4).fits((4, 5))
    assert not blob(4, 5, 1).fits((4, 5))


def test_every_blob_that_is_wrong_is_named() -> None:
    wanted = {"conv1.weight": (8, 3, 5, 5), "fc8.weight": (7, 20), "fc8.bias": (7,), "fc7.weight": (9, 9)}
    with pytest.raises(InputError) as caught:
        source(conv1="Deconvolution").check(wanted, {"conv1": "Convolution"}, "CaffeNet", "give another")
    said = str(caught.value)
    for part in (
        "'net.caffemodel' is not CaffeNet: no layer 'fc7'",
        "'conv1.weight' has shape (8, 3, 11, 11), expected (8, 3, 5, 5)",
        "'fc8.bias' is missing, expected (7,)",
        "'conv1.bias' is one too many",
        "'conv1' is of type Deconvolution, expected Convolution",
        "it also has loss3; give another",
    ):
        assert part in said
    assert "fc7.weight" not in said
