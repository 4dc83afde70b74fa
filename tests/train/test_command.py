"""What the training programs share: objects from configurations, whole numbers, silence."""

from __future__ import annotations

import logging
import warnings

import pytest
from omegaconf import OmegaConf

from ppgn.errors import InputError
from train import command


def test_build_turns_a_refusal_inside_into_one_error() -> None:
    node = {"_target_": "ppgn.samplers.langevin.Langevin"}
    with pytest.raises(InputError, match="normalize"):
        command.build(OmegaConf.create({"sampler": {**node, "normalize": "drft"}}).sampler)
    with pytest.raises(InputError, match=r"cannot build sampler: .*volume"):
        command.build(OmegaConf.create({"sampler": {**node, "volume": 11}}).sampler)


@pytest.mark.parametrize("value", [0, -1, 1.5, True, "many", None])
def test_whole_numbers_from_one_on(value: object) -> None:
    command.whole(OmegaConf.create({"n": 1, "m": 3}), "n", "m")
    with pytest.raises(InputError, match=f"n={value} cannot be used"):
        command.whole(OmegaConf.create({"n": value}), "n")


def test_what_lightning_says_of_itself_is_not_heard_and_all_else_is() -> None:
    with warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always")
        command.prepare(OmegaConf.create({"seed": 0}))
        warnings.warn("`isinstance(treespec, LeafSpec)` is deprecated", FutureWarning, stacklevel=1)
        warnings.warn("Found 350 module(s) in eval mode at the start of training.", UserWarning, stacklevel=1)
        warnings.warn("loss is nan", UserWarning, stacklevel=1)
    assert [str(said.message) for said in heard] == ["loss is nan"]
    assert not logging.getLogger("lightning.pytorch.utilities.rank_zero").isEnabledFor(logging.INFO)
