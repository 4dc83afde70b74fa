"""Scene classifiers: one of 100 scenes that comes along, and others with weights that a user supplies."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import torch
from torch import nn

from ppgn import files, folders, paths
from ppgn.errors import InputError
from ppgn.networks import _weights, imagenet, torchscript
from ppgn.networks import labels as class_names
from ppgn.networks.network import Network

OWN = "places100"  # the one that comes along, in checkpoints/
FORMAT = "ppgn-head-1"
_URL = ("http://", "https://")
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
    crop: bool = False,  # true: cut pictures to their centre, as Caffe's users did, instead of shrinking them
) -> Network:
    """Load a scene classifier, (B, 3, H, W) in [0, 1] -> logits (B, K).

    `name` "places100", which None without weights stands for, comes along: a linear layer for the 100 scenes of
    MiniPlaces on EfficientNet-Lite0's features. For others, `weights` is the path or URL of a state dict for
    `name` ("torchvision/NAME", "timm/NAME", "caffenet"; `PUBLIC` lists files there are), or of a TorchScript file,
    NAME.ts, that normalises for itself. TorchScript is code: trust its author; from a URL it needs `sha256`. A URL is
    downloaded once, and the file must stay as it then was.
    "default" is the public file, if it was; None makes random weights of `classes` classes. `size` is the side of the
    input in pixels, by default the network's, or 224. `labels`: K names or a file of them, by default those in the
    file, or in the .json or .txt beside a TorchScript file, else for K = 365 the categories of Places. `sha256`: what
    the file must hash to.

    Of a state dict nothing but tensors is unpickled. Raises `InputError` for weights that are missing, damaged or do
    not fit.
    """
    name = name or (OWN if weights == "default" else "torchvision/resnet18")
    if name == OWN:
        if weights != "default" or classes is not None or labels is not None:
            raise InputError(f"{OWN} has its own weights; for others add condition.network.name=torchvision/resnet18")
        return _own(size)
    if weights is None:
        network = imagenet.load(name, size, None, len(categories()) if classes is None else classes)
    else:
        if sha256 is None and str(weights).startswith(_URL) and str(weights).partition("?")[0].endswith(".ts"):
            advice = "add sha256=DIGEST, or give a file's path"
            raise InputError(f"weights {weights} are TorchScript, which is code: {advice}")
        file = _file(name, str(weights))
        noted = file.with_name(f"{file.name}.sha256")  # beside what was downloaded
        for wanted in (sha256, noted.read_text().partition(" ")[0].strip() if noted.is_file() else None):
            if wanted is not None and folders.digest(file) != wanted.lower():
                raise InputError(f"weights '{file}' are not those of sha256={wanted}; delete the file and get it again")
        if file.suffix == ".ts":
            network = torchscript.load(file, size=224 if size is None else size)
            labels = _beside(file) if labels is None else labels
        else:
            network = imagenet.load(name, size, file)
    network.preprocessing.crop = crop or None
    if network.classes == 1000:
        network.labels = None  # not ImageNet's
    if labels is not None:
        network.name_outputs(class_names.read(labels))
        network.rebuilt_with |= {"labels": list(network.labels or ())}
    elif network.labels is None and network.classes == len(categories()):
        network.labels = categories()
    network.rebuilt_with |= {"sha256": None}
    return network


def _own(size: int | None) -> Network:
    """The classifier that comes along."""
    path = files.find("places network", OWN, FORMAT)
    tensors, metadata = files.load(path, FORMAT)
    network = imagenet.load("efficientnet_lite0", size)
    count, width = tensors["weight"].shape
    head = nn.Linear(width, count)
    _weights.assign(head, tensors, f"'{path}' does not fit")
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
    if not weights.startswith(_URL):
        file = Path(weights).expanduser()
        if not file.is_file():
            raise InputError(f"weights '{file}': no such file; give the path of a .pth, .safetensors or .ts file")
        return file
    file = _downloaded(weights)
    if not file.is_file():
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            torch.hub.download_url_to_file(weights, str(file))
            paths.write(file.with_name(f"{file.name}.sha256"), folders.digest(file))
        except (OSError, RuntimeError, ValueError) as error:
            raise InputError(f"cannot download {weights} ({error}); get it by other means and give its path") from error
    return file


def _downloaded(url: str) -> Path:
    """Where a URL's file is kept once it is downloaded: in a folder for the whole address."""
    name = Path(url.partition("?")[0]).name or "none"
    return paths.cache() / "downloads" / hashlib.sha256(url.encode()).hexdigest()[:16] / name


def _beside(file: Path) -> Path | None:
    return next((path for path in (file.with_suffix(".json"), file.with_suffix(".txt")) if path.is_file()), None)
