"""`ppgn import`: one command makes a model, another draws with it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

import ppgn
from ppgn import building
from ppgn.cli import config as configs
from ppgn.cli import main
from ppgn.errors import InputError
from ppgn.inpainting.settings import Settings
from ppgn.samplers.published import Released
from tests.interop import written
from tests.interop.conftest import WIDTHS, small
from tests.interop.test_importing import lrcn
from tests.interop.written import caffemodel

__all__ = ["small"]
pytestmark = pytest.mark.usefixtures("small")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    caffemodel(tmp_path / "generator.caffemodel", written.generator(16, 24, scale=0.01))
    caffemodel(tmp_path / "caffenet.caffemodel", written.caffenet(WIDTHS, 1000), "V1")
    caffemodel(tmp_path / "places.caffemodel", written.caffenet(WIDTHS, 205), "V0")
    return tmp_path


def run(words: str) -> int:
    return main(words.split())


def test_import_then_sample_inpaint_and_a_hidden_unit(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = "import generator=generator.caffemodel layer=fc6 encoder=caffenet.caffemodel out=released.safetensors"
    assert run(command) == 0
    said = capsys.readouterr().out
    assert said.startswith("DeePSiM from fc6, with CaffeNet as its encoder -> released.safetensors (")
    assert run("import network=places.caffemodel out=places205.safetensors") == 0
    both = "model=released.safetensors experiment=noiseless_joint_released"
    assert run(f"sample {both} target=junco seeds=0 steps=2 out=junco") == 0
    unit = "condition.network.weights=places205.safetensors condition.layer=conv5"
    assert run(f"sample {both}_unit {unit} target=3 seeds=0 steps=20 threshold=0.01 out=unit") == 0
    Image.new("RGB", (96, 64), (80, 120, 160)).save("photo.png")
    assert run(f"inpaint {both} image=photo.png target=junco seeds=0 steps=2 out=hole") == 0
    assert (folder / "junco" / "grid.png").exists()
    assert (folder / "hole" / "grid.png").exists()


def test_a_captioner_is_imported_and_asked(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "vocabulary.txt").write_text("<unk>\na\ndog\nruns\n")
    caffemodel(folder / "lrcn.caffemodel", lrcn(6, 5))
    assert run("import captioner=lrcn.caffemodel vocabulary=vocabulary.txt") == 0
    assert "LRCN of 4 words -> lrcn.safetensors" in capsys.readouterr().out
    assert run("import generator=generator.caffemodel layer=fc6 encoder=caffenet.caffemodel out=m.safetensors") == 0
    words = ["sample", "model=m.safetensors", "experiment=noiseless_joint_released_caption", "seeds=0", "steps=2"]
    assert main([*words, "condition.captioner.name=lrcn.safetensors", "target=a dog runs", "out=dog"]) == 0


PUBLISHED = {
    "": {"steps": 200, "lr": 1, "lr_end": 1, "epsilon1": 1e-5, "epsilon2": 1, "epsilon3": 1e-17, "reset_every": None},
    "_unit": {"epsilon1": 1e-7, "reset_every": 100, "lr": 1, "lr_end": 1},
    "_caption": {"steps": 200, "lr": 1, "lr_end": 1e-10, "epsilon1": 1e-3},
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_the_published_settings(name: str) -> None:
    words = [f"experiment=noiseless_joint_released{name}", "target=1"]
    _, given, settings = configs.read("sample", [*words, "model=m.safetensors"])
    sampler = building.part("sampler", given["sampler"])
    assert type(sampler) is Released
    for key, value in PUBLISHED[name].items():
        assert getattr(sampler, key) == value
    assert (sampler.clip, sampler.normalize, sampler.views, given["prior"]) == ((0.0, 30.0), "drift", 0, "joint")
    assert settings["condition"] == {"": "imagenet", "_unit": "unit", "_caption": "caption"}[name]
    assert given["model"] == "m.safetensors"
    if name != "_caption":
        assert given["condition"]["network"] == {"name": "caffenet", "weights": "m.safetensors"}
    with pytest.raises(InputError, match=f"experiment=noiseless_joint_released{name} needs model: add model=FILE"):
        configs.read("sample", words)
    if name == "_unit":
        assert (given["steps"], given["threshold"]) == (1000, 0.98)


def test_the_published_settings_of_a_hole() -> None:
    words = ["experiment=noiseless_joint_released", "model=m.safetensors", "image=photo.png", "target=1"]
    _, given, _ = configs.read("inpaint", words)
    settings = Settings.of(given["sampler"], asked=True)
    sampler: Any = settings.sampler
    assert (sampler.steps, sampler.lr, sampler.lr_end, sampler.epsilon1) == (20, 1, 1e-32, 1e-5)
    assert (settings.keep, settings.fill, given["prior"]) == (1.0, "mean", "joint")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("", "nothing to import; give generator=FILE"),
        ("generator=generator.caffemodel", "add layer=fc6, which PPGN's is, or layer=fc7"),
        ("generator=generator.caffemodel layer=pool5", "reads features of fc6 or fc7, not of layer=pool5"),
        ("generator=hdf5.caffemodel", "is a caffemodel in HDF5"),
        ("generator=cut.caffemodel", "is no whole caffemodel"),
        ("network=alexnet.caffemodel", "is BVLC's AlexNet"),
        ("network=googlenet.caffemodel", "GoogLeNet is none of ours"),
        ("generator=code.pt", "holds code beside tensors, which is not run here"),
        ("generator=places.caffemodel", "it looks like a classifier: give encoder=FILE or network=FILE"),
        ("genrator=x", "unknown key 'genrator'; nearest: generator"),
    ],
)
def test_bad_input_is_one_line(folder: Path, capsys: pytest.CaptureFixture[str], words: str, said: str) -> None:
    (folder / "hdf5.caffemodel").write_bytes(b"\x89HDF\r\n\x1a\n")
    (folder / "cut.caffemodel").write_bytes((folder / "generator.caffemodel").read_bytes()[:-100])
    caffemodel(folder / "alexnet.caffemodel", written.caffenet(WIDTHS, 1000), net="AlexNet")
    google = [(f"inception_3{i}/1x1", "Convolution", "data", [torch.zeros(4, 3, 1, 1)]) for i in "abc"]
    caffemodel(folder / "googlenet.caffemodel", google)
    torch.save(torch.nn.Linear(2, 2), folder / "code.pt")
    assert run(f"import {words}") == 2
    err = capsys.readouterr().err
    assert err.startswith("ppgn: ")
    assert said in err
    assert err.count("\n") == 1
    assert not list(folder.glob("*.safetensors"))


@pytest.mark.parametrize("condition", ["imagenet", "places", "unit"])
def test_a_condition_s_network_sees_the_authors_crop_where_that_is_asked(condition: str) -> None:
    settings = {"network.name": "torchvision/resnet18", "network.weights": None, "network.crop": True}
    settings |= {"layer": "layer1"} if condition == "unit" else {}
    words = [f"condition={condition}", *(f"condition.{k}={'null' if v is None else v}" for k, v in settings.items())]
    _, given, _ = configs.read("sample", [*words, "target=1"])
    made: Any = ppgn.condition(given["condition"], 1)
    network = made.network.body.network if condition == "unit" else made.network
    assert (network.preprocessing.size, network.preprocessing.crop) == (224, True)
