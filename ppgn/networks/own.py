"""Any network: a module, the name of one, or a file."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ppgn import building
from ppgn.errors import InputError, first_line, unknown
from ppgn.networks import _weights, exported, imagenet, torchscript
from ppgn.networks import labels as class_names
from ppgn.networks.network import Network, Preprocessing

SIDES = (224, 64, 32, 28, 96, 128, 256, 299, 384)  # of images that a network may take, tried in this order
HUGGING_FACE = "huggingface/"
TORCHSCRIPT = (".ts", ".pt", ".pth", ".jit", ".torchscript")


def load(
    # efficientnet_lite0..2, timm/NAME, torchvision/NAME, huggingface/NAME; file.py:NAME, a module or what makes one; a
    # file of torch.export, .pt2, or of TorchScript, .ts
    name: str | Path | nn.Module = "efficientnet_lite1",
    size: int | None = None,  # side of the input in pixels; null: what suits the network, 224 if it takes that
    weights: str | Path | None = "default",  # null: random; or the path of a state dict, .safetensors or .pth
    classes: int | None = None,  # of random weights
    labels: str | Path | Sequence[str] | None = None,  # names of the outputs, or a .json or text file of them
    # of RGB in [0, 1], subtracted; null: as the network of that name had it, 0 for one of your own
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,  # by which the difference is divided; null: as for mean, 1
    crop: bool = False,  # true: cut pictures to their centre, as Caffe's users did, instead of shrinking them
) -> Network:
    """Load a network to look through, images (B, 3, H, W) in [0, 1] -> logits (B, K).

    A module is copied, put in evaluation mode and frozen. What it takes is found out where it is not said: the first of
    `SIDES` pixels, in three channels or in one, which then gets the luma. Names of timm and torchvision: see
    `ppgn.networks.imagenet.load`. A state dict may have a prefix ("model.", "module.") and more in it than the network.

    Raises `InputError` for what cannot be found or read, for weights that do not fit, and for a network that takes
    several inputs, does not take an image, or does not give floating-point logits (1, K) of as many classes as labels.
    """
    if isinstance(name, Network):
        if (size, weights, classes, labels, mean, std) != (None, "default", None, None, None, None):
            raise InputError(f"network '{name.name}' has its preprocessing and labels; give the module inside, .body")
        return name
    text = "" if isinstance(name, nn.Module) else str(name)
    suffix = Path(text).suffix
    if name == "":
        raise unknown("network", text, imagenet.available())
    if text.startswith(HUGGING_FACE):
        from ppgn.networks import huggingface

        given = class_names.read(labels) if labels is not None else None
        return _changed(huggingface.classifier(text.removeprefix(HUGGING_FACE), given), size, mean, std)
    if text and not isinstance(name, Path) and suffix not in (".pt2", *TORCHSCRIPT) and ":" not in text:
        if text.endswith(".py"):
            raise InputError(f"network '{text}': which of its networks? give {text}:NAME, for example {text}:net")
        network = _changed(imagenet.load(text, size, weights, classes, crop), None, mean, std)
    else:
        body, side, single = _body(name, text, suffix)
        if isinstance(body, Network):
            return load(body, size, weights, classes, labels, mean, std)
        if classes is not None:
            raise InputError(f"classes={classes} is for random weights of timm and torchvision; leave it out")
        if weights not in (None, "default"):
            state = imagenet.unprefixed(_weights.read(str(weights)), body.state_dict())
            _weights.assign(body, state, f"weights '{weights}' do not fit {text or type(body).__name__}")
        called = Path(text).stem if suffix in (".pt2", *TORCHSCRIPT) else text or type(body).__name__
        sides = [side for side in (size, side) if side] or SIDES
        kind = exported.Single if single else Network
        network = kind(body, _taken(body, called, sides, mean, std), name=called, restorable=False, copy=False)
        _check(network)
    network.preprocessing.crop = crop or None
    if labels is not None:
        network.name_outputs(class_names.read(labels))
    return network


def _body(name: Any, text: str, suffix: str) -> tuple[nn.Module, int | None, bool]:
    """The module that is meant, a copy, the side of its images where that is known, and whether it takes but one."""
    if suffix == ".pt2":
        return exported.load(text)
    if isinstance(name, Path) or (suffix in TORCHSCRIPT and ":" not in text):
        return torchscript.read(text), None, False
    made = building.locate(text) if text else name
    if not isinstance(made, nn.Module) and callable(made):
        try:
            made = made()
        except Exception as error:
            reason = first_line(error)
            raise InputError(f"network '{text}' cannot be made ({reason}); give what needs no arguments") from error
    if not isinstance(made, nn.Module):
        raise InputError(f"network '{text}' is a {type(made).__name__}; expected an nn.Module, or what makes one")
    needed = [
        word.name
        for word in inspect.signature(made.forward).parameters.values()
        if word.default is word.empty and word.kind in (word.POSITIONAL_ONLY, word.POSITIONAL_OR_KEYWORD)
    ]
    if len(needed) > 1:
        given = f"network '{text or type(made).__name__}' takes {len(needed)} inputs ({', '.join(needed)})"
        raise InputError(f"{given}; wrap it in a module that takes images alone")
    return deepcopy(made).float().eval(), None, False


def _taken(
    body: nn.Module, name: str, sides: Sequence[int], mean: Sequence[float] | None, std: Sequence[float] | None
) -> Preprocessing:
    """Images of the first of `sides`, in colour or in grey, that a network takes. Raises `InputError` for none."""
    reasons: list[str] = []
    for side in sides:
        for channels in ("rgb", "gray"):
            blank = torch.zeros(1, 1 if channels == "gray" else 3, side, side)
            try:
                with torch.no_grad():
                    body(blank)
            except Exception as error:  # whatever it raises, it does not take this
                reasons.append(str(error).strip().split("\n")[-1])
            else:
                mean, std = mean or (0.0,), std or (1.0,)
                if channels == "gray":  # three numbers alike are one
                    mean, std = mean[: len(set(mean))], std[: len(set(std))]
                return Preprocessing(side, mean, std, channels=channels)
    tried = f"{', '.join(map(str, sides))} pixels a side, in colour or grey"
    raise InputError(f"network '{name}' does not take images of {tried} ({reasons[0]}); give size=PIXELS")


def _changed(network: Network, size: int | None, mean: Sequence[float] | None, std: Sequence[float] | None) -> Network:
    """A network of known preprocessing, with what was given instead."""
    old = network.preprocessing
    if mean is None and std is None:
        mean, std, scale = old.mean, old.std, old.scale
    else:
        mean = [value / old.scale for value in old.mean] if mean is None else mean
        std = [value / old.scale for value in old.std] if std is None else std
        scale = 1.0
    network.preprocessing = Preprocessing(size or old.size, mean, std, scale, old.channels, old.interpolation)
    return network


def _check(network: Network) -> None:
    """Raise `InputError` for outputs that no softmax should be taken of: probabilities, or a single one."""
    if network.classes == 1:
        hint = "expected logits of 2 classes or more; condition=unit reads one, with condition.score=activation"
        raise InputError(f"network '{network.name}' gives one number per image; {hint}")
    with torch.no_grad():
        out = network(torch.rand(1, 3, network.side, network.side, generator=torch.Generator().manual_seed(0)))
    if bool((out >= 0).all()) and abs(float(out.sum()) - 1) < 1e-4:
        raise InputError(f"network '{network.name}' gives probabilities; expected logits: leave its softmax out")
