"""What in a photograph a unit responds to: deconvnet, guided backpropagation, gradients, occlusion, Grad-CAM."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from PIL import Image
from scipy.stats import spearmanr
from torch import Tensor, nn
from tqdm import tqdm

from ppgn import arguments, files, folders
from ppgn.conditions.unit import Unit
from ppgn.errors import InputError, library
from ppgn.media import images
from ppgn.networks import own
from ppgn.photographs import square
from ppgn.visualize.receptive_field import GREY
from ppgn.visualize.rectifiers import ruled
from ppgn.visualize.subject import inner, units

CONTRAST = (0.02, 0.98)  # quantiles of a map's values, but for zeros, that the ends of the grey scale show
DELETED = 0.1  # the share of the squares, a sixteenth of the side each, that turn grey to see who needs them
DRAWS = 8  # of as many random squares beside them
FILES = ("report.json", "grid.png", "maps.safetensors", "config.yaml")
TRIES = 5  # of random weights, until one lets the unit say anything


class Attribution(Protocol):
    """A method: what of an image a unit stands on.

    Every image is looked at alone, so that its map is the same in any batch; the same seed gives the same map; neither
    the unit nor the images are changed. A unit that the method cannot explain is refused with an `InputError`.
    """

    def __call__(self, unit: Unit, image: Tensor, seed: int) -> Tensor:
        """One image (1, 3, S, S) in [0, 1] at the network's size -> its map, (1, 3, S, S), signed."""


@folders.results(*FILES)
def deconv(
    # -- what to explain --
    image: Any,  # a photograph
    unit: Any,  # its number; of the outputs also a class name; a list of several
    *,
    # efficientnet_lite0..2, timm/NAME, torchvision/NAME, huggingface/NAME, file.py:NAME, FILE.pt2
    network: Any = "efficientnet_lite1",
    size: int | None = None,  # side of its input in pixels; null: what suits the network
    weights: str | Path | None = "default",  # null: random; or the path of a state dict, .safetensors or .pth
    layer: str | None = None,  # one that `ppgn units` lists; null is the last, whose units are the classes
    position: Any = "max",  # where the unit is read: max is where it is strongest, or center, mean, [y,x]
    # deconvnet, guided, gradient, smoothgrad, occlusion, gradcam, integrated; a list of several; all
    method: Any = "guided",
    seed: int = 0,  # of smoothgrad's noise and of the checks
    # -- on which machine --
    device: Any = "auto",  # cpu, cuda or cuda:N; auto is the GPU if there is one
    progress: bool = False,
    # -- what comes out --
    out: Any = None,  # a folder; one run at a time works there
    overwrite: bool = False,  # true replaces the results of an earlier run in `out`
) -> Attributions:
    """Show what in a photograph units of a network respond to, a map per unit and method -> `Attributions`.

    The photograph is cropped to a square and resized to the network's input. progress: a bar on stderr. out: files are
    written there at the end; without it nothing is written until `Attributions.save`.

    Raises `InputError` for what cannot be used, for methods of captum where it is not installed, and for "deconvnet"
    and "guided" of a network whose rectifiers cannot be replaced. Source: the survey of Nguyen, Yosinski and Clune 2019
    (arXiv 1904.08939); each method names its own.
    """
    names = arguments.names("method", method, METHODS)
    arguments.whole("seed", seed, 0)
    where = arguments.device(device)
    first, *others = units(own.load(network, size, weights), layer, unit, position, where)
    picture = square((image if isinstance(image, Tensor) else images.read(image))[None], inner(first).side)
    x, every = picture.to(where) / 255, [first, *others]
    found: dict[tuple[str, str], Tensor] = {}
    checks: list[dict[str, Any]] = []
    for one in every:
        with torch.no_grad():
            value = float(one(x))
        for name in tqdm(names, desc=one.name, disable=not progress):
            seen = METHODS[name](one, x, seed)
            found[one.name, name] = seen[0].cpu()
            checks.append({"unit": one.name, "method": name, "activation": value} | check(one, x, seen, name, seed))
    config: dict[str, Any] = {"image": str(image) if isinstance(image, str | Path) else "given"}
    config |= {"network": inner(first).name, "layer": first.layer, "unit": unit, "method": names, "seed": seed}
    config |= {"position": position if isinstance(position, str | int) else list(position)}
    return Attributions(folders.of(out), config, picture[0], found, checks)


