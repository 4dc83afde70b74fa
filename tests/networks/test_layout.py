from __future__ import annotations

import pytest
import torch

from ppgn.networks import layout, own
from ppgn.networks.layout import Layout


@pytest.mark.parametrize(
    ("shape", "expected", "shown"),
    [
        ((10,), Layout(10), "-"),
        ((64, 7, 7), Layout(64, 7, 7), "7x7"),
        ((7, 7, 64), Layout(64, 7, 7, channels_last=True), "7x7"),
        ((7, 7, 7), Layout(7, 7, 7), "7x7"),
        ((197, 192), Layout(192, 14, 14, 197), "14x14 + 1 token"),
        ((201, 384), Layout(384, 14, 14, 201), "14x14 + 5 tokens"),
        ((49, 96), Layout(96, 7, 7, 49), "7x7"),
        ((77, 512), Layout(512, 0, 0, 77), "77 tokens"),  # far from a square
        ((2, 3, 4, 5), None, ""),
    ],
)
def test_of(shape: tuple[int, ...], expected: Layout | None, shown: str) -> None:
    found = layout.of(shape)
    assert found == expected
    assert found is None or str(found) == shown


@pytest.mark.parametrize("shape", [(5,), (5, 3, 3), (3, 3, 5), (11, 5)])
def test_places_come_row_by_row_behind_further_tokens(shape: tuple[int, ...]) -> None:
    found = layout.of(shape)
    assert found is not None
    values = torch.arange(2.0 * torch.Size(shape).numel()).view(2, *shape)
    places = found.places(values)
    assert places.shape == (2, max(1, found.prefix + found.height * found.width), 5)
    if found.height:
        place = found.prefix + found.width  # row 1, column 0
        at = {(5, 3, 3): (slice(None), 1, 0), (3, 3, 5): (1, 0), (11, 5): (2 + 3,)}[shape]
        assert torch.equal(places[:, place], values[(slice(None), *at)])


@pytest.mark.parametrize("name", ["efficientnet_lite0", "efficientnet_lite1", "efficientnet_lite2"])
def test_what_is_listed_of_a_network_is_what_it_gives(name: str) -> None:
    shapes = own.load(name, weights=None).layer_shapes()
    assert list(layout.shapes(name).items()) == list(shapes.items())
    assert layout.layers(name)["bn2"].units == 1280
