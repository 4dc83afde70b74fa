"""What a layer still knows of a photograph: the image of the same features, by descent, by a decoder, or by both."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any, cast

import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F
from tqdm import tqdm

import ppgn.model
from ppgn import arguments, files, folders
from ppgn.contracts import Generator, Shape
from ppgn.errors import InputError
from ppgn.media import images
from ppgn.metrics import fidelity
from ppgn.model import PPGN
from ppgn.networks import layout, own
from ppgn.networks.network import Network
from ppgn.numerics.convolution import AlikeInAnyBatch
from ppgn.photographs import square
from ppgn.samplers.noise import Noise
from ppgn.visualize.regularization import MEAN, total_variation

METHODS = ("regularised", "decoder", "both")
NORM = 0.27  # σ_x of Mahendran and Vedaldi: the norm of a typical image less the mean, for one value of it
ALPHA = 8e-10 * 255**4  # their λ_α, for images in [0, 1]
MOST_TV, MOST_SIDE = 1e6, 4096
FILES = ("report.json", "grid.png", "config.yaml", "images/*.png")


class Objective:
    """E(x) = ‖Φ(x) − Φ₀‖² / ‖Φ₀‖² + (λ_TV / 2 · TV(x) + λ_α / 2 · Σ z⁶) / σ_x², z = x less the mean colour.

    Φ₀ are the features of `photographs` (B, 3, S, S) in [0, 1] in a layer. `tv` is λ_TV, by default the authors' for
    maps of such a size: 1 where a map has at least an eighth of the input's side, 10 from a sixteenth on, else 100.

    Raises `InputError` for an unknown layer, and for one that is silent for a photograph. Source: Mahendran & Vedaldi
    2015 (arXiv 1412.0035), equations 1 to 4, with β = 2; constants of its released code, λ_α rescaled to [0, 1].
    """

    def __init__(self, network: Network, layer: str, photographs: Tensor, tv: float | None = None) -> None:
        self.network, self.layer = network, layer
        with torch.no_grad():
            self.wanted = network.features(photographs, [layer])[layer].float()
        self.size = self.wanted.square().flatten(1).sum(1)
        if not bool((self.size > 0).all()):
            raise InputError(f"layer '{layer}' of {network.name} gives only zeros for this photograph; choose another")
        found = layout.of(tuple(self.wanted.shape[1:]))
        reduced = (network.preprocessing.size or photographs.shape[-1]) / max(found.height if found else 0, 1)
        self.tv = tv if tv is not None else 1.0 if reduced <= 8 else 10.0 if reduced <= 16 else 100.0

    def error(self, x: Tensor) -> Tensor:
        """‖Φ(x) − Φ₀‖² / ‖Φ₀‖² of images (B, 3, S, S) in [0, 1], (B,)."""
        said = self.network.features(x, [self.layer])[self.layer].float()
        distance: Tensor = (said - self.wanted).square().flatten(1).sum(1)
        return distance / self.size

    def __call__(self, x: Tensor) -> Tensor:
        """E of images (B, 3, S, S), (B,)."""
        powers = (x - MEAN.to(x)).pow(6).flatten(1).sum(1)
        return self.error(x) + (self.tv * total_variation(x) + ALPHA * powers) / (2 * NORM**2 * x[0].numel())


def descend(
    objective: Callable[[Tensor], Tensor],
    start: Tensor,
    steps: int,
    rate: float = 0.02,
    callback: Callable[[], object] = lambda: None,
) -> Tensor:
    """Images (B, 3, S, S) after `steps` steps of Adam down an objective, (B,) of them, each for itself.

    They are not clipped on the way, as the objective's powers keep them near [0, 1].
    """
    x = start.clone().requires_grad_()
    optimizer = torch.optim.Adam([x], rate)
    with AlikeInAnyBatch() if x.device.type == "cpu" else nullcontext():
        for _ in range(steps):
            (x.grad,) = torch.autograd.grad(objective(x).sum(), x)
            optimizer.step()
            callback()
    return x.detach()


def noise(side: int, seeds: Sequence[int], device: torch.device) -> Tensor:
    """Starts (B, 3, side, side): the mean colour and Gaussian noise of the norm σ_x, one for each seed."""
    drawn = Noise(seeds, device).normal("init", (3, side, side))
    norms = drawn.square().mean((1, 2, 3), keepdim=True).sqrt()
    return MEAN.to(drawn) + NORM * drawn / norms


def decoded(model: PPGN, photographs: Tensor) -> Tensor:
    """G(E(x)) of photographs (B, 3, S, S) in [0, 1], at their size, whatever the generator's."""
    with torch.no_grad():
        drawn = model.decode(model.encode(_resized(photographs, _shape(model)[-1])))
    return _resized(drawn, photographs.shape[-1])


