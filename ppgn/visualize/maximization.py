"""Activation maximization: what excites a unit most, by the field's methods side by side at equal cost."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F
from torch.optim import Adam, NAdam, Optimizer

import ppgn.model
from ppgn import arguments, files, folders
from ppgn.contracts import NoiseSource
from ppgn.errors import InputError, check_known
from ppgn.media import images
from ppgn.model import PPGN
from ppgn.numerics.convolution import AlikeInAnyBatch
from ppgn.photographs import Photographs
from ppgn.progress import Bar
from ppgn.samplers.noise import Noise
from ppgn.settings import plain
from ppgn.visualize.multifaceted import Multifaceted
from ppgn.visualize.parametrization import Fourier, Phase, Pixels
from ppgn.visualize.regularization import Crops, Looks, Patches, Wobble, Yosinski, look_once, total_variation
from ppgn.visualize.subject import Subject, subject

COMPARED = 1000  # photographs that an activation is compared with
ALL = ("ppgn", "dgn_am", "maco", "lucid", "mfv", "tv", "patches", "yosinski", "pixels")
PATCHES = "patches"
ADAM = partial(Adam, lr=0.02)  # of pixels
FILES = ("report.json", "grid.png", "config.yaml", "images/*-seed-*.png")


class Method(Protocol):
    """A way to images (B, 3, S, S) in [0, 1] that excite a unit, a row per seed of `noise`.

    It may look at `evaluations` images a row through the network, and tells `callback` how many after each step. A
    seed's image is the same in any batch.
    """

    def __call__(
        self, subject: Subject, noise: NoiseSource, side: int, evaluations: int, callback: Callable[[int], object]
    ) -> Tensor:
        """Draw. `side` is that of the images, where the method leaves it open."""


class Parametrization(Protocol):
    """Numbers that are climbed with, and the images they stand for; see `ppgn.visualize.parametrization`."""

    def start(self, noise: NoiseSource, side: int) -> Tensor:
        """The numbers of the first images, (B, ...)."""

    def image(self, numbers: Tensor) -> Tensor:
        """Their images, (B, 3, S, S) in [0, 1], differentiable."""


@dataclass(frozen=True)
class Ascent:
    """A gradient step of `rate`, in units of the gradient's mean size over an image (Nguyen et al. 2016)."""

    rate: float

    def __call__(self, numbers: Tensor, g: Tensor) -> Tensor:
        """Numbers (B, ...) and their gradient -> numbers."""
        size = g.flatten(1).abs().mean(1).clamp_min(1e-20)
        return numbers + g * (self.rate / size).view(-1, *[1] * (g.dim() - 1))


