"""What torch-lucent, horama and captum make of a few hidden units, beside `ppgn maximize` and `ppgn deconv`.

    python tests/benchmarks/visualising.py DATA OUT [--peers FOLDER] [--units 6] [--evaluations 64] [--n 300]

Asks the questions of `ppgn evaluate what=visualisations` of its units, two pictures of each by every method, and writes
evaluation.json, grids, compared.png (a row a unit: ppgn, maco, lucid, lucent, horama, two pictures each, and the
photograph that excites it most) and maps.png (that photograph, the gradient, captum's deconvolution and ours, captum's
guided backpropagation and ours). FOLDER holds the peers that are not installed (`pip install --no-deps --target FOLDER
torch-lucent==0.1.8 horama==0.3.0 kornia kornia_rs decorator future einops`). torch-lucent asks kornia 0.9 for two
functions that have moved; two lines put them back. horama downloads a spectrum unless `spectrum_decorrelated.npy` lies
in the current folder, such as xplique's wheel carries. What was drawn is kept in OUT and not drawn again.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from ppgn.conditions.unit import Unit
from ppgn.evaluation.task import Task
from ppgn.evaluation.visualisations import Draw, Exam, Kept, Reader, excited
from ppgn.media import images
from ppgn.networks import own
from ppgn.photographs import square
from ppgn.visualize.attribution import deconvnet, gradient, guided
from ppgn.visualize.subject import Subject, inner, subject

LAYERS, POSITION, SIZE, SIDE, QUERIES = ("blocks.5.0.bn1", "bn2"), "mean", 128, 128, 20
OURS = ("ppgn", "maco", "lucid")


class Seen(nn.Module):
    """A network as the peers want one: the activation is what its only layer gives."""

    def __init__(self, shown: Subject) -> None:
        super().__init__()
        self.all_units, self.number = shown.condition.network, shown.condition.index

    def forward(self, x: Tensor) -> Tensor:
        """Images (B, 3, H, W) in [0, 1] -> the unit's activation, (B,)."""
        activations: Tensor = self.all_units(x)[:, self.number]
        return activations


def lucent(shown: Subject, seed: int, evaluations: int) -> Tensor:
    """`render_vis` of torch-lucent with all its defaults but the number of steps and the network's own normalising."""
    import kornia
    import numpy as np
    from kornia.geometry import transform

    kornia.get_rotation_matrix2d, kornia.warp_affine = transform.get_rotation_matrix2d, transform.warp_affine
    from lucent.optvis import param, render

    torch.manual_seed(seed)
    np.random.seed(seed)
    model = Seen(shown).eval()
    (picture,) = render.render_vis(
        model,
        lambda hook: -hook("all_units")[:, model.number].mean(),
        lambda: param.image(SIDE),
        thresholds=(evaluations,),
        preprocess=False,
        progress=False,
        show_image=False,
    )
    return images.to_uint8(torch.from_numpy(picture).permute(0, 3, 1, 2).clamp(0, 1))


def horama(shown: Subject, seed: int, evaluations: int) -> Tensor:
    """`maco` of horama with all its defaults but the number of steps, of 6 looks each, and what the network takes."""
    import horama as peer

    torch.manual_seed(seed)
    model = Seen(shown).eval()
    picture, _ = peer.maco(
        lambda x: model(x).mean(),
        total_steps=max(1, round(evaluations / 6)),
        model_input_size=SIZE,
        values_range=(0, 1),
        device="cpu",
    )
    return square(picture.detach()[None], SIDE)


def maps(unit: Unit, picture: Tensor) -> dict[str, Tensor]:
    """By method what of a photograph (3, S, S), uint8, a unit responds to, (3, S, S)."""
    from captum import attr

    x = square(picture[None], SIZE) / 255
    methods: dict[str, Callable[[], Tensor]] = {
        "gradient": lambda: gradient(unit, x),
        "captum deconvolution": lambda: attr.Deconvolution(unit).attribute(x.clone().requires_grad_()),
        "ppgn deconvnet": lambda: deconvnet(unit, x),
        "captum guided": lambda: attr.GuidedBackprop(unit).attribute(x.clone().requires_grad_()),
        "ppgn guided": lambda: guided(unit, x),
    }
    return {name: method()[0].detach() for name, method in methods.items()}


