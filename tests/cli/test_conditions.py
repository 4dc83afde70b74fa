"""`ppgn evaluate what=places|captions|units`: what they sum up, by hand and on tiny networks."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import ppgn
from ppgn.cli import main
from ppgn.cli.evaluation.captions import Captioned, judge_captions
from ppgn.cli.evaluation.chains import Chains, compare, median
from ppgn.cli.evaluation.places import Scenes, judge_scenes
from ppgn.cli.evaluation.units import activations, judge_units, pick
from ppgn.conditions.base import Condition
from ppgn.conditions.unit import Unit
from ppgn.errors import InputError
from ppgn.media import images
from ppgn.metrics import bootstrap
from ppgn.model import PPGN
from ppgn.networks.network import Network, Preprocessing
from ppgn.samplers.annealed import Annealed
from ppgn.samplers.noise import Noise
from tests.metrics.test_captions import Brightness as Reader


class Grey(Condition):
    """log p of a grey level: −(mean − level)²."""

    def __init__(self, level: float) -> None:
        super().__init__()
        self.level = level

    def forward(self, x: Tensor) -> Tensor:
        return -(x.mean((1, 2, 3)) - self.level).square()


def grey(*levels: int, side: int = 16) -> Tensor:
    return torch.tensor(levels, dtype=torch.uint8).view(-1, 1, 1, 1).expand(-1, 3, side, side).contiguous()


@pytest.fixture
def model(tiny: Path) -> PPGN:
    return ppgn.load(tiny / "model.safetensors")


def chains(model: PPGN, **settings: object) -> Chains:
    return Chains(model, Annealed(), **{"seeds": (0, 5), "steps": 2, "batch_size": 3, **settings})  # type: ignore[arg-type]


def test_a_chain_is_that_of_its_condition_and_seed_alone(model: PPGN) -> None:
    counted: list[int] = []
    conditions = [Grey(0.1), Grey(0.9)]
    walk = chains(model, advance=lambda: counted.append(1))
    pictures, targets = walk.draw(conditions)
    assert targets.tolist() == [0, 0, 1, 1]
    for row, (condition, seed) in enumerate([(0, 0), (0, 5), (1, 2), (1, 7)]):
        alone = model.sample(conditions[condition], [seed], sampler=Annealed(), steps=2).images[0]
        assert (pictures[row].int() - alone.int()).abs().max() <= 1  # networks round alike up to the batch
    assert len(counted) == walk.total(2) == 4


def test_start_codes_are_those_of_the_chains(model: PPGN) -> None:
    pictures, _ = chains(model).start(2)
    assert torch.equal(pictures[2:3], images.to_uint8(model.decode(Noise([2, 7]).normal("init", (8,))))[:1])


def test_ascent_on_pixels_brightens_what_should_be_bright(model: PPGN) -> None:
    pictures, _ = chains(model, steps=5).on_pixels().draw([Grey(0.0), Grey(1.0)])
    means = pictures.float().mean((1, 2, 3)) / 255
    assert means[:2].max() < 0.47
    assert means[2:].min() > 0.53


def test_figures_sum_up_pictures_over_conditions() -> None:
    pictures, targets = grey(0, 51, 102), torch.tensor([0, 0, 1])
    rows = compare(
        [Grey(0.0), Grey(0.2)], {"one": lambda: (pictures, targets)}, lambda p, t: {"rank": torch.tensor([3.0, 1, 8])}
    )
    (row,) = rows
    assert row.values["log_prob"].tolist() == pytest.approx([0, -0.04, -0.04])
    assert row.figures["log_prob"].value == pytest.approx(-0.08 / 3)
    assert row.figures["log_prob"].low == pytest.approx(-0.04)
    assert row.figures["rank"].value == 3
    assert (row.figures["rank"].low, row.figures["rank"].high) == (1, 8)  # of the first condition alone, the lower one


def test_median_is_the_lower_of_two_in_the_middle() -> None:
    none = torch.empty(0, 4)
    assert median(torch.tensor([7.0, 1, 5, 3]), none).value == 3
    assert median(torch.tensor([9.0, 1, 5]), none[:, :3]).value == 5
    weights = bootstrap.draws(40)
    values = torch.arange(40.0)
    expected = [float(torch.repeat_interleave(values, row.long()).sort().values[19]) for row in weights]
    found = median(values, weights)
    assert (found.low, found.high) == tuple(np.quantile(expected, [0.025, 0.975]))


def ran(tiny: Path, *words: str) -> dict[str, Any]:
    """The rows of `ppgn evaluate` on the tiny model, two steps a chain, by name."""
    given = [f"model={tiny}/model.safetensors", "steps=2", "device=cpu", "out=out", "batch_size=4"]
    assert main(["evaluate", *given, *words]) == 0
    return cast("dict[str, Any]", json.loads(Path("out/evaluation.json").read_text())["rows"])


@pytest.fixture
def miniplaces(tmp_path: Path) -> Path:
    """Photographs of 16 px: "dark", "light" and "none", which has none."""
    (tmp_path / "classes.json").write_text(json.dumps([{"name": "dark"}, {"name": "light"}, {"name": "none"}]))
    for split, levels in (("train", [10, 200, 30, 250, 20, 220]), ("val", [0, 240, 140])):
        np.save(tmp_path / f"{split}_images.npy", grey(*levels).permute(0, 2, 3, 1).numpy())
        np.save(tmp_path / f"{split}_labels.npy", np.array([0, 1, 0, 1, 0, 1])[: len(levels)])
    np.save(tmp_path / "val_labels.npy", np.array([0, 1, 0]))
    return tmp_path


def test_scenes_are_read_in_the_order_asked(miniplaces: Path) -> None:
    scenes = Scenes.read(miniplaces, ["light", "dark"], 2, 16)
    assert scenes.names == ("light", "dark")
    assert scenes.train[0][:, 0, 0, 0].tolist() == [200, 250, 10, 30]
    assert scenes.train[1].tolist() == [0, 0, 1, 1]
    assert scenes.val[0][:, 0, 0, 0].tolist() == [240, 0, 140]
    with pytest.raises(InputError, match="no train photograph of none"):
        Scenes.read(miniplaces, ["none"], 2, 16)
    with pytest.raises(InputError, match="no labelled scenes in 'nowhere'"):
        Scenes.read(Path("nowhere"), ["dark"], 2, 16)


def test_places_by_a_probe(miniplaces: Path, model: PPGN) -> None:
    pytest.importorskip("sklearn")
    scenes = Scenes.read(miniplaces, ["dark", "light"], 3, 16)

    def features(pictures: Tensor) -> Tensor:
        return pictures.float().mean((2, 3)) / 255

    rows = {row.name: row for row in judge_scenes(chains(model), [Grey(0), Grey(1)], scenes, features)}
    assert list(rows) == ["samples", "white_noise", "photographs"]
    assert rows["photographs"].values["top1"].tolist() == [1, 0, 1]  # the middle one, 140, is nearer to the light ones
    light = rows["white_noise"].pictures.float().mean((1, 2, 3)) > 121.7
    assert rows["white_noise"].values["top1"].tolist() == (light == torch.tensor([0, 0, 1, 1])).double().tolist()


def test_places_from_the_command_line(miniplaces: Path, tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("sklearn")
    monkeypatch.chdir(miniplaces)
    Path("names.json").write_text(json.dumps(["light", "x", "dark", "y"]))
    words = ["condition=torchscript", f"condition.path={tiny}/classifier.ts", "condition.size=16"]
    rows = ran(tiny, "what=places", "data=.", "classes=[dark,light]", "n=4", "condition.labels=names.json", *words)
    assert list(rows) == ["samples", "white_noise", "photographs"]
    assert [(told["target"], told["seed"]) for told in rows["samples"]["pictures"]] == [
        ("dark", 0),
        ("dark", 1),
        ("light", 2),
        ("light", 3),
    ]
    assert Path("out/grid_samples.png").exists()


def test_captions_are_the_first_that_all_can_read(tmp_path: Path) -> None:
    np.save(tmp_path / "val_images.npy", grey(0, 50, 100, 150).permute(0, 2, 3, 1).numpy())
    lines = [["aaaa", "aa"], ["aa", "aaaaa"], ["aaaa"], ["a", "aaa"]]
    (tmp_path / "val_captions.jsonl").write_text("".join(json.dumps({"captions": row}) + "\n" for row in lines))

    class Short(Reader):
        def encode(self, sentence: str) -> Tensor:
            if len(sentence) > 3:
                raise InputError("too long")
            return super().encode(sentence)

    found = Captioned.read(tmp_path, [Reader(), Short()], 2, 2, 16)
    assert found.sentences == ("aa", "a")  # the third image has none, so the fourth is taken
    assert found.pictures[:, 0, 0, 0].tolist() == [0, 150]
    with pytest.raises(InputError, match="has 2 captions to be read, 4 are needed"):
        Captioned.read(tmp_path, [Short()], 4, 2, 16)  # the second image's is that of the first
    with pytest.raises(InputError, match="no captions in 'nowhere'"):
        Captioned.read(Path("nowhere"), [], 2, 2, 16)


def test_captions_by_ranks(model: PPGN) -> None:
    photographs = Captioned(grey(26, 77, 255), ("a", "aaa", "a" * 10), torch.tensor([0, 2]))
    rows = {r.name: r for r in judge_captions(chains(model), [Grey(0), Grey(1)], photographs, Reader())}
    assert rows["photographs"].values["rank"].tolist() == [1, 1]
    light = 10 * rows["white_noise"].pictures.double().mean((1, 2, 3)) / 255
    distances = (light[:, None] - torch.tensor([1, 3, 10])).abs()
    own = distances.gather(1, torch.tensor([[0], [0], [2], [2]]))
    assert rows["white_noise"].values["plain_rank"].tolist() == (distances <= own).sum(1).tolist()
    likelihood = torch.exp(-(torch.tensor([[26], [77], [255]]) / 25.5 - torch.tensor([1, 3, 10])).abs())
    likelier = torch.exp(-distances) / likelihood.mean(0)
    own = likelier.gather(1, torch.tensor([[0], [0], [2], [2]]))
    assert rows["white_noise"].values["rank"].tolist() == (likelier >= own).sum(1).tolist()


def test_captions_from_the_command_line(tmp_path: Path, tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    np.save("val_images.npy", grey(0, 100, 200).permute(0, 2, 3, 1).numpy())
    lines = [[f"a {noun} is in the grass"] for noun in ("dog", "man", "girl")]
    Path("val_captions.jsonl").write_text("".join(json.dumps({"captions": row}) + "\n" for row in lines))
    asked = ["what=captions", "data=.", "n=3", "count=2"]
    rows = ran(tiny, *asked, "judge=captioner")
    assert [told["target"] for told in rows["white_noise"]["pictures"]] == [lines[0][0], lines[2][0]]
    assert 1 <= rows["samples"]["rank"]["value"] <= 3
    assert main(["evaluate", *asked]) == 2


class Channels(nn.Module):
    """Two layers whose units are multiples of the mean colours."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 2, 16, bias=False)
        self.second = nn.Conv2d(2, 3, 1, bias=False)
        self.first.weight.data = torch.tensor([[1.0, 0, 0], [0, -1.0, 0]]).view(2, 3, 1, 1).expand(2, 3, 16, 16) / 256
        self.second.weight.data = torch.tensor([[1.0, 0], [0, 2.0], [1, 1]]).view(3, 2, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.second(self.first(x)).flatten(1)
        return out


def of_units(*wanted: tuple[str, int]) -> Sequence[Unit]:
    network = Network(Channels(), Preprocessing(size=16), name="small")
    return [Unit(network, layer, number) for layer, number in wanted]


def test_activations_of_units_in_several_layers() -> None:
    pictures = torch.zeros(3, 3, 16, 16, dtype=torch.uint8)
    pictures[1, 0], pictures[2, 1] = 51, 102
    found = activations(of_units(("second", 1), ("first", 0), ("second", 2)), pictures, batch_size=2)
    expected = torch.tensor([[0, 0, 0], [0, 0.2, 0.2], [-0.8, 0, -0.4]]).double()
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)


