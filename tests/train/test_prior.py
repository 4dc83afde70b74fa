"""Training a prior: codes cached, every step resumable, a model that carries it, refused in one line."""

import json
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch

import ppgn.model
from ppgn import building, folders
from ppgn.cli import config as configs
from ppgn.cli import main
from ppgn.model import PPGN
from train import prior
from train.codes import PROBES
from train.command import build

ROOT = Path(__file__).resolve().parents[2]
CONFIG = {
    "generator": {"_target_": "ppgn.generators.resnet.ResNet", "code_dim": 6, "widths": [8, 4], "depths": [0, 0]},
    "encoder": {
        "_target_": "ppgn.encoders.features.FeatureEncoder",
        "network": {
            "_target_": "ppgn.networks.imagenet.load", "name": "timm/test_efficientnet", "weights": None, "size": 32,
        },
        "layers": ["blocks.1"],
        "pool": 1,
        "dim": 6,
    },
}  # fmt: skip
TINY = [
    "data.names=[tiny]",
    "data.batch_size=16",
    "val_images=8",
    "export_every=2",
    "training.ema_warmup=1",
    "training.lr_warmup=1",
    "training.log_every=1",
    "trainer.accelerator=cpu",
    "trainer.enable_progress_bar=false",
]
"""Overrides that make every training tiny."""


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    """Random images, and a model of them."""
    root = tmp_path_factory.mktemp("data")
    rng = np.random.default_rng(0)
    (root / "tiny").mkdir()
    for split in ("train", "val"):
        np.save(root / "tiny" / f"{split}_images.npy", rng.integers(0, 255, (40, 8, 8, 3), dtype=np.uint8))
    for seed in (0, 1):
        torch.manual_seed(seed)
        model = PPGN.from_config(CONFIG, {"name": "tiny"})
        model.encoder.fit([torch.rand(50, 3, 8, 8)])
        model.save(root / f"tiny{seed}.safetensors")
    return root


def config(root: Path, out: Path, *words: str):
    always = [f"data.root={root}", f"model={root}/tiny0.safetensors", f"out={out}", "name=mine"]
    return configs.compose("train_prior", [*TINY, *always, *words])[0]


def train(cfg):
    return prior.run(cfg, {"prior": "noise_conditional"})


SMALL = ["prior.width=8", "prior.depth=1"]


def test_the_model_with_its_prior_is_written_and_reported(root, tmp_path, capsys):
    module = train(config(root, tmp_path, *SMALL, "steps=3"))
    assert int(module.steps_done) == 3
    model = ppgn.model.load(tmp_path / "tiny0.safetensors")
    assert list(model.priors) == ["gaussian", "joint", "mine"]
    assert model.card == {"name": "tiny"}
    h, x = torch.randn(2, 6), torch.zeros(2, 0)
    averaged = module.average.module
    assert torch.allclose(model.priors["mine"].residual(h, x), averaged.residual(h, x), atol=5e-3)
    before = safetensors.torch.load_file(root / "tiny0.safetensors")
    after = safetensors.torch.load_file(tmp_path / "tiny0.safetensors")
    assert all(torch.equal(after[name], value) for name, value in before.items())
    levels = json.loads((tmp_path / "report.json").read_text())["levels"]
    assert [round(line["sigma"], 4) for line in levels][:: prior.LEVELS - 1] == [0.02, 10.0]
    assert "linear" in capsys.readouterr().out
    assert "loss" in module.trainer.logged_metrics


def test_a_bank_is_filled_and_travels_with_the_model(root, tmp_path):
    filled = train(config(root, tmp_path, "prior=bank", "prior.members=5", "prior.dims=4"))
    model = ppgn.model.load(tmp_path / "tiny0.safetensors")
    h = torch.randn(2, 6)
    assert len(filled.members.unique(dim=0)) > 1
    assert torch.allclose(model.priors["mine"].log_prob(h), filled.log_prob(h), atol=0.1)
    assert model.suited(prior="mine") == "anchored"


