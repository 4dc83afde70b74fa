"""Scene classifiers: state dicts as they are published, TorchScript files, labels, and what is said when one lacks."""

from __future__ import annotations

import hashlib
import json
import warnings
from pathlib import Path

import pytest
import torch
import torchvision
from safetensors.torch import load_file
from torch import nn

from ppgn import paths
from ppgn.conditions.classifier import Classifier
from ppgn.errors import InputError
from ppgn.networks import imagenet, places

NAME = "torchvision/squeezenet1_1"


def published(path: Path, classes: int) -> nn.Module:
    """Write weights as the public files have them: an old checkpoint with more in it, names with a prefix."""
    torch.manual_seed(0)
    body = torchvision.models.squeezenet1_1(num_classes=classes).eval()
    state = {f"module.{key}": value for key, value in body.state_dict().items()}
    checkpoint = {"epoch": 90, "arch": "squeezenet1_1", "state_dict": state, "best_prec1": torch.tensor(54.0)}
    torch.save(checkpoint, path, _use_new_zipfile_serialization=False)
    return body


def scripted(path: Path, classes: int) -> Path:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        body = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, classes))
        torch.jit.script(body.eval()).save(str(path))
    return path


def test_there_are_365_categories_in_the_public_order() -> None:
    names = places.categories()
    assert (len(names), len(set(names))) == (365, 365)
    assert (names[0], names[8], names[48], names[364]) == (
        "airfield",
        "apartment_building/outdoor",
        "beach",
        "zen_garden",
    )


def test_the_network_that_comes_along_is_a_head_on_features_that_come_with_pip() -> None:
    network = places.load(size=64)
    body = imagenet.load("efficientnet_lite0", 64)
    x = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    pooled = body.body[:-1](body.preprocessing(x))
    head = load_file(paths.checkpoints() / "places100.safetensors")
    expected = pooled @ head["weight"].float().T + head["bias"].float()
    torch.testing.assert_close(network(x), expected, rtol=1e-4, atol=1e-4)
    assert (network.classes, network.labels[0], network.restorable) == (100, "abbey", True)
    assert Classifier(network, "corn field").name == "corn_field"
    for more in ({"classes": 5}, {"labels": ["a"]}):
        with pytest.raises(InputError, match="places100"):
            places.load(**more)


def test_a_published_checkpoint_is_its_network_with_the_categories(tmp_path: Path) -> None:
    body = published(tmp_path / "public.pth.tar", 365)
    network = places.load(NAME, 64, tmp_path / "public.pth.tar")
    x = torch.rand(2, 3, 64, 64)
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    expected = body((x - mean.view(3, 1, 1)) / std.view(3, 1, 1))
    torch.testing.assert_close(network(x), expected, rtol=1e-4, atol=1e-5)
    assert Classifier(network, "apartment building outdoor").index == 8
    assert not network.restorable
    rebuilt = places.load(NAME, 64, **{"weights": None, **network.rebuilt_with})
    assert [p.shape for p in rebuilt.parameters()] == [p.shape for p in network.parameters()]


def test_other_numbers_of_scenes_need_names_to_be_asked_by_name(tmp_path: Path) -> None:
    published(tmp_path / "own.pth", 5)
    assert places.load(NAME, 64, tmp_path / "own.pth").labels is None
    names = ["sea", "snow", "sand", "wood", "town"]
    assert places.load(NAME, 64, tmp_path / "own.pth", labels=names).labels == tuple(names)
    with pytest.raises(InputError, match="2 class names for the 5 outputs of network 'torchvision/squeezenet1_1'"):
        places.load(NAME, 64, tmp_path / "own.pth", labels=["sea", "snow"])


def test_a_torchscript_has_its_labels_beside_it(tmp_path: Path) -> None:
    path = scripted(tmp_path / "scenes.ts", 3)
    assert places.load(weights=path).labels is None
    (tmp_path / "scenes.json").write_text(json.dumps({"classes": ["sea", "snow", "sand"]}))
    network = places.load(weights=path)
    assert network.labels == ("sea", "snow", "sand")
    assert network.preprocessing.size == 224


