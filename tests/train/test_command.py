"""What the training programs share: objects from configurations, silence, what happens as the steps go on."""

from __future__ import annotations

import logging
import math
import signal
import sys
import warnings
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import lightning
import pytest
import torch
from omegaconf import OmegaConf

from ppgn.errors import InputError
from train import command
from train.command import Periodic, warmed_cosine


def test_build_turns_a_refusal_inside_into_one_error() -> None:
    node = {"_target_": "ppgn.samplers.langevin.Langevin"}
    with pytest.raises(InputError, match="normalize"):
        command.build(OmegaConf.create({"sampler": {**node, "normalize": "drft"}}).sampler)
    with pytest.raises(InputError, match=r"cannot build sampler: .*volume"):
        command.build(OmegaConf.create({"sampler": {**node, "volume": 11}}).sampler)


def test_what_lightning_says_of_itself_is_not_heard_and_all_else_is() -> None:
    with warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always")
        command.prepare(OmegaConf.create({"seed": 0}))
        warnings.warn("`isinstance(treespec, LeafSpec)` is deprecated", FutureWarning, stacklevel=1)
        warnings.warn("Found 350 module(s) in eval mode at the start of training.", UserWarning, stacklevel=1)
        warnings.warn("loss is nan", UserWarning, stacklevel=1)
    assert [str(said.message) for said in heard] == ["loss is nan"]
    assert not logging.getLogger("lightning.pytorch.utilities.rank_zero").isEnabledFor(logging.INFO)


def test_writes_every_so_many_steps_and_what_was_reached() -> None:
    for steps, expected in ((5, [2, 4, 5]), (4, [2, 4]), (0, [0])):
        noted: list[int] = []
        callback: Any = Periodic(2, lambda trainer, module, noted=noted: noted.append(int(module.steps_done)))
        for step in range(1, steps + 1):
            callback.on_train_batch_end(None, SimpleNamespace(steps_done=torch.tensor(step)), None, None, 0)
        callback.on_train_end(None, SimpleNamespace(steps_done=torch.tensor(steps)))
        assert noted == expected


def test_the_learning_rate_grows_and_falls() -> None:
    rates = [warmed_cosine(step, 4, 20) for step in range(21)]
    assert rates[0] == pytest.approx(0.25)
    assert rates[3:] == pytest.approx([0.5 + 0.5 * math.cos(math.pi * step / 20) for step in range(3, 21)])
    assert rates[20] == pytest.approx(0)
    assert warmed_cosine(30, 4, 20) == pytest.approx(0)
    assert warmed_cosine(0, 0, 0) == pytest.approx(1)


def test_an_optimizer_that_refuses_its_settings_is_one_error() -> None:
    parameters = [torch.nn.Parameter(torch.zeros(2))]
    assert command.optimizer_of(torch.optim.AdamW, parameters).param_groups[0]["params"] == parameters
    for wrong in ({"lr": -1}, {"lr": "fast"}, {"rate": 1}):
        with pytest.raises(InputError, match=r"cannot build training\.optimizer"):
            command.optimizer_of(partial(torch.optim.AdamW, **wrong), parameters)


def test_counts_that_cannot_be_are_refused() -> None:
    for wrong in ({"seed": -1}, {"export_every": 0}, {"training": {"log_every": 0}}):
        with pytest.raises(InputError, match=next(iter(wrong))):
            command.prepare(OmegaConf.create({"seed": 0, **wrong}))


def test_a_missing_extra_is_said_before_the_work(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tensorboard", None)
    logger = {"_target_": "lightning.pytorch.loggers.TensorBoardLogger"}
    with pytest.raises(InputError, match=r"pip install 'ppgn\[train\]'"):
        command.prepare(OmegaConf.create({"seed": 0, "trainer": {"logger": logger}}))
    command.prepare(OmegaConf.create({"seed": 0, "trainer": {"logger": None}}))


class Walk(command.Training):
    """One number that learns, which interrupts itself at the end of the steps `at`."""

    def __init__(self, at: tuple[int, ...], *, times: int = 1) -> None:
        super().__init__()
        self.number, self.at, self.times = torch.nn.Parameter(torch.zeros(())), at, times

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), lr=0.1)

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        self.steps_done += 1
        for _ in range(self.times if int(self.steps_done) in self.at else 0):
            signal.raise_signal(signal.SIGINT)
        return (self.number - 1) ** 2


def walked(out: Path, module: Walk, exported: list[int], steps: int = 9) -> None:
    trainer = {"_target_": "lightning.Trainer", "accelerator": "cpu", "logger": False, "devices": 1, "num_nodes": 1}
    trainer |= {"max_epochs": -1, "enable_checkpointing": False, "enable_model_summary": False, "barebones": False}
    trainer |= {"enable_progress_bar": False, "strategy": "auto"}
    given = {"out": str(out), "steps": steps, "minutes": None, "save_minutes": 60, "export_every": 100, "resume": True}
    data = lightning.LightningDataModule.from_datasets(torch.utils.data.TensorDataset(torch.zeros(4, 1)))
    command.fit(
        OmegaConf.create({**given, "trainer": trainer}),
        module,
        data,
        lambda trainer, module: exported.append(int(module.steps_done)),
    )


def test_an_interruption_ends_after_its_step_which_is_kept(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    handler, exported = signal.getsignal(signal.SIGINT), []
    with pytest.raises(KeyboardInterrupt, match="step 3 is finished and saved"):
        walked(tmp_path, Walk(at=(3,)), exported)
    assert exported == [3]
    assert signal.getsignal(signal.SIGINT) is handler
    assert "Ctrl-C once more ends at once" in capfd.readouterr().err
    walked(tmp_path, resumed := Walk(at=()), exported)
    assert exported == [3, 9]
    walked(tmp_path / "whole", whole := Walk(at=()), exported)
    assert torch.equal(resumed.number, whole.number)


def test_a_second_interruption_does_not_wait(tmp_path: Path) -> None:
    handler, exported = signal.getsignal(signal.SIGINT), []
    with pytest.raises(KeyboardInterrupt) as ended:
        walked(tmp_path, Walk(at=(3,), times=2), exported)
    assert not ended.value.args
    assert exported == []
    assert not (tmp_path / "last.ckpt").exists()
    assert signal.getsignal(signal.SIGINT) is handler
