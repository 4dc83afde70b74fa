from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import torch
from torch import Tensor

from ppgn.conditions.base import Plain
from ppgn.editing.canvas import Canvas
from ppgn.editing.walk import CHANGES, Change, Settings, walk
from ppgn.errors import InputError
from ppgn.model import PPGN, load
from ppgn.numerics.convolution import AlikeInAnyBatch
from ppgn.samplers.annealed import Annealed

PHOTO = torch.randint(256, (3, 16, 16), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)


def dark(x: Tensor) -> Tensor:
    return -50 * x.mean((1, 2, 3))


@pytest.fixture
def model(tiny: Any) -> PPGN:
    return load(tiny / "model.safetensors")


def walked(model: PPGN, *seeds: int, **near: float) -> Tensor:
    settings = Settings.of(steps=6, near=near)
    canvases = [Canvas.of(PHOTO, None, (16, 16))] * len(seeds)
    return walk(model, canvases, seeds, Plain(dark), settings).signals


def test_chains_change_the_photo_towards_the_condition_and_stay_nearer_the_narrower_the_prior(model: PPGN) -> None:
    photo = PHOTO[None] / 255
    changed = {spread: walked(model, 0, spread=spread, pixels=0, features=0) - photo for spread in (1e-3, 0.5)}
    assert dark(photo + changed[0.5]) > dark(photo)
    assert changed[1e-3].abs().max() < 0.1 * changed[0.5].abs().max()


def test_closeness_in_pixels_and_in_features_keeps_the_photo(model: PPGN) -> None:
    photo = PHOTO[None] / 255
    free, kept = ((walked(model, 0, **near) - photo).square().mean() for near in ({"pixels": 0}, {"pixels": 1e4}))
    assert kept < free
    code = model.encode(photo)
    apart = [(model.encode(walked(model, 0, pixels=0, features=w)) - code).square().mean() for w in (0, 1e4)]
    assert apart[1] < apart[0]


def test_a_seed_is_the_same_alone_and_in_a_batch(model: PPGN) -> None:
    assert torch.equal(walked(model, 3, 5)[1:], walked(model, 5))


def test_at_the_photos_own_code_nothing_changes(model: PPGN) -> None:
    image = PHOTO[None] / 255
    code = model.encode(image)
    change = Change(model.generator, image, torch.ones(1, 1, 16, 16), code)
    with AlikeInAnyBatch():  # as chains do
        assert torch.equal(change(code), image)


def test_a_sampler_by_name_takes_what_suits_an_edit_and_an_object_is_left_alone() -> None:
    found = {key: getattr(Settings.of().sampler, key) for key in CHANGES}
    assert found == CHANGES
    mapping = {"_target_": "ppgn.samplers.annealed.Annealed", "epsilon2": 0.5}
    assert Settings.of(mapping).sampler.epsilon2 == 0.5  # type: ignore[attr-defined]
    assert Settings.of(Annealed(), steps=3).sampler == dataclasses.replace(Annealed(), steps=3)


@pytest.mark.parametrize("near", [{"spread": 0}, {"pixels": -1}, {"features": True}, {"pixel": 1}])
def test_what_cannot_be_is_refused(near: dict[str, Any]) -> None:
    with pytest.raises(InputError, match="near"):
        Settings.of(near=near)