@dataclass(frozen=True)
class Climb:
    """Gradient ascent: numbers with their start, a step, and what keeps images natural. See `Method`."""

    numbers: Parametrization
    step: Ascent | Callable[[list[Tensor]], Optimizer]
    looks: Looks = look_once
    operators: Sequence[Callable[[Tensor, Tensor, int], Tensor]] = ()
    penalty: Callable[[Tensor, int], Tensor] | None = None
    evaluations: int = 1  # of the network, a step

    def __call__(
        self, subject: Subject, noise: NoiseSource, side: int, evaluations: int, callback: Callable[[int], object]
    ) -> Tensor:
        """Images (B, 3, side, side) in [0, 1] after so many evaluations, whose steps are whole."""
        numbers = self.numbers.start(noise, side).requires_grad_()
        optimizer = None if isinstance(self.step, Ascent) else self.step([numbers])
        with AlikeInAnyBatch() if numbers.device.type == "cpu" else nullcontext():
            for i in range(max(1, evaluations // self.evaluations)):
                x = self.numbers.image(numbers)
                seen = self.looks(x, noise)
                score = subject(seen.flatten(0, 1)).view(len(seen), -1).mean(0)
                if self.penalty is not None:
                    score = score - self.penalty(x, i)
                (g,) = torch.autograd.grad(score.sum(), numbers)
                with torch.no_grad():
                    if isinstance(self.step, Ascent):
                        numbers.copy_(self.step(numbers, g))
                    elif optimizer is not None:
                        numbers.grad = -g
                        optimizer.step()
                    for operator in self.operators:
                        numbers.copy_(operator(numbers, g, i))
                    if isinstance(self.numbers, Pixels):
                        numbers.clamp_(0, 1)
                callback(self.evaluations)
        return self.numbers.image(numbers).detach()


@dataclass(frozen=True)
class Learnt:
    """A chain through a generator, whose images have the generator's size. See `Method`."""

    model: PPGN
    sampler: str

    def __call__(
        self, subject: Subject, noise: NoiseSource, side: int, evaluations: int, callback: Callable[[int], object]
    ) -> Tensor:
        """Images (B, 3, S, S) in [0, 1]; a chain looks at its start, and once a step."""
        done = self.model.sample(
            subject.condition,
            noise.seeds,
            sampler=self.sampler,
            steps=max(1, evaluations - 1),
            batch_size=len(noise.seeds),
            callback=lambda *_: callback(1),
        )
        return done.images / 255


def methods() -> dict[str, Method]:
    """The methods without a generator by name; operators, looks, phases and spectra are as published.

    Rates and weights are ours, in units of the gradient's size and for images in [0, 1]: published ones suit the scale
    of one network. mfv's are as published, but for 20 sweeps of its denoising, not 100; with either its pictures are
    pale on our networks. Sources: Yosinski et al. 2015 (arXiv 1506.06579); lucid: Olah et al. 2017; maco: Fel et al.
    2023 (arXiv 2306.06805); mfv: Nguyen et al. 2016 (arXiv 1602.03616); tv: Mahendran and Vedaldi 2015 (arXiv
    1412.0035).
    """
    sets = {  # of operators, as published
        "yosinski": Yosinski(blur=0.5, norm=50),
        "yosinski_blur": Yosinski(decay=1e-4, blur=1.0),
        "yosinski_decay": Yosinski(decay=0.3, norm=20),
        "yosinski_contribution": Yosinski(blur=0.5, contribution=90),
    }
    crops = Crops()
    return {
        "pixels": Climb(Pixels(), Ascent(0.02)),
        **{
            name: Climb(Pixels(), Ascent(0.1 if operator.decay > 0.1 else 0.03), operators=[operator])
            for name, operator in sets.items()
        },
        "tv": Climb(Pixels(), ADAM, Wobble(), penalty=lambda x, i: 0.05 * total_variation(x)),
        "lucid": Climb(Fourier(), partial(Adam, lr=0.05), Wobble()),
        "maco": Climb(Phase(), partial(NAdam, lr=1.0), crops, evaluations=crops.count),
        "mfv": Multifaceted(iterations=20),
    }


@folders.results(*FILES)
def maximize(
    # -- what is shown --
    unit: Any,  # the unit's number in its layer; without a layer a class, by name or number
    *,
    network: Any = "efficientnet_lite1",  # efficientnet_lite0..2, timm/NAME, torchvision/NAME, file.py:NAME, FILE.pt2
    size: int | None = None,  # side of the network's input in pixels; null: what suits it
    weights: str | Path | None = "default",  # of the network; null: random; or the path of a state dict
    layer: str | None = None,  # as `ppgn units` lists them; null is the output, the classes
    position: Any = "center",  # of channels and tokens: center, [y,x], a token's number, class, mean or max
    # -- how --
    # ppgn, dgn_am, maco, lucid, mfv, tv, patches (needs data), yosinski, yosinski_blur, yosinski_decay,
    # yosinski_contribution, pixels; or a list of them; null is all but the last three of Yosinski's sets
    method: Any = None,
    seeds: Any = "0-3",  # one image of each method per seed: 0-15, [1,4,9], 3 or 0-3,8,10-12
    evaluations: int = 256,  # looks of the network at each image, the same for all methods
    side: int = 128,  # of the images in pixels; those of ppgn and dgn_am are the model's
    model: Any = "natural64",  # the generator of ppgn and dgn_am
    # a folder of pictures, or arrays, that activations are compared with, and that patches are taken from
    data: Any = None,
    # -- on which machine --
    batch_size: int = 8,  # images at a time
    device: Any = "auto",  # cpu, cuda or cuda:N; auto is the GPU if there is one
    progress: bool = False,
    # -- what comes out --
    out: Any = None,  # a folder; one run at a time works there
    overwrite: bool = False,  # true replaces the results of an earlier run in `out`
) -> Maximized:
    """Images that excite a unit most, by one or several methods, one per seed and method -> `Maximized`.

    data: 1,000 of its photographs tell how high an activation is, as a percentile. progress: a bar on stderr. out:
    files are written there at the end; without it nothing is written until `Maximized.save`. Sources: `methods`; ppgn:
    arXiv 1612.00005; dgn_am: Nguyen et al. 2016 (arXiv 1605.09304).

    Raises `InputError` for what cannot be used.
    """
    given = {key: value for key, value in locals().items() if key not in ("progress", "out", "overwrite")}
    where, chains = arguments.device(device), arguments.seeds(seeds)
    least = {"evaluations": 2, "side": 32, "batch_size": 1}
    for key, low in least.items():
        arguments.whole(key, given[key], low)
    wanted = arguments.names("method", ALL if method is None else method)
    shown = subject(unit, network=network, size=size, weights=weights, layer=layer, position=position, device=where)
    natural = None if data is None else Photographs.find(data)
    if method is None and natural is None:
        wanted.remove(PATCHES)
    ways = _ways(wanted, natural, side, model, where)
    drawn: dict[str, Tensor] = {}
    total = len(wanted) * len(chains) * evaluations
    with Bar(total=total, unit="look", disable=not progress) as bar:

        def told(rows: int, looks: int) -> None:
            bar.update(rows * looks)

        for name, way in ways.items():
            bar.set_description(f"{name} images")  # "ppgn: " begins what is said of an error
            parts = []
            for batch in (chains[i : i + batch_size] for i in range(0, len(chains), batch_size)):
                x = way(shown, Noise(batch, where), side, evaluations, partial(told, len(batch)))
                parts.append(images.to_uint8(x).cpu())
            drawn[name] = torch.cat(parts)
    compared = None
    if natural is not None:
        seen = natural.spread(min(COMPARED, len(natural)), shown.condition.network.side)
        compared = activations(shown, seen)
    said = {name: activations(shown, x) for name, x in drawn.items()}
    return Maximized(folders.of(out), plain(given), shown.name, shown.scale, chains, drawn, said, compared)


def _ways(
    wanted: Sequence[str], natural: Photographs | None, side: int, model: Any, where: torch.device
) -> dict[str, Method]:
    """The methods asked for, by name. Raises `InputError` for an unknown one."""
    known: dict[str, Any] = methods() | dict.fromkeys([PATCHES, "ppgn", "dgn_am"])
    for name in wanted:
        check_known("method", name, dict.fromkeys([*ALL, *known]))
    if PATCHES in wanted:
        if natural is None:
            raise InputError(f"method={PATCHES} needs data=FOLDER, whose patches it prefers")
        known[PATCHES] = Climb(Pixels(), ADAM, Wobble(), penalty=Patches.of(natural, side, where))
    if {"ppgn", "dgn_am"} & set(wanted):
        net = ppgn.model.load(model, where)
        known |= {"ppgn": Learnt(net, "annealed"), "dgn_am": Learnt(net, "dgn_am")}
    return {name: known[name] for name in wanted}


@torch.no_grad()
def activations(subject: Subject, pictures: Tensor) -> Tensor:
    """The unit's activation of uint8 pictures (N, 3, S, S), (N,)."""
    where = subject.condition.network.preprocessing.gain.device
    return torch.cat([subject(part.to(where) / 255) for part in pictures.split(16)]).cpu()


@dataclass(frozen=True, repr=False)
class Maximized(folders.Results):
    """Images of a unit by several methods; `save` writes grid.png, a picture per image, report.json and config.yaml.

    `drawn` has of every method the images, uint8 (seeds, 3, S, S), `activations` the unit's of each; `compared` are
    those of photographs, (N,), where any were given. `scale` says what they are.
    """

    files = FILES

    name: str
    scale: str
    seeds: Sequence[int]
    drawn: Mapping[str, Tensor]
    activations: Mapping[str, Tensor]
    compared: Tensor | None

    def __len__(self) -> int:
        return len(self.drawn) * len(self.seeds)

    def __repr__(self) -> str:
        means = ", ".join(f"{name} {value.mean():.1f}" for name, value in self.activations.items())
        return f"Maximized({self.name}, {len(self.seeds)} images each; mean activations: {means})"

    @property
    def images(self) -> Tensor:
        """All images at the size of the largest, uint8 (methods, seeds, 3, S, S)."""
        side = max(x.shape[-1] for x in self.drawn.values())
        return torch.stack([_resized(x, side) for x in self.drawn.values()])

    @property
    def rows(self) -> list[dict[str, Any]]:
        """Of every image its method, seed and activation, and its percentile among the photographs."""
        found = []
        for method, values in self.activations.items():
            for seed, value in zip(self.seeds, values.tolist(), strict=True):
                row = {"method": method, "seed": seed, "activation": round(value, 4)}
                if self.compared is not None:
                    row["percentile"] = round(100 * (self.compared < value).double().mean().item(), 2)
                found.append(row)
        return found

    def grid(self) -> Image.Image:
        """A row per method, a column per seed, with activations below."""
        said = [f"{row['method']} {row['activation']:.1f}" for row in self.rows]
        return images.grid(self.images.flatten(0, 1), columns=len(self.seeds), captions=said)

    def report(self) -> dict[str, Any]:
        """What report.json says."""
        head: dict[str, Any] = {"unit": self.name, "activation": self.scale, "evaluations": self.config["evaluations"]}
        head["versions"] = files.versions()
        if self.compared is not None:
            levels = torch.tensor([0.5, 0.99, 1.0])
            values = self.compared.quantile(levels).tolist()
            head["photographs"] = dict(zip(("median", "99 %", "most"), values, strict=True))
        return head | {"images": self.rows}

    def write(self, place: Path) -> None:
        """Write grid.png and images/."""
        for method, pictures in self.drawn.items():
            for seed, picture in zip(self.seeds, pictures, strict=True):
                images.write(place / "images" / f"{method}-seed-{seed:04d}.png", picture)
        images.write(place / "grid.png", self.grid())


def _resized(x: Tensor, side: int) -> Tensor:
    same = x.shape[-1] == side
    return x if same else images.to_uint8(F.interpolate(x / 255, (side, side), mode="bicubic", antialias=True))
