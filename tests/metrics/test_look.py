from __future__ import annotations

import torch
from torch import Tensor

from ppgn.metrics.look import look


def test_a_network_sees_rounded_pictures_in_batches_of_its_type() -> None:
    seen: list[Tensor] = []

    def network(x: Tensor) -> Tensor:
        seen.append(x)
        return x.sum((1, 2, 3)).requires_grad_()

    pictures = torch.rand(5, 3, 2, 2)
    like = torch.zeros((), dtype=torch.float64)
    found = look(network, pictures, like, batch_size=2)
    rounded = (pictures * 255).round().double() / 255
    assert [len(batch) for batch in seen] == [2, 2, 1]
    assert torch.equal(torch.cat(seen), rounded)
    assert torch.equal(found, look(network, (pictures * 255).round().to(torch.uint8), like))