def test_a_mixture_is_fitted_and_travels_with_the_model(root, tmp_path):
    fitted = train(config(root, tmp_path, "prior=mixture", "prior.components=2", "rounds=3"))
    model = ppgn.model.load(tmp_path / "tiny0.safetensors")
    h, x = torch.randn(2, 6), torch.zeros(2, 0)
    assert not torch.allclose(fitted.means[0], fitted.means[1], atol=0.1)
    assert torch.allclose(model.priors["mine"].log_prob(h), fitted.log_prob(h), atol=0.1)
    assert torch.allclose(model.priors["mine"].at(1.5).residual(h, x), fitted.at(1.5).residual(h, x), atol=0.02)
    assert json.loads((tmp_path / "report.json").read_text())["step"] == 3


class Killed(prior.PriorTraining):
    """Ends as a killed process would, after its third step."""

    def on_train_batch_end(self, outputs, batch, batch_idx):
        if int(self.steps_done) == 3:
            raise RuntimeError("killed")


def test_a_resumed_run_ends_where_an_uninterrupted_one_does(root, tmp_path):
    words = [*SMALL, "steps=5", "save_minutes=0", f"codes={tmp_path}/codes.safetensors"]
    expected = train(config(root, tmp_path / "whole", *words)).state_dict()
    with pytest.raises(RuntimeError, match="killed"):
        train(config(root, tmp_path / "parts", *words, "training._target_=tests.train.test_prior.Killed"))
    resumed = train(config(root, tmp_path / "parts", *words))
    assert int(resumed.steps_done) == 5
    assert expected["prior.head.weight"].abs().sum() > 0
    for name, value in expected.items():
        assert torch.equal(value, resumed.state_dict()[name]), name


def test_codes_are_cached_for_one_encoder_and_its_images(root, tmp_path, monkeypatch):
    cfg = config(root, tmp_path, "images=30", "mirrored=true")
    model, other = (ppgn.model.load(root / f"tiny{seed}.safetensors") for seed in (0, 1))
    data = build(cfg.data)
    train, val = prior.load_codes(model, data, cfg)
    images = data.spread("train", 30).float() / 255
    expected = torch.cat([model.encode(images), model.encode(images.flip(-1))])
    assert torch.allclose(train.float(), expected, atol=5e-3)
    assert val.shape == (8, 6)
    sizes = []
    encode = prior.encode
    monkeypatch.setattr(prior, "encode", lambda m, x, *a, **k: sizes.append(len(x)) or encode(m, x, *a, **k))
    assert torch.equal(prior.load_codes(model, data, cfg)[0], train)
    assert sizes == [PROBES]
    assert not torch.allclose(prior.load_codes(other, data, cfg)[0].float(), expected, atol=0.1)
    assert sizes[1:] == [PROBES, 30, 30, 8]
    cfg.mirrored = False
    assert len(prior.load_codes(other, data, cfg)[0]) == 30


def test_pixels_are_codes_where_there_is_no_model(root, tmp_path):
    words = ["prior=image_dae", "prior.widths=[4,4]", "model=null", "size=8", "steps=2"]
    train(config(root, tmp_path, *words))
    model = ppgn.model.load(tmp_path / "pixels.safetensors")
    assert list(model.priors) == ["gaussian", "mine"]
    assert model.priors["mine"].code_shape == (3, 8, 8)
    assert (model.generator.mean, model.generator.scale) == (0, 1)  # what this denoiser reads
    assert not (tmp_path / "codes.safetensors").exists()


@pytest.mark.parametrize(
    "words",
    [
        ["prior=stationary"],
        ["prior=mixture", "prior.components=2"],
        ["prior=unet", "prior.widths=[8,8]", "steps=2"],
        ["prior=image_unet", "prior.widths=[8,8]", "steps=2"],
    ],
    ids=lambda words: words[0],
)
def test_priors_of_spatial_codes(root, tmp_path, words):
    trained = train(config(root, tmp_path, *words, "model=null", "size=8"))
    own = trained.average.module if hasattr(trained, "average") else trained
    model, h, x = ppgn.model.load(tmp_path / "pixels.safetensors"), torch.rand(2, 3, 8, 8), torch.zeros(2, 0)
    found, expected = (one.at(0.3).residual(h, x) for one in (model.priors["mine"], own))
    assert found.abs().max() > 0.01
    torch.testing.assert_close(found, expected, rtol=0, atol=0.02)


