"""Which seed draws what, for which condition."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from ppgn.evaluation.sources import Drawn, Source, grid, side_of
from ppgn.media import images
from ppgn.model import PPGN
from ppgn.samplers.annealed import Annealed
from ppgn.samplers.noise import Noise
from tests.evaluation.conftest import Grey, grey
from tests.tiny import TinyGenerator


def chains(model: PPGN, **settings: object) -> Source:
    return Source.of(model, "annealed", None, (0, 5), **{"steps": 2, "batch_size": 3, "own_seeds": True, **settings})


def test_with_seeds_of_their_own_a_chain_is_that_of_its_condition_and_seed(
    model: PPGN, capsys: pytest.CaptureFixture[str]
) -> None:
    conditions = [Grey(0.1), Grey(0.9)]
    drawn = chains(model).draw(conditions, "these", progress=True)
    assert "these: 100%" in capsys.readouterr().err
    assert drawn.targets.tolist() == [0, 0, 1, 1]
    assert drawn.seeds == (0, 5, 2, 7)
    for row, (condition, seed) in enumerate([(0, 0), (0, 5), (1, 2), (1, 7)]):
        alone = model.sample(conditions[condition], [seed], sampler=Annealed(), steps=2).images[0]
        assert (drawn.pictures[row].int() - alone.int()).abs().max() <= 1  # networks round alike up to the batch
    assert drawn.seconds is not None
    assert drawn.seconds.shape == (4,)


def test_else_all_conditions_take_the_seeds_as_they_are(model: PPGN) -> None:
    drawn = chains(model, own_seeds=False).draw([Grey(0.1), Grey(0.1)])
    assert drawn.seeds == (0, 5, 0, 5)
    assert torch.equal(drawn.pictures[:2], drawn.pictures[2:])


def test_start_codes_are_those_of_the_chains_or_of_each_condition(model: PPGN) -> None:
    drawn = chains(model).start_codes().draw([Grey(0), Grey(0)])
    shown = images.to_uint8(model.decode(Noise([0, 5, 2, 7]).normal("init", (8,))))
    assert torch.equal(drawn.pictures, shown)
    apart = chains(model, own_seeds=False).start_codes().draw([Grey(0), Grey(0)])
    assert torch.equal(apart.pictures[2:], images.to_uint8(model.decode(Noise([0, 5]).normal("init 1", (8,)))))


def test_a_chain_goes_on_to_a_later_picture(model: PPGN) -> None:
    conditions = [Grey(0.1), Grey(0.9)]
    drawn = chains(model, onward=True, own_seeds=False).draw(conditions)
    assert drawn.beside is not None
    for number, condition in enumerate(conditions):
        both = model.sample([condition, condition], [0, 5], sampler=Annealed(), steps=2)
        assert both.steps == (2, 4, 2, 4)
        assert torch.equal(drawn.pictures[drawn.targets == number], both.images[::2])
        assert torch.equal(drawn.beside[drawn.targets == number], both.images[1::2])


def test_ascent_on_pixels_brightens_what_should_be_bright(model: PPGN) -> None:
    drawn = chains(model, steps=5).on_pixels().draw([Grey(0.0), Grey(1.0)])
    means = drawn.pictures.float().mean((1, 2, 3)) / 255
    assert means[:2].max() < 0.47
    assert means[2:].min() > 0.53


def test_chains_that_fail_are_counted(model: PPGN) -> None:
    class Broken(Grey):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return (
                super().forward(x) * torch.where(x[:, 0, 0, 0] > -1, torch.nan, 1.0)
                if len(x) > 2
                else super().forward(x)
            )

    assert chains(model, own_seeds=False).draw([Grey(0.1)]).failed == 0
    three = replace(chains(model, own_seeds=False), seeds=(0, 1, 2))
    assert three.draw([Broken(0.1)]).failed == 3


def test_pictures_are_reduced_to_the_side_asked_for(model: PPGN) -> None:
    assert side_of(model) == 16
    assert chains(model).start_codes().draw([Grey(0)], side=8).pictures.shape == (2, 3, 8, 8)
    assert side_of(PPGN(TinyGenerator())) == 4
    assert (side_of(model, 8), side_of(model, 128)) == (8, 16)
    assert replace(chains(model), reduce_to=8).start_codes().draw([Grey(0)]).pictures.shape == (2, 3, 8, 8)


def test_a_grid_has_a_row_for_every_condition() -> None:
    drawn = Drawn(grey(*range(12)), torch.arange(12) // 6)
    assert grid(drawn).size == (6 * 18 + 2, 2 * 18 + 2)
    assert grid(drawn, shown=4).size == (4 * 18 + 2, 2 * 18 + 2)