def _shape(model: PPGN) -> Shape:
    return tuple(cast(Generator, model.generator).signal_shape)


def _resized(x: Tensor, side: int) -> Tensor:
    if x.shape[-2:] == (side, side):
        return x
    return F.interpolate(x, (side, side), mode="bicubic", antialias=True).clamp(0, 1)


@folders.results(*FILES)
def invert(
    # -- what is inverted --
    image: Any,  # a photograph
    layer: Any,  # as `ppgn units` lists them; a list of several
    *,
    # efficientnet_lite0..2, timm/NAME, torchvision/NAME, huggingface/NAME, file.py:NAME, FILE.pt2
    network: Any = "efficientnet_lite1",
    size: int | None = None,  # side of its input in pixels; null: what suits the network
    weights: str | Path | None = "default",  # null: random; or the path of a state dict, .safetensors or .pth
    # -- how --
    # regularised: descent from noise; decoder: through a model's encoder and generator; both: descent from the
    # decoder's picture; a list of several; all
    method: Any = "both",
    model: Any = "natural64",  # the decoder
    side: int | None = None,  # of the images in pixels; null: the model's, or the network's without a model
    steps: int = 200,  # of the descent, the same for every method that has one
    rate: float = 0.02,  # of a step, by Adam
    tv: float | None = None,  # weight of total variation; null: 1, 10 or 100, the smaller a layer's maps the more
    seed: int = 0,  # of the noise
    # -- on which machine --
    device: Any = "auto",  # cpu, cuda or cuda:N; auto is the GPU if there is one
    progress: bool = False,
    # -- what comes out --
    out: Any = None,  # a folder; one run at a time works there
    overwrite: bool = False,  # true replaces the results of an earlier run in `out`
) -> Inverted:
    """Find images that a layer takes for the photograph, one per layer and method -> `Inverted`.

    The photograph is cropped to a square and resized to `side`. The decoder knows the code of its own encoder, not the
    layer: its picture is the same for all. progress: a bar on stderr. out: files are written there at the end; without
    it nothing is written until `Inverted.save`.

    Raises `InputError` for what cannot be used. Sources: `Objective`; decoder: Dosovitskiy & Brox 2016 (arXiv
    1506.02753), with the losses of arXiv 1602.02644.
    """
    layers, ways = arguments.names("layer", layer), arguments.names("method", method, METHODS)
    _check(steps, seed, side, rate, tv)
    where = arguments.device(device)
    photo = _photo(image)
    seen = own.load(network, size, weights).to(where)
    net = _decoder(model, where) if {"decoder", "both"} & set(ways) else None
    edge = side or (_shape(net)[-1] if net else seen.side)
    picture = square(photo[None], edge)
    x = picture.to(where) / 255
    objectives = {name: Objective(seen, name, x, tv) for name in layers}
    starts = {"regularised": noise(edge, [seed], where)} if "regularised" in ways else {}
    if net:
        starts |= dict.fromkeys(("decoder", "both"), decoded(net, x))
    found: dict[tuple[str, str], Tensor] = {}
    rows = []
    walks = len([way for way in ways if way != "decoder"])
    with tqdm(total=len(layers) * walks * steps, unit="step", disable=not progress) as bar:
        for name, way in product(layers, ways):
            bar.set_description(name)
            drawn = starts[way] if way == "decoder" else descend(objectives[name], starts[way], steps, rate, bar.update)
            done = images.to_uint8(drawn).cpu()
            found[name, way] = done[0]
            rows.append({"layer": name, "method": way} | _figures(objectives[name], done, picture))
    config: dict[str, Any] = {"image": str(image) if isinstance(image, str | Path) else "given"}
    config |= {"layer": layers, "network": seen.name, "size": seen.preprocessing.size, "method": ways}
    config |= {"model": (net.name or "given") if net else None, "side": edge}
    config |= {"steps": steps, "rate": rate, "tv": tv, "seed": seed}
    return Inverted(folders.of(out), config, picture[0], found, rows)