def contrast(x: Tensor) -> Tensor:
    """A map with its 2nd to 98th percentile as black to white, zero grey."""
    reach = x.abs().flatten().quantile(0.98).clamp_min(1e-20)
    return images.to_uint8((0.5 + 0.5 * x / reach).clamp(0, 1))


def main() -> None:
    words = argparse.ArgumentParser()
    words.add_argument("data")
    words.add_argument("out", type=Path)
    words.add_argument("--peers")
    for name, default in (("units", 6), ("evaluations", 64), ("n", 300)):
        words.add_argument(f"--{name}", type=int, default=default)
    given = words.parse_args()
    if given.peers:
        sys.path.append(given.peers)
    task = Task(data=given.data, condition="unit", seeds="0-1", n=given.n, batch_size=32, out=given.out, device="cpu")
    said = {"position": POSITION, "evaluations": given.evaluations, "side": SIDE, "size": SIZE}
    table, drawer, net = task.begin("visualising", **said), task.load(), own.load("efficientnet_lite1", SIZE)
    every = task.spread(2 * given.n, drawer)
    asked, shown = every[::2], every[1::2]
    readers = {layer: Reader.of(task, table, net, layer, POSITION) for layer in LAYERS}
    units = excited(readers, asked, given.units, QUERIES, table.about)
    exam = Exam(task, table, readers, units, asked, shown, QUERIES)
    draw = Draw(net, drawer, POSITION, {"evaluations": given.evaluations, "side": SIDE})
    drawn: dict[str, Tensor] = {}

    def peer(method: Callable[..., Tensor], unit: Unit, seeds: list[int]) -> Tensor:
        what = subject(unit.index, network=net, layer=unit.layer, position=POSITION)
        return torch.cat([method(what, seed, given.evaluations) for seed in seeds])

    for name in (*OURS, "lucent", "horama"):
        kept, found, started = Kept(given.out, table.about, name), [], time.process_time()
        for row, unit in enumerate(units):
            seeds = [2 * row, 2 * row + 1]
            one: Any = partial(draw, name, unit.index, unit.layer, seeds)
            if name not in OURS:
                one = partial(peer, {"lucent": lucent, "horama": horama}[name], unit, seeds)
            found.append(kept.get(f"{unit.layer}-{unit.index}", seeds, one))
            print(name, unit.layer, unit.index, f"{time.process_time() - started:.1f} s of one core so far", flush=True)
        drawn[name] = torch.stack(found)
        exam.add(name, drawn[name], {})
    for each in (1, 2, 9):
        exam.add(f"photographs {each}", shown[exam.best[:, :each]], {})
    print(table)
    best = [shown[exam.best[row, 0]] for row in range(len(units))]
    tiles = [
        square(picture[None], SIDE)[0]
        for row in range(len(units))
        for picture in (*(x for every in drawn.values() for x in every[row]), best[row])
    ]
    images.write(given.out / "compared.png", images.grid(torch.stack(tiles), columns=2 * len(drawn) + 1))
    strips = []
    for unit, picture in zip(units, best, strict=True):
        whole = maps(unit, picture)
        strips += [square(picture[None], SIZE)[0], *(contrast(x) for x in whole.values())]
        likeness = [
            f"{name} {F.cosine_similarity(x.flatten(), whole['gradient'].flatten(), dim=0):.3f}"
            for name, x in whole.items()
        ]
        print(inner(unit).name, unit.layer, unit.index, "cosine to the gradient:", ", ".join(likeness))
    images.write(given.out / "maps.png", images.grid(torch.stack(strips), columns=6))


if __name__ == "__main__":
    main()
