"""Training a captioner: features cached, every step resumable, the best one written, refused in one line."""

from __future__ import annotations

import json
import math
from functools import partial
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from ppgn.cli import config as configs
from ppgn.cli import main
from ppgn.errors import InputError
from ppgn.networks import captioner as captioners
from tests.networks.test_captioner import tiny
from train import captioner
from train.codes import PROBES
from train.command import build
from train.data import Endless

ROOT = Path(__file__).resolve().parents[2]
COLOURS = ("red", "green", "blue")
TINY = [
    "data.names=[tiny]",
    "data.batch_size=16",
    "sizes=[16,8]",
    "network.size=32",
    "captioner.width=8",
    "minimum=2",
    "export_every=4",
    "training.lr_warmup=1",
    "training.log_every=1",
    "trainer.accelerator=cpu",
    "trainer.enable_progress_bar=false",
]
"""Overrides that make every training tiny."""


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Evenly coloured images, two sentences about each."""
    root = tmp_path_factory.mktemp("data")
    (root / "tiny").mkdir()
    rng = np.random.default_rng(0)
    for split, count in (("train", 24), ("val", 6)):
        images = rng.integers(0, 60, (count, 16, 16, 3), dtype=np.uint8)
        lines = []
        for number, image in enumerate(images):
            image[..., number % 3] += 180
            colour = COLOURS[number % 3]
            lines.append(json.dumps({"captions": [f"A {colour} picture .", f"a {colour} picture {split}{number}"]}))
        np.save(root / "tiny" / f"{split}_images.npy", images)
        (root / "tiny" / f"{split}_captions.jsonl").write_text("\n".join(lines) + "\n")
    return root


def config(root: Path, out: Path, *words: str):
    return configs.compose("train_captioner", [*TINY, f"data.root={root}", f"out={out}", *words])[0]


def train(cfg):
    return captioner.run(cfg, {})


def test_it_learns_to_name_the_colours(root, tmp_path, capsys):
    words = ["steps=150", "export_every=150", "captioner.dropout=0.0", "captioner.width=16"]
    module = train(config(root, tmp_path, *words, "training.optimizer.lr=0.02"))
    assert int(module.steps_done) == 150
    found = captioners.load(tmp_path / "captioner.safetensors")
    assert set(found.words) == {"a", "picture", *COLOURS}  # the others are too rare
    images = torch.from_numpy(np.load(root / "tiny" / "val_images.npy")).permute(0, 3, 1, 2) / 255
    for number, text in enumerate(found.captions(images)):
        assert text.split()[1] == COLOURS[number % 3]
    lines = json.loads((tmp_path / "captioner.json").read_text())["sizes"]
    assert [line["size"] for line in lines] == [16, 8]
    assert lines[0]["bleu1"] > 0.9
    assert "bleu4" in capsys.readouterr().out


class Killed(captioner.CaptionerTraining):
    """Ends as a killed process would, after its third step."""

    def on_train_batch_end(self, outputs, batch, batch_idx):
        if int(self.steps_done) == 3:
            raise RuntimeError("killed")


def test_a_resumed_run_ends_where_an_uninterrupted_one_does(root, tmp_path):
    words = ["steps=5", "save_minutes=0", f"features={tmp_path}/features.safetensors"]
    expected = train(config(root, tmp_path / "whole", *words)).state_dict()
    with pytest.raises(RuntimeError, match="killed"):
        train(config(root, tmp_path / "parts", *words, "training._target_=tests.train.test_captioner.Killed"))
    resumed = train(config(root, tmp_path / "parts", *words))
    assert int(resumed.steps_done) == 5
    for name, value in expected.items():
        assert torch.equal(value, resumed.state_dict()[name]), name
    with pytest.raises(InputError, match=r"last\.ckpt is of another model; give resume=false"):
        train(config(root, tmp_path / "parts", *words, "captioner.width=12"))


def test_features_are_cached_for_one_network_and_its_images(root, tmp_path, monkeypatch):
    cfg = config(root, tmp_path)
    data = build(cfg.data)
    images = {split: data.spread(split) for split in ("train", "val")}
    network = build(cfg.network)
    model = build(cfg.captioner, network=network, words=["a"])
    path = tmp_path / "features.safetensors"
    found = captioner.load_features(model, images, path, cfg)
    assert {split: tuple(value.shape) for split, value in found.items()} == {
        "train": (2, 24, 1280),
        "val": (2, 6, 1280),
    }
    shown = F.interpolate(images["val"].float() / 255, (8, 8), mode="bicubic", antialias=True).clamp(0, 1)
    expected = network.features((shown * 255).round() / 255, ["bn2"])["bn2"].mean((2, 3))
    assert torch.allclose(found["val"][1].float(), expected, atol=0.02)
    sizes: list[int] = []
    look = captioner.look
    monkeypatch.setattr(captioner, "look", lambda c, x, *a: sizes.append(len(x)) or look(c, x, *a))
    again = captioner.load_features(model, images, path, cfg)
    assert torch.equal(again["train"], found["train"])
    assert sizes == [PROBES] * 2
    captioner.load_features(model, {**images, "train": 255 - images["train"]}, path, cfg)
    assert sizes[2:] == [PROBES] * 2 + [24, 24, 6, 6]


def test_batches_depend_on_seed_and_number_alone():
    features = torch.arange(2 * 5.0).view(2, 5, 1)  # size · 5 + image
    tokens = [[torch.full((i + 1,), i)] for i in range(5)]
    stream = Endless(partial(captioner.pairs, features, tokens, 64), seed=3, start=7)
    seen, sentences = next(iter(stream))
    assert torch.equal(seen[:, 0] % 5, sentences[:, 0].float())
    assert set(seen[:, 0].tolist()) == set(range(10))
    assert torch.equal((sentences != captioner.PAD).sum(1), sentences[:, 0] + 1)
    again, later = (batch for batch, _ in islice(stream, 2))
    assert torch.equal(again, seen)
    assert not torch.equal(later, seen)


def test_the_loss_is_the_mean_over_known_words():
    model = tiny(dtype=torch.float32)
    features = torch.randn(2, 5)
    tokens = torch.tensor([[1, model.unknown, 2, 0], [3, 0, captioner.PAD, captioner.PAD]])
    log_p = model.logits(features, tokens.clamp_min(0)).log_softmax(2)
    terms = [log_p[0, 0, 1], log_p[0, 2, 2], log_p[0, 3, 0], log_p[1, 0, 3], log_p[1, 1, 0]]
    assert float(captioner.word_loss(model, features, tokens)) == pytest.approx(-float(sum(terms)) / 5, rel=1e-5)


def test_bleu_by_hand():
    said = ["a dog runs on grass", "two men"]
    captions = [["A dog runs on the grass .", "dogs"], ["two men stand", "two tall men"]]
    found = captioner.bleu(said, captions)
    brevity = math.exp(1 - 9 / 7)  # 7 words said; the nearest references have 6 and 3
    assert found["bleu1"] == pytest.approx(brevity)
    precisions = [7 / 7, 4 / 5, 2 / 3, 1 / 2]
    assert found["bleu4"] == pytest.approx(brevity * math.prod(precisions) ** 0.25)


def test_it_stops_when_reports_do_not_improve(root, tmp_path):
    words = ["steps=400", "export_every=1", "patience=2", "training.optimizer.lr=0.0"]
    module = train(config(root, tmp_path, *words))
    assert int(module.steps_done) == 3  # the first report is the best
    assert json.loads((tmp_path / "captioner.json").read_text())["step"] == 1


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["data.names=[nowhere]"], "no folder"),
        (["network.name=efficientnet_lite9"], "unknown network 'efficientnet_lite9'"),
        (["captioner.width=wide"], "captioner.width is a whole number"),
        (["step=3"], "unknown key 'step'; nearest: steps"),
    ],
)
def test_bad_settings_are_named(root, tmp_path, capsys, words, said):
    given = {word.split("=")[0] for word in words}
    always = [word for word in [*TINY, f"data.root={root}", f"out={tmp_path}"] if word.split("=")[0] not in given]
    assert main(["train", "captioner", *always, *words]) == 2
    last = capsys.readouterr().err.strip().splitlines()[-1]
    assert last.startswith("ppgn: ")
    assert said in last


def test_images_and_captions_must_match(root, tmp_path, capsys):
    folder = tmp_path / "odd"
    folder.mkdir()
    for file in (root / "tiny").iterdir():
        lines = file.read_bytes()
        (folder / file.name).write_bytes(lines if file.suffix == ".npy" else b"\n".join(lines.splitlines()[:-1]))
    words = [*TINY[1:], "data.names=[odd]", f"data.root={tmp_path}", f"out={tmp_path}/run"]
    assert main(["train", "captioner", *words]) == 2
    assert "23 of 24" in capsys.readouterr().err