def test_the_checksum_is_that_of_the_file(tmp_path: Path) -> None:
    path = scripted(tmp_path / "scenes.ts", 365)
    right = hashlib.sha256(path.read_bytes()).hexdigest()
    assert places.load(weights=path, sha256=right.upper()).labels == places.categories()
    with pytest.raises(InputError, match=r"scenes.ts' are not those of sha256=0123; delete the file and get it again"):
        places.load(weights=path, sha256="0123")


def test_missing_weights_say_where_they_are_and_what_to_type(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    url = "http://places2.csail.mit.edu/models_places365/resnet18_places365.pth.tar"
    with pytest.raises(InputError, match=f"get {url} and add condition.network.weights=FILE"):
        places.load("torchvision/resnet18")
    with pytest.raises(InputError, match="no weights for the places network timm/vgg11; get one from http://places2"):
        places.load("timm/vgg11")
    with pytest.raises(InputError, match=r"weights 'none.pth': no such file; give the path of a .pth"):
        places.load(weights="none.pth")


def test_a_url_is_downloaded_once_and_is_the_default_from_then_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    published(tmp_path / "public.pth.tar", 365)
    asked: list[str] = []

    def download(url: str, path: str) -> None:
        asked.append(url)
        Path(path).write_bytes((tmp_path / "public.pth.tar").read_bytes())

    monkeypatch.setattr(torch.hub, "download_url_to_file", download)
    monkeypatch.setitem(places.PUBLIC, NAME, "https://example.org/a/public.pth.tar")
    for weights in (places.PUBLIC[NAME], places.PUBLIC[NAME], "default"):
        assert places.load(NAME, 64, weights).labels == places.categories()
    assert asked == ["https://example.org/a/public.pth.tar"]
    for other in ("https://example.org/b/public.pth.tar", "https://example.org/a/public.pth.tar?v=2"):
        places.load(NAME, 64, other)  # another address of a file of the same name
        assert asked[-1] == other
    kept = next(path for path in (tmp_path / "cache").rglob("public.pth.tar"))
    kept.write_bytes(kept.read_bytes() + b"1")
    address = next(url for url in asked if places._downloaded(url) == kept)
    with pytest.raises(InputError, match=r"public.pth.tar' are not those of sha256=.*get it again"):
        places.load(NAME, 64, address)


def test_a_script_from_an_address_needs_its_digest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    path, url = scripted(tmp_path / "scenes.ts", 365), "https://example.org/scenes.ts"
    monkeypatch.setattr(torch.hub, "download_url_to_file", lambda _, to: Path(to).write_bytes(path.read_bytes()))
    with pytest.raises(InputError, match="TorchScript, which is code: add sha256=DIGEST"):
        places.load(weights=url)
    with pytest.raises(InputError, match="are not those of sha256=0123"):
        places.load(weights=url, sha256="0123")
    right = hashlib.sha256(path.read_bytes()).hexdigest()
    assert places.load(weights=url, sha256=right).labels == places.categories()


def test_a_failed_download_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError("no route to host")

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(torch.hub, "download_url_to_file", refuse)
    with pytest.raises(InputError, match=r"cannot download http://h/a.pth \(no route to host\); get it by other means"):
        places.load(weights="http://h/a.pth")


def test_the_real_torchscript_knows_a_scene(shared: Path) -> None:
    path = shared / "weights" / "places365_squeezenet.ts"
    if not path.is_file():
        pytest.skip(f"no {path}: weights for development only")
    network = places.load(weights=path)
    assert network.labels == places.categories()
    sky = torch.linspace(0.9, 0.5, 224).view(1, 1, 224, 1).expand(1, 3, 224, 224).clone().requires_grad_()
    network(sky)[:, network.labels.index("beach")].sum().backward()
    assert sky.grad is not None
    assert sky.grad.abs().sum() > 0