def _check(steps: Any, seed: Any, side: Any, rate: Any, tv: Any) -> None:
    """Raise `InputError` for numbers that cannot be used."""
    for key, number, least in (("steps", steps, 1), ("seed", seed, 0), ("side", 8 if side is None else side, 8)):
        arguments.whole(key, number, least)
    if side is not None and side > MOST_SIDE:
        raise InputError(f"side={side} cannot be used; expected at most {MOST_SIDE} pixels")
    arguments.share("rate", rate)
    if tv is not None and (isinstance(tv, bool) or not isinstance(tv, int | float) or not 0 <= tv <= MOST_TV):
        raise InputError(f"tv={tv} cannot be used; expected a number from 0 to {MOST_TV:,.0f}, or null")


def _photo(image: Any) -> Tensor:
    """A photograph (3, H, W). Raises `InputError` for what is none."""
    photo = image if isinstance(image, Tensor) else images.read(image)
    if photo.dim() != 3 or photo.shape[0] != 3:
        raise InputError(f"image of shape {tuple(photo.shape)}: expected (3, H, W)")
    return photo


@torch.no_grad()
def _figures(objective: Objective, done: Tensor, picture: Tensor) -> dict[str, float]:
    """How near an image is to the photograph, both uint8 (1, 3, S, S), and its features to those wanted."""
    error = float(objective.error(done.to(objective.wanted.device) / 255))
    return {"psnr": float(fidelity.psnr(done, picture)), "error": error, "tv": objective.tv}


def _decoder(model: Any, device: torch.device) -> PPGN:
    """A model with an encoder that draws pictures. Raises `InputError` for another."""
    if not isinstance(model, str | Path | Mapping | PPGN):
        raise InputError(f"model={model} cannot be used; give a name or a file, or method=regularised")
    net = ppgn.model.load(model, device)
    shape = _shape(net)
    if net.encoder is None or len(shape) != 3 or shape[0] != 3:
        lack = "has no encoder" if net.encoder is None else f"draws signals {shape}, not pictures (3, H, W)"
        raise InputError(f"model '{net.name or 'given'}' {lack}; give another, or method=regularised")
    return net


@dataclass(frozen=True, repr=False)
class Inverted(folders.Results):
    """Inversions of one photograph; `save` writes grid.png, images/LAYER-METHOD.png, report.json and config.yaml.

    `picture` is the photograph as it was inverted, uint8 (3, S, S), `images` are as large, by layer and method. `rows`
    has of each the PSNR to the photograph in dB, "error", ‖Φ(x) − Φ₀‖² / ‖Φ₀‖² in the layer, and the weight "tv".
    """

    files = FILES

    picture: Tensor
    images: Mapping[tuple[str, str], Tensor]
    rows: Sequence[Mapping[str, Any]]

    def __len__(self) -> int:
        return len(self.images)

    def __repr__(self) -> str:
        return f"Inverted({self.config['image']}: {', '.join(map(_said, self.rows))})"

    def grid(self) -> Image.Image:
        """A row per layer: the photograph, then its image by each method, with the numbers below."""
        shown, texts = [], []
        for row in self.rows:
            if row["method"] == self.config["method"][0]:
                shown.append(self.picture)
                texts.append(f"photograph\n{row['layer']}")
            shown.append(self.images[row["layer"], row["method"]])
            texts.append(f"{row['method']}\n{row['psnr']:.1f} dB, error {row['error']:.3f}")
        columns = 1 + len(self.config["method"])
        return images.grid(torch.stack(shown), columns=columns, captions=texts, scale="auto")

    def report(self) -> dict[str, Any]:
        """What report.json says."""
        return {**self.config, "versions": files.versions(), "images": list(self.rows)}

    def write(self, place: Path) -> None:
        """Write grid.png and images/."""
        for (layer, method), picture in self.images.items():
            images.write(place / "images" / f"{layer.replace('/', '-')}-{method}.png", picture)
        images.write(place / "grid.png", self.grid())


def _said(row: Mapping[str, Any]) -> str:
    return f"{row['layer']} {row['method']} {row['psnr']:.1f} dB, error {row['error']:.3f}"