def test_pixels_are_white_for_all_but_the_denoiser_of_images(root, tmp_path):
    train(config(root, tmp_path, "prior=stationary", "model=null", "size=8"))
    pixels = ppgn.model.load(tmp_path / "pixels.safetensors").generator
    images = torch.randint(256, (5, 3, 8, 8), dtype=torch.uint8)
    codes = prior.scaled(images, pixels)
    assert (pixels.mean, pixels.scale) == (0.45, 0.27)
    torch.testing.assert_close(pixels(codes), images / 255)
    assert torch.equal(prior.scaled(images), images / 255)


@pytest.mark.parametrize("option", ["dae", "energy"])
def test_every_prior_of_codes_is_trained_alike(root, tmp_path, option):
    sizes = {"dae": ["prior.widths=[8]"], "energy": SMALL}[option]
    cfg = config(root, tmp_path, f"prior={option}", *sizes, "steps=2")
    module = train(cfg)
    assert any(parameter.abs().sum() > 0 for parameter in module.prior.state_dict().values())
    assert len(json.loads((tmp_path / "report.json").read_text())["levels"]) == 1


def test_an_untrained_prior_is_as_good_as_the_linear_one_on_gaussian_codes():
    torch.manual_seed(0)
    codes = torch.randn(4000, 6)
    untrained = building.build(
        {"_target_": "ppgn.priors.noise_conditional.NoiseConditional", "code_shape": [6], "width": 8, "depth": 1,
         "sigmas": [0.1, 3.0], "sigma": 0.5}
    )  # fmt: skip
    lines = prior.report(untrained, codes, prior.spectrum(codes))
    assert len(lines) == prior.LEVELS
    for line in lines:
        assert line["linear"] == pytest.approx(line["sigma"] ** 2 / (1 + line["sigma"] ** 2), rel=0.03)
        assert line["loss"] == pytest.approx(line["linear"], rel=0.05)


def test_the_spectrum_holds_the_variances_of_independent_directions():
    torch.manual_seed(0)
    turned = torch.linalg.qr(torch.randn(3, 3))[0]
    codes = torch.randn(20000, 3) * torch.tensor([0.5, 1.0, 2.0]) @ turned
    torch.testing.assert_close(prior.spectrum(codes), torch.tensor([0.25, 1.0, 4.0]).double(), rtol=0.05, atol=0)
    flat = torch.randn(5000, 3, 1, 1).expand(-1, -1, 4, 4)  # all variance in one component a channel
    found = prior.spectrum(flat).view(3, 16)
    torch.testing.assert_close(found[:, 0], torch.full((3,), 16.0).double(), rtol=0.1, atol=0)
    assert found[:, 1:].max() < 1e-6


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["data.names=[nowhere]"], "no folder"),
        (["prior=dea"], "unknown prior 'dea'; nearest: dae"),
        (["name=joint"], "a prior cannot be named 'joint'"),
        (["model=natural65"], "unknown model 'natural65'; nearest: natural64"),
        (["prior=image_dae"], "codes of shape (6,); expected images (3, H, W)"),
        (["prior.sigmas=[1.0,0.1]"], "noise levels [1.0, 0.1]"),
        (["prior.width=wide"], "prior.width is a whole number"),
        (["prior._target_=ppgn.priors.gaussian.Gaussian"], "cannot build 'ppgn.priors.gaussian.Gaussian'"),
        (["prior=image_dae", "model=null"], "data: images are (3, 8, 8), the model's codes (3, 64, 64); set size=8"),
        (["val_images=0"], "val_images=0 cannot be used"),
        (["step=3"], "unknown key 'step'; nearest: steps"),
    ],
)
def test_bad_settings_are_named(root, tmp_path, capsys, words, said):
    always = [*TINY, f"data.root={root}", f"model={root}/tiny0.safetensors", f"out={tmp_path}", "steps=1"]
    given = {word.split("=")[0] for word in words}
    assert main(["train", "prior", *(word for word in always if word.split("=")[0] not in given), *words]) == 2
    last = capsys.readouterr().err.strip().splitlines()[-1]
    assert last.startswith("ppgn: ")
    assert said in last