def test_units_by_the_percentiles_of_photographs(model: PPGN) -> None:
    real = grey(*range(0, 202, 2))  # activations of first 0: 0 to 200 / 255, the 99th percentile at 198
    rows = {r.name: r for r in judge_units(chains(model), of_units(("first", 0), ("first", 1)), real, grey(199, 198))}
    assert list(rows) == ["samples", "pixels", "white_noise", "photographs"]
    assert rows["photographs"].values["above"].tolist() == [1, 0]  # the second unit likes it dark
    centre, spread = 100.0, float(torch.arange(0.0, 202, 2).std())
    assert rows["photographs"].values["sd"].tolist() == pytest.approx([99 / spread, -98 / spread], rel=1e-4)
    red, green = rows["pixels"].pictures.double().mean((2, 3))[:, :2].unbind(1)
    found = rows["pixels"].values["sd"].tolist()
    expected = [*((red[:2] - centre) / spread).tolist(), *((centre - green[2:]) / spread).tolist()]
    assert found == pytest.approx(expected, rel=1e-4)


def test_units_are_picked_evenly_and_never_twice() -> None:
    picked = pick({"a": 3, "b": 100}, 5)
    assert [layer for layer, _ in picked] == ["a"] * 3 + ["b"] * 2
    assert sorted(number for layer, number in picked if layer == "a") == [0, 1, 2]
    assert picked == pick({"a": 3, "b": 100}, 5)
    with pytest.raises(InputError, match="layer 'a' has 3 units, not 4"):
        pick({"a": 3, "b": 100}, 8)


def test_units_from_the_command_line(tmp_path: Path, tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    np.save("val_images.npy", np.random.default_rng(0).integers(256, size=(9, 16, 16, 3), dtype=np.uint8))
    words = ["condition.network.size=32", "layers=[blocks.0,blocks.1]", "count=3", "n=4"]
    rows = ran(tiny, "what=units", "data=.", *words)
    assert list(rows) == ["samples", "pixels", "white_noise", "photographs"]
    layers = [told["target"].split()[0] for told in rows["samples"]["pictures"]]
    assert layers == ["blocks.0", "blocks.0", "blocks.1"]
