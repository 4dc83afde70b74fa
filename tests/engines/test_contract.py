"""What every engine does, by the one that is this process."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from ppgn import folders
from ppgn.engines.contract import Batch, Here
from ppgn.progress import Seen


def test_this_process_walks_a_batch_at_a_time_and_gives_back_what_it_raised() -> None:
    told: list[Any] = []

    def walk(batch: Batch, tell: Any) -> Any:
        tell(Seen(1, 1, [0.0]))
        return 1 / batch.seeds[0]

    with Here(torch.device("cpu")) as engine:
        engine.hire(lambda device: walk if device == "cpu" else None, lambda batch, seen: told.append((batch, seen)))
        for seed in (2, 0):
            assert (engine.free, engine.at_work) == (1, 0)
            engine.start(Batch((seed,)))
            assert (engine.free, engine.at_work) == (0, 1)
            [(batch, said)] = engine.wait()
            assert batch == Batch((seed,))
            assert said == 0.5 if seed else isinstance(said, ZeroDivisionError)
    assert told == [(Batch((seed,)), Seen(1, 1, [0.0])) for seed in (2, 0)]


def test_a_state_is_kept_where_the_folder_of_the_run_is_seen(tmp_path: Path) -> None:
    batch = Batch((3,), tmp_path / "chains-0.safetensors")
    assert batch.within_reach is None
    with folders.locked(tmp_path):
        assert batch.within_reach == batch.chains
    assert Batch((3,)).within_reach is None