def test_the_state_of_another_prior_is_refused(root, tmp_path, capsys):
    words = [*TINY, f"data.root={root}", f"model={root}/tiny0.safetensors", f"out={tmp_path}", "steps=1"]
    assert main(["train", "prior", *words, *SMALL]) == 0
    assert list(ppgn.model.load(tmp_path / "tiny0.safetensors").priors)[-1] == "noise_conditional"
    assert main(["train", "prior", *words, "prior.width=12", "prior.depth=1"]) == 2
    assert "last.ckpt is of another model; give resume=false" in capsys.readouterr().err


def test_the_loss_is_a_share_of_what_the_best_linear_denoiser_leaves_at_every_level():
    """An untrained prior is that denoiser, so that its loss is 1 wherever the noise levels lie."""
    torch.manual_seed(0)
    codes = torch.randn(4000, 6)
    for low, high in ((0.1, 0.2), (0.1, 3.0), (2.0, 3.0)):
        untrained = building.build(
            {
                "_target_": "ppgn.priors.noise_conditional.NoiseConditional",
                "code_shape": [6], "width": 8, "depth": 1, "sigmas": [low, high], "sigma": low,
            }
        )  # fmt: skip
        module = prior.PriorTraining(
            untrained, 1.0, 5, optimizer=torch.optim.SGD, lr_warmup=1, ema=0.9, ema_warmup=1, seed=0, log_every=1
        )
        module.log = lambda *_, **__: None
        assert float(module.training_step(codes, 0)) == pytest.approx(1.0, rel=0.05)


def test_the_average_is_a_copy_until_its_warmup_is_over(root, tmp_path):
    def differs(steps: int) -> bool:
        words = [*SMALL, "training.ema_warmup=2", "training.ema=0.9", f"steps={steps}"]
        module = train(config(root, tmp_path / f"run{steps}", *words))
        averaged = module.average.module.state_dict()
        return any(not torch.equal(value, averaged[k]) for k, value in module.prior.state_dict().items())

    assert [differs(steps) for steps in (1, 2, 4)] == [False, False, True]


def test_a_finished_training_is_replaced_if_one_says_so(root, tmp_path, capsys):
    words = [*TINY, f"data.root={root}", f"model={root}/tiny0.safetensors", f"out={tmp_path}", "steps=1", *SMALL]
    assert main(["train", "prior", *words]) == 0
    with folders.locked(tmp_path):
        assert main(["train", "prior", *words]) == 2
    assert "another run" in capsys.readouterr().err
    assert main(["train", "prior", *words, "resume=false"]) == 2
    assert "resume=true to go on with it, overwrite=true" in capsys.readouterr().err
    before = (tmp_path / "last.ckpt").read_bytes()
    assert main(["train", "prior", *words, "resume=false", "overwrite=true", "seed=3"]) == 0
    assert before != (tmp_path / "last.ckpt").read_bytes()
    mixture = [word for word in words if word not in SMALL] + ["prior=mixture", "prior.components=2"]
    assert main(["train", "prior", *mixture, "resume=false"]) == 2


def test_a_damaged_state_is_refused_by_name(root, tmp_path, capsys):
    words = [*TINY, f"data.root={root}", f"model={root}/tiny0.safetensors", f"out={tmp_path}", "steps=1", *SMALL]
    assert main(["train", "prior", *words]) == 0
    expected = torch.load(tmp_path / "last.ckpt", weights_only=True)["state_dict"]
    data, random = (tmp_path / "last.ckpt").read_bytes(), np.random.default_rng(0)
    flips = [int(at) for at in random.integers(len(data), size=12)]
    damaged = [data[:at] + bytes([data[at] ^ 4]) + data[at + 1 :] for at in flips] + [data[: flips[0]], b"", b"PK\3\4"]
    for wrong in damaged:
        (tmp_path / "last.ckpt").write_bytes(wrong)
        capsys.readouterr()
        status = main(["train", "prior", *words])
        said = capsys.readouterr().err
        assert status in (0, 2)
        assert status == 0 or ("last.ckpt" in said and said.count("\n") == 1)
        if status == 0:  # what was changed is of no account, as between the parts of the archive
            found = torch.load(tmp_path / "last.ckpt", weights_only=True)["state_dict"]
            assert all(torch.equal(value, expected[name]) for name, value in found.items())
    assert main(["train", "prior", *words, "resume=false", "overwrite=true"]) == 0