def gradient(unit: Unit, image: Tensor, seed: int = 0) -> Tensor:
    """∂ activation / ∂ pixel. Source: Simonyan, Vedaldi and Zisserman 2014 (arXiv 1312.6034), section 3."""
    x = image.detach().clone().requires_grad_()
    with torch.enable_grad():
        (slope,) = torch.autograd.grad(unit(x).sum(), x)
    return slope


def deconvnet(unit: Unit, image: Tensor, seed: int = 0) -> Tensor:
    """The activation's signal by the backward rule of the deconvolutional network, per unit of activation.

    Max-pooling hands the signal to where the maximum was; a pixel that wins several windows receives the sum. In a
    network without max-pooling nothing in the rule depends on the image but where the unit is read: see `guided`.
    """
    return gradient(ruled(unit, "deconvnet", image), image)


def guided(unit: Unit, image: Tensor, seed: int = 0) -> Tensor:
    """Guided backpropagation: that of `deconvnet` where rectifiers were open."""
    return gradient(ruled(unit, "guided", image), image)


def smoothgrad(unit: Unit, image: Tensor, seed: int = 0) -> Tensor:
    """The mean gradient over 50 noisy copies, noise 0.15 of the values' range. Source: arXiv 1706.03825."""
    attr = _captum("smoothgrad")
    spread = 0.15 * float(image.max() - image.min())
    with torch.random.fork_rng([image.device] if image.is_cuda else []):
        torch.manual_seed(seed)
        noisy = attr.NoiseTunnel(attr.Saliency(unit))
        settings = {"nt_type": "smoothgrad", "nt_samples": 50, "nt_samples_batch_size": 10, "stdevs": spread}
        found: Tensor = noisy.attribute(_leaf(image), abs=False, **settings)
    return found.detach()


