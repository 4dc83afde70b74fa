"""Scene classifiers: one of 100 scenes that comes along, and others with weights that a user supplies."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import torch
from torch import nn

from ppgn import files
from ppgn.errors import InputError
from ppgn.networks import imagenet, torchscript
from ppgn.networks import labels as class_names
from ppgn.networks.network import Network

OWN = "places100"  # the one that comes along, in checkpoints/
FORMAT = "ppgn-head-1"
_PUBLIC = "http://places2.csail.mit.edu/models_places365"
PUBLIC = {
    "torchvision/resnet18": f"{_PUBLIC}/resnet18_places365.pth.tar",
    "torchvision/resnet50": f"{_PUBLIC}/resnet50_places365.pth.tar",
}


@cache
def categories() -> tuple[str, ...]:
    """The 365 categories in the order of the public weights: "airfield", "apartment_building/outdoor", ...

    Source: Zhou et al. 2017, Places: A 10 Million Image Database for Scene Recognition.
    """
    return class_names.read(Path(__file__).with_name("places365.txt"))


def load(
    name: str | None = None,
    size: int | None = None,
    weights: str | Path | None = "default",
    classes: int | None = None,
    labels: str | Path | Sequence[str] | None = None,
    sha256: str | None = None,
) -> Network:
    """Load a scene classifier, (B, 3, H, W) in [0, 1] -> logits (B, K).

    `name` "places100", which None without weights stands for, comes along: a linear layer for the 100 scenes of
    MiniPlaces on EfficientNet-Lite0's features. For others, `weights` is the path or URL of a state dict for
    `name` ("torchvision/NAME", "timm/NAME"; `PUBLIC` lists files there are), or of a TorchScript file, NAME.ts, that
    normalises for itself; a URL is downloaded once.
    "default" is the public file, if it was; None makes random weights of `classes` classes. `size` is the side of the
    input in pixels, by default the network's, or 224. `labels`: K names or a file of them, by default the .json or
    .txt beside a TorchScript file, else for K = 365 the categories of Places. `sha256`: what the file must hash to.

    Nothing but tensors is unpickled. Raises `InputError` for weights that are missing, damaged or do not fit.
    """
    name = name or (OWN if weights == "default" else "torchvision/resnet18")
    if name == OWN:
        if weights != "default" or classes is not None or labels is not None:
            raise InputError(f"{OWN} has its own weights; for others add condition.network.name=torchvision/resnet18")
        return _own(size)
    if weights is None:
        network = imagenet.load(name, size, None, len(categories()) if classes is None else classes)
    else:
        file = _file(name, str(weights))
        if sha256 is not None and hashlib.sha256(file.read_bytes()).hexdigest() != sha256.lower():
            raise InputError(f"weights '{file}' are not those of sha256={sha256}; delete the file and get it again")
        if file.suffix == ".ts":
            network = torchscript.load(file, size=224 if size is None else size)
            labels = _beside(file) if labels is None else labels
        else:
            network = imagenet.load(name, size, file)
    network.labels = None  # not ImageNet's
    if labels is not None:
        network.name_outputs(class_names.read(labels))
        network.rebuilt_with |= {"labels": list(network.labels or ())}
    elif network.classes == len(categories()):
        network.labels = categories()
    network.rebuilt_with |= {"sha256": None}
    return network


def _own(size: int | None) -> Network:
    """The classifier that comes along."""
    tensors, metadata = files.load(files.find("places network", OWN, FORMAT), FORMAT)
    network = imagenet.load("efficientnet_lite0", size)
    head = nn.Linear(*reversed(tensors["weight"].shape))
    head.load_state_dict({key: value.float() for key, value in tensors.items()})
    network.body.classifier = head.requires_grad_(False).eval()
    return Network(network.body, network.preprocessing, name=OWN, labels=metadata["labels"], copy=False)


def _file(name: str, weights: str) -> Path:
    """The file of some weights, downloaded if need be."""
    if weights == "default":
        file = _downloaded(PUBLIC.get(name, ""))
        if not file.is_file():
            url = PUBLIC.get(name, f"one from {_PUBLIC}")
            what = f"no weights for the places network {name}"
            raise InputError(f"{what}; get {url} and add condition.network.weights=FILE, or the URL for FILE")
        return file
    if not weights.startswith(("http://", "https://")):
        file = Path(weights).expanduser()
        if not file.is_file():
            raise InputError(f"weights '{file}': no such file; give the path of a .pth, .safetensors or .ts file")
        return file
    file = _downloaded(weights)
    if not file.is_file():
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            torch.hub.download_url_to_file(weights, str(file))
        except (OSError, RuntimeError, ValueError) as error:
            raise InputError(f"cannot download {weights} ({error}); get it by other means and give its path") from error
    return file


def _downloaded(url: str) -> Path:
    """Where a URL's file is kept once it is downloaded."""
    return Path(torch.hub.get_dir()) / "checkpoints" / url.rpartition("/")[2]


def _beside(file: Path) -> Path | None:
    return next((path for path in (file.with_suffix(".json"), file.with_suffix(".txt")) if path.is_file()), None)
