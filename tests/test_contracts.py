from __future__ import annotations

import torch

from ppgn.contracts import Samples


def samples(*seeds: int, value: float = 0.5) -> Samples:
    count = len(seeds)
    signals = torch.full((count, 3, 2, 2), value)
    return Samples(signals, torch.ones(count, 4), torch.zeros(count), seeds, (0,) * count, (9,) * count, seeds[:1])


def test_signals_are_kept_as_they_are_and_images_are_rounded_and_bounded() -> None:
    drawn = samples(1, value=0.1234)
    assert drawn.signals.unique().tolist() == [torch.tensor(0.1234).item()]
    assert drawn.images.dtype == torch.uint8
    assert drawn.images.unique().tolist() == [31]  # of 31.47
    for value, level in ((-1.0, 0), (2.0, 255), (float("nan"), 0)):
        assert samples(1, value=value).images.unique().tolist() == [level]
    stored = Samples(drawn.images, drawn.codes, drawn.log_prob, drawn.seeds, drawn.targets, drawn.steps)
    assert stored.images is stored.signals


def test_runs_are_joined_in_order() -> None:
    joined = Samples.concatenate([samples(3, 1), samples(2)])
    assert len(joined) == 3
    assert (joined.seeds, joined.failed, joined.steps) == ((3, 1, 2), (3, 2), (9, 9, 9))
    assert joined.codes.shape == (3, 4)