def occlusion(unit: Unit, image: Tensor, seed: int = 0) -> Tensor:
    """How much a grey square, an eighth of the side, lowers the activation, every sixteenth; mean over squares.

    Source: Zeiler and Fergus 2014 (arXiv 1311.2901), section 4.2.
    """
    side = image.shape[-1]
    window, stride = max(1, side // 8), max(1, side // 16)
    settings = {"sliding_window_shapes": (3, window, window), "strides": (3, stride, stride), "baselines": GREY}
    with torch.no_grad():
        found: Tensor = _captum("occlusion").Occlusion(unit).attribute(image, perturbations_per_eval=16, **settings)
    return found.to(image)


def gradcam(unit: Unit, image: Tensor, seed: int = 0) -> Tensor:
    """Positive part of the maps of an earlier layer, weighted by their mean gradients, enlarged; three channels alike.

    The layer is the last in front of the unit's own that has a grid of places, and units or places of another number.
    Raises `InputError` where there is none. Source: Selvaraju et al. 2017 (arXiv 1610.02391), equations 1 and 2.
    """
    attr = _captum("gradcam")
    network = inner(unit)
    shapes = network.layer_shapes()
    fitting: list[str] = []
    for name, shape in shapes.items():
        if name == unit.layer:
            break
        outer, plane = unit.layer.startswith(f"{name}."), len(shape) == 3 and min(shape[1:]) > 1
        fitting += [name] if plane and not outer and shape != shapes[unit.layer] else []
    if not fitting:
        raise InputError(f"no layer with places in front of '{unit.layer}' of {network.name}; give another method")
    cam = attr.LayerGradCam(unit, network.body.get_submodule(fitting[-1]))
    heat = cam.attribute(_leaf(image), relu_attributions=True).detach()
    found: Tensor = nn.functional.interpolate(heat, image.shape[-2:], mode="bilinear").expand_as(image)
    return found


def integrated(unit: Unit, image: Tensor, seed: int = 0) -> Tensor:
    """Integrated gradients from grey, 64 steps. Source: Sundararajan, Taly and Yan 2017 (arXiv 1703.01365)."""
    settings = {"baselines": GREY, "n_steps": 64, "internal_batch_size": 16}
    found: Tensor = _captum("integrated").IntegratedGradients(unit).attribute(_leaf(image), **settings)
    return found.detach().to(image)


METHODS: dict[str, Attribution] = {
    "deconvnet": deconvnet,
    "guided": guided,
    "gradient": gradient,
    "smoothgrad": smoothgrad,
    "occlusion": occlusion,
    "gradcam": gradcam,
    "integrated": integrated,
}


def _captum(method: str) -> Any:
    return library("captum.attr", f"method={method} needs captum", "toolbox")


def _leaf(image: Tensor) -> Tensor:
    return image.detach().clone().requires_grad_()


@torch.no_grad()
def check(unit: Unit, image: Tensor, seen: Tensor, method: str, seed: int = 0) -> dict[str, float | None]:
    """Whether a map (1, 3, S, S) says something of the unit.

    "deletion": the share of the activation that is lost when the tenth of all squares, a sixteenth of the side each,
    where the map is strongest turns grey; "random" that by as many random ones. "randomised": the rank correlation of
    the map's absolute values with that of the same network with random weights, near 0 for a method that shows the
    network (Adebayo et al. 2018, arXiv 1810.03292). Each is None where the unit is silent or a map is empty.
    """
    draw, value = torch.Generator().manual_seed(seed), unit(image)
    strength = seen.abs().sum(1, keepdim=True)
    cells = nn.functional.adaptive_avg_pool2d(strength, 16).flatten()
    count = int(DELETED * len(cells))
    drawn = [torch.randperm(len(cells), generator=draw)[:count] for _ in range(DRAWS)]
    keep = torch.ones(1 + DRAWS, len(cells))
    for row, chosen in zip(keep, [cells.topk(count).indices.cpu(), *drawn], strict=True):
        row[chosen] = 0
    masks = nn.functional.interpolate(keep.view(-1, 1, 16, 16), image.shape[-2:], mode="nearest").to(image)
    left = unit(image * masks + GREY * (1 - masks))
    lost = (1 - left / value).tolist() if value > 0 else []
    said: dict[str, float | None] = dict.fromkeys(("deletion", "random", "randomised"))
    said |= {"deletion": lost[0], "random": sum(lost[1:]) / DRAWS} if lost else {}
    for _ in range(TRIES):
        other = METHODS[method](_random(unit, draw), image, seed).abs().sum(1)
        if len(strength.unique()) > 1 and len(other.unique()) > 1:
            rank = spearmanr(strength.flatten().cpu(), other.flatten().cpu()).statistic
            return said | {"randomised": float(rank)}
    return said


def _random(unit: Unit, draw: torch.Generator) -> Unit:
    """The unit in a copy of its network with normal weights, of the mean and deviation that each tensor had."""
    copy = deepcopy(unit)
    for weight in inner(copy).body.parameters():
        noise = torch.randn(weight.shape, generator=draw).to(weight)
        weight.copy_(weight.mean() + noise * (weight.std() if weight.numel() > 1 else 0))
    return copy


def shown(seen: Tensor) -> Tensor:
    """A map (3, H, W) as a picture: zero is grey, the 2nd or 98th percentile, whichever is farther, black or white."""
    values = seen[seen != 0]
    if not len(values):
        return torch.full_like(seen, GREY)
    ends = values.quantile(values.new_tensor(CONTRAST)).abs().max()
    return (GREY + seen / (2 * ends)).clamp(0, 1)


@dataclass(frozen=True, repr=False)
class Attributions(folders.Results):
    """Maps of one photograph, (3, S, S) by unit and method; `save` writes grid.png, maps.safetensors, report.json.

    `picture` is what the network saw, uint8 (3, S, S); `checks` has a row for every map, see `check`.
    """

    files = FILES

    picture: Tensor
    maps: Mapping[tuple[str, str], Tensor]
    checks: Sequence[Mapping[str, Any]]

    def __repr__(self) -> str:
        return f"Attributions({len(self.maps)} maps of {self.config['image']})"

    def grid(self) -> Image.Image:
        """A row per unit: the photograph, then its map by each method, captions below."""
        rows, texts, units = [], [], dict.fromkeys(unit for unit, _ in self.maps)
        for unit in units:
            mine = [check for check in self.checks if check["unit"] == unit]
            rows.append(self.picture)
            texts.append(f"{unit}\nactivation {mine[0]['activation']:.2f}\n")
            for said in mine:
                rows.append(images.to_uint8(shown(self.maps[unit, said["method"]])))
                numbers = ((key, said[key]) for key in ("deletion", "random", "randomised"))
                told = [f"{key} {'-' if number is None else f'{number:.2f}'}" for key, number in numbers]
                texts.append(f"{said['method']}\n{', '.join(told[:2])}\n{told[2]}")
        return images.grid(square(torch.stack(rows), 224), columns=len(rows) // len(units), captions=texts)

    def report(self) -> dict[str, Any]:
        """What report.json says."""
        return {**self.config, "versions": files.versions(), "maps": list(self.checks)}

    def write(self, place: Path) -> None:
        """Write grid.png and maps.safetensors."""
        tensors = {f"{unit} {method}": seen for (unit, method), seen in self.maps.items()}
        files.save(place / "maps.safetensors", {"picture": self.picture} | tensors, "ppgn-maps-1")
        images.write(place / "grid.png", self.grid())
