"""`ppgn sample` end to end on tiny networks: what it writes, and that interruptions and resumption lose nothing."""

from __future__ import annotations

import itertools
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf
from PIL import Image
from safetensors.torch import load_file
from torch import nn

import ppgn
from ppgn.cli import config as configs
from ppgn.cli import main
from ppgn.cli.calls import folder
from ppgn.conditions.classifier import Classifier
from ppgn.contracts import State
from ppgn.drawn import caption
from ppgn.media import images
from ppgn.model import PPGN
from ppgn.networks.network import Network, Preprocessing
from ppgn.samplers.annealed import Annealed
from ppgn.samplers.langevin import Langevin

Run = Callable[..., int]


def report(folder: str) -> Any:
    return json.loads((Path(folder) / "report.json").read_text())


def test_writes_grid_samples_report_and_config(sample: Run, tiny: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert sample("target=2", "scale=1") == 0
    out = Path("outputs/torchscript-2")
    names = ["config.yaml", "grid.png", "images", "report.json", "samples.safetensors"]
    assert sorted(p.name for p in out.iterdir()) == names
    assert sorted(p.name for p in (out / "images").iterdir()) == [f"seed-000{seed}.png" for seed in range(4)]

    saved = load_file(out / "samples.safetensors")
    assert saved["images"].shape == (4, 3, 16, 16)
    assert saved["images"].dtype == torch.uint8
    assert saved["codes"].shape == (4, 8)
    assert saved["seeds"].tolist() == [0, 1, 2, 3]
    assert torch.isfinite(saved["log_prob"]).all()

    grid = np.array(Image.open(out / "grid.png"))
    assert torch.equal(torch.from_numpy(grid[2:18, 2:18]).permute(2, 0, 1), saved["images"][0])
    assert torch.equal(images.to_uint8(images.read(out / "images" / "seed-0003.png")), saved["images"][3])

    said = report("outputs/torchscript-2")
    assert said["condition"] == "torchscript"
    assert said["command"].startswith("ppgn sample model=")
    assert said["command"].endswith(" target=2 scale=1")
    assert said["judge"] is None
    assert (said["target"], said["steps"], said["seeds"], said["failed"]) == (2, 6, [0, 1, 2, 3], [])
    assert said["chain_steps_per_second"] == pytest.approx(4 * 6 / said["seconds"], rel=0.01)
    assert said["mean_prob"] == pytest.approx(sum(row["prob"] for row in said["samples"]) / 4)
    assert set(said["versions"]) == {"ppgn", "torch", "python"}
    row = said["samples"][3]
    assert (row["seed"], row["target"], row["step"]) == (3, 2, 6)
    assert row["prob"] == pytest.approx(np.exp(row["log_prob"]))
    assert dict(row["top5"])["2"] == pytest.approx(row["prob"])

    config = OmegaConf.load(out / "config.yaml")
    assert (config.sampler.steps, config.condition.path, config.target) == (6, f"{tiny}/classifier.ts", 2)

    captured = capsys.readouterr()
    assert captured.out.startswith("4 samples in ")
    assert f"mean p(2) {said['mean_prob']:.2f} -> outputs/torchscript-2" in captured.out
    assert "2 seen: " in captured.err
    assert "4/4 samples" in captured.err


def test_a_run_is_repeated_by_its_configuration(sample: Run, capsys: pytest.CaptureFixture[str]) -> None:
    assert sample("target=[1,3]", "out=o", "sampler=ppgn", "sampler.epsilon2=2", "thin=3", "labels=true") == 0
    assert main(["sample", "config=o/config.yaml"]) == 0
    first, again = (load_file(f"{out}/samples.safetensors") for out in ("o", "o-again"))
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert Path("o/grid.png").read_bytes() == Path("o-again/grid.png").read_bytes()
    assert main(["sample", "config=o", "seeds=3-4", "out=p", "sampler.epsilon2=1"]) == 0
    assert OmegaConf.load("p/config.yaml").sampler.epsilon2 == 1
    assert report("p")["seeds"] == [3, 4]
    assert main(["sample", "config=o/config.yaml", "out=q", "sampler=annealed"]) == 0
    assert report("q")["sampler"] == "annealed"
    capsys.readouterr()
    Path("strange.yaml").write_text("[1, 2]")
    Path("other.yaml").write_text("image: photo.jpg")
    for file, said in (("none.yaml", "none.yaml"), ("strange.yaml", "list"), ("other.yaml", "image")):
        assert main(["sample", f"config={file}"]) == 2
        assert said in capsys.readouterr().err


def test_is_what_the_python_interface_samples(sample: Run, tiny: Path) -> None:
    assert sample("target=1", "seeds=5", "out=o") == 0
    model = ppgn.load(tiny / "model.safetensors").double()
    condition = Classifier.from_torchscript(tiny / "classifier.ts", 1, size=16).double()
    drawn = model.sample(condition, [5], sampler=Annealed(), steps=6, dtype=torch.float64)
    assert torch.equal(load_file("o/samples.safetensors")["codes"], drawn.codes)


def test_a_seed_gives_the_same_sample_in_any_batch(sample: Run) -> None:
    assert sample("target=1", "out=one", "seeds=3") == 0
    assert sample("target=1", "out=many", "seeds=[7,3,5]", "batch_size=3") == 0
    one, many = (load_file(f"{out}/samples.safetensors") for out in ("one", "many"))
    assert many["seeds"].tolist() == [7, 3, 5]
    assert torch.allclose(many["codes"][1], one["codes"][0], rtol=0, atol=1e-10)


def test_compiled_networks_draw_the_same_and_the_report_says_so(
    sample: Run, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("CXX", sys.executable)  # not asked: what is compiled here is run by PyTorch
    compiled = nn.Module.compile
    monkeypatch.setattr(nn.Module, "compile", lambda self: compiled(self, backend="aot_eager"))
    assert sample("target=[1,2]", "seeds=0-2", "steps=2", "out=plain") == 0
    assert sample("target=[1,2]", "seeds=0-2", "steps=2", "out=compiled", "compile=true") == 0
    plain, fast = (load_file(f"{out}/samples.safetensors") for out in ("plain", "compiled"))
    assert torch.allclose(fast["codes"], plain["codes"], rtol=0, atol=1e-8)
    assert (report("plain")["compile"], report("compiled")["compile"]) == (False, True)
    assert sample("target=[1,2]", "seeds=0-3", "steps=2", "out=compiled", "resume=true") == 2
    assert "compile was true, now it is false" in capsys.readouterr().err


def test_a_chain_through_targets_has_a_row_per_seed_and_a_column_per_target(sample: Run) -> None:
    assert sample("target=[0,3,1]", "seeds=0-1", "scale=1") == 0
    said = report("outputs/torchscript-0-3-1")
    assert said["target"] == [0, 3, 1]
    assert [row["target"] for row in said["samples"]] == [0, 3, 1] * 2
    assert [row["step"] for row in said["samples"]] == [6, 12, 18] * 2
    assert all(dict(row["top5"])[str(row["target"])] == pytest.approx(row["prob"]) for row in said["samples"])
    assert Image.open("outputs/torchscript-0-3-1/grid.png").size == (3 * 18 + 2, 2 * 18 + 2)
    names = [f"seed-000{seed}-{place}.png" for seed in range(2) for place in range(3)]
    assert sorted(path.name for path in Path("outputs/torchscript-0-3-1/images").iterdir()) == names


def test_a_chain_through_targets_loads_its_network_once(sample: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    load = Mock(side_effect=torch.jit.load)
    monkeypatch.setattr(torch.jit, "load", load)
    assert sample("target=[0,3,1]", "seeds=0") == 0
    assert load.call_count == 1


def test_thinning_keeps_more_states_of_a_chain(sample: Run) -> None:
    assert sample("target=0", "burn_in=2", "thin=2", "seeds=0-1", "out=o") == 0
    saved = load_file("o/samples.safetensors")
    assert saved["steps"].tolist() == [4, 6, 4, 6]
    assert saved["seeds"].tolist() == [0, 0, 1, 1]


def test_starts_from_a_photo(sample: Run, tiny: Path) -> None:
    images.write("photo.png", torch.rand(3, 40, 60))
    still = ("sampler=ppgn", "sampler.epsilon1=0", "sampler.epsilon2=0", "sampler.epsilon3=0", "steps=1")
    assert sample("target=0", "init=photo.png", "out=o", *still) == 0
    photo = images.fit(images.read("photo.png"), (16, 16)).double()
    code = ppgn.load(tiny / "model.safetensors").double().encode(photo[None])
    assert torch.allclose(load_file("o/samples.safetensors")["codes"], code.expand(4, 8), rtol=0, atol=1e-12)


@pytest.fixture
def combined(tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """`ppgn sample` with the tiny networks, as a function of an expression and further words."""
    monkeypatch.chdir(tmp_path)
    words = [f"model={tiny}/model.safetensors", "steps=6", "seeds=0-1", "device=cpu", "precision=float64", "out=o"]
    words += [f"condition.torchscript.path={tiny}/classifier.ts", "condition.torchscript.size=16"]
    return lambda text, *more: main(["sample", f"condition={text}", *words, *more])


def test_conditions_are_combined_in_words(combined: Run, tiny: Path) -> None:
    text = "(torchscript:1 | torchscript:3) & 0.5*~torchscript:0"
    assert combined(text) == 0
    model = ppgn.load(tiny / "model.safetensors").double()
    first = Classifier.from_torchscript(tiny / "classifier.ts", 1, size=16).double()
    condition = (first | first.with_target(3)) & 0.5 * ~first.with_target(0)
    drawn = model.sample(condition, [0, 1], sampler=Annealed(), steps=6, dtype=torch.float64)
    assert torch.equal(load_file("o/samples.safetensors")["codes"], drawn.codes)
    assert (report("o")["condition"], report("o")["target"]) == (text, text)


def test_an_expression_with_an_open_condition_walks_through_targets(combined: Run) -> None:
    assert combined("torchscript & ~torchscript:0", "target=[1,2]") == 0
    rows = report("o")["samples"]
    assert [row["target"] for row in rows] == [1, 2] * 2
    for row in rows:
        asked = row["terms"][0]
        assert asked["prob"] == pytest.approx(dict(asked["top5"])[str(row["target"])])


def test_an_expression_s_members_are_named_in_errors(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["condition=imagenet:castle & places:beach", "condition.imagenet.network.size=32"]
    assert main(["sample", *words, "condition.places.network.name=timm/vgg11"]) == 2
    assert "add condition.places.network.weights=FILE" in capsys.readouterr().err


def test_strength_walks_the_last_share_of_the_steps(sample: Run, tiny: Path) -> None:
    images.write("photo.png", torch.rand(3, 16, 16, generator=torch.Generator().manual_seed(0)))
    assert sample("target=1", "init=photo.png", "strength=0.5", "sampler=ppgn", "seeds=0", "out=o") == 0
    model = ppgn.load(tiny / "model.safetensors").double()
    condition = Classifier.from_torchscript(tiny / "classifier.ts", 1, size=16).double()
    start = model.encode(images.read("photo.png").double()[None])
    sampler = Langevin(lr=0.55)  # half the way from 1 to 0.1
    drawn = model.sample(condition, [0], sampler=sampler, steps=3, init=start, dtype=torch.float64)
    assert torch.allclose(load_file("o/samples.safetensors")["codes"], drawn.codes, rtol=0, atol=1e-12)
    assert report("o")["steps"] == 3
    assert sample("target=1", "init=photo.png", "steps=10", "seeds=0", "out=default") == 0
    assert report("default")["steps"] == 6


def test_strength_of_an_annealed_sampler_walks_the_last_part_of_its_levels(sample: Run) -> None:
    images.write("photo.png", torch.rand(3, 16, 16))
    words = ("sampler=annealed", "sampler.sigma_max=16", "sampler.sigma_min=1", "init=photo.png", "strength=0.25")
    assert sample("target=1", "seeds=0", "steps=40", "out=o", *words) == 0
    walked = OmegaConf.load("o/config.yaml").sampler
    assert (walked.steps, walked.share) == (10, 0.25)


def test_a_threshold_keeps_what_exceeds_it(sample: Run, capsys: pytest.CaptureFixture[str]) -> None:
    assert sample("target=1", "thin=2", "out=all") == 0
    rows = report("all")["samples"]
    threshold = sorted(row["prob"] for row in rows)[5] + 1e-9
    expected = [row for row in rows if row["prob"] > threshold]
    assert sample("target=1", "thin=2", "out=o", f"threshold={threshold}") == 0
    assert report("o")["samples"] == expected
    assert report("o")["seeds"] == [0, 1, 2, 3]
    assert load_file("o/samples.safetensors")["seeds"].tolist() == [row["seed"] for row in expected]
    assert sample("target=1", "thin=2", "out=o", f"threshold={threshold}", "seeds=0-4", "resume=true") == 0
    assert report("o")["samples"][: len(expected)] == expected
    assert report("o")["seeds"] == [0, 1, 2, 3, 4]
    assert sample("target=1", "thin=2", "out=o", "threshold=1", "overwrite=true") == 0
    assert capsys.readouterr().out.splitlines()[-1].startswith("0 samples with p > 1 in ")
    assert load_file("o/samples.safetensors")["images"].shape == (0, 3, 16, 16)
    assert not Path("o/grid.png").exists()


def test_labels_say_probability_and_class() -> None:
    body = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 2))
    first = Classifier(Network(body, Preprocessing(), name="n", labels=["cat, feline", "dog"]), 0)
    condition = first & 0.5 * ~first.with_target("dog")
    dog = {"log_prob": -0.7, "prob": 0.5}
    row = {"terms": [{"prob": 0.25, "log_prob": -1.4}, {"terms": [{"terms": [dog]}]}], "log_prob": -1.0}
    assert caption(condition, row) == "0.25 cat\n0.50 dog"
    assert caption(first, {"log_prob": None, "target": 1}) == "cat"
    assert caption(torch.nn.Identity(), {"log_prob": 0.0, "target": "a, b"}) == "1.00 a"


def test_labels_and_an_animation_of_all_seeds(sample: Run) -> None:
    assert sample("target=2", "out=plain") == 0
    assert sample("target=2", "out=o", "labels=true", "animate=chain.webp", "animate_every=4") == 0
    plain, labelled = (Image.open(f"{out}/grid.png") for out in ("plain", "o"))
    assert plain.width == labelled.width
    assert plain.height < labelled.height
    with Image.open("o/chain.webp") as animation:
        assert (animation.n_frames, animation.size) == (2, labelled.size)  # after steps 4 and 6
        animation.seek(1)
        difference = np.abs(np.asarray(animation.convert("RGB"), float) - np.asarray(labelled, float))
    assert difference.mean() < 16


@pytest.mark.parametrize("words", [("sampler=released",), ("prior=gaussian",), ("precision=bfloat16",)])
def test_other_samplers_priors_and_precisions(sample: Run, words: tuple[str, ...]) -> None:
    assert sample("target=0", "seeds=0", "out=o", *words) == 0
    assert report("o")[words[0].split("=")[0]] == words[0].split("=")[1]


class Interrupted:
    """Stands in for Ctrl-C in batch number `batch` after `step` steps."""

    def __init__(self, batch: int, step: int) -> None:
        self.left = batch * 6 + step

    def __call__(self, original: Any) -> Any:
        def step(kernel: Any, *given: Any) -> Any:
            self.left -= 1
            if self.left < 0:
                raise KeyboardInterrupt
            return original(kernel, *given)

        return step


def interrupt(monkeypatch: pytest.MonkeyPatch, batch: int, step: int) -> None:
    monkeypatch.setattr(Annealed, "step", Interrupted(batch, step)(Annealed.step))


def test_an_interruption_keeps_finished_batches_and_resumes(
    sample: Run, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert sample("target=1", "out=whole") == 0
    with monkeypatch.context() as patch:
        interrupt(patch, batch=1, step=2)
        assert sample("target=1", "out=part") == 130
    assert "2 of 4 seeds are finished in 'part'; resume=true goes on" in capsys.readouterr().err
    assert report("part")["seeds"] == [0, 1]

    with monkeypatch.context() as patch:
        interrupt(patch, batch=1, step=0)  # one batch is left to do, so this never strikes
        assert sample("target=1", "out=part", "resume=true") == 0
    whole, part = (load_file(f"{out}/samples.safetensors") for out in ("whole", "part"))
    assert whole.keys() == part.keys()
    assert all(torch.equal(whole[name], part[name]) for name in whole)
    assert report("part")["samples"] == report("whole")["samples"]


def test_resume_goes_on_inside_a_batch(sample: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    long = ("target=1", "seeds=0-1", "steps=60")
    assert sample(*long, "out=whole") == 0
    with monkeypatch.context() as patch:
        interrupt(patch, batch=0, step=55)
        assert sample(*long, "out=part") == 130
    assert [path.name for path in Path("part").iterdir()] == ["chains-0.safetensors"]
    with monkeypatch.context() as patch:
        interrupt(patch, batch=0, step=10)  # the state of step 50 was saved, so ten are left
        assert sample(*long, "out=part", "resume=true") == 0
    whole, part = (load_file(f"{out}/samples.safetensors") for out in ("whole", "part"))
    assert all(torch.equal(whole[name], part[name]) for name in whole)
    assert not Path("part/chains-0.safetensors").exists()


@pytest.mark.parametrize(
    ("changed", "walked"),
    [
        (("batch_size=1",), [0, 1, 2, 3]),
        (("batch_size=4",), [0, 1, 2, 3]),
        (("seeds=0-4",), [0, 1, 2, 3, 4]),
        (("seeds=[4,3,1,0]",), [4, 3, 1, 0]),
    ],
)
def test_resume_goes_on_inside_a_batch_whatever_is_asked_for_besides(
    sample: Run, changed: tuple[str, ...], walked: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    long = ("target=1", "steps=60", "out=part")
    with monkeypatch.context() as patch:
        interrupt(patch, batch=0, step=55)
        assert sample(*long) == 130
    unfinished = load_file("part/chains-0.safetensors")["code"]
    starts: list[torch.Tensor] = []
    step = Annealed.step

    def watch(kernel: Annealed, state: State, *given: Any) -> Any:
        starts.append(state.code)
        return step(kernel, state, *given)

    with monkeypatch.context() as patch:
        patch.setattr(Annealed, "step", watch)
        assert sample(*long, *changed, "resume=true") == 0
    assert torch.equal(starts[0], unfinished)
    assert sum(len(code) for code in starts) == 2 * 10 + 60 * (len(walked) - 2)
    assert report("part")["seeds"] == walked
    assert not Path("part/chains-0.safetensors").exists()


@pytest.mark.parametrize("seeds", [[0], [3, 1, 2]])
def test_resume_drops_an_unfinished_batch_that_is_no_longer_wanted_whole(
    sample: Run, seeds: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    long, wanted = ("target=1", "steps=60"), f"seeds={seeds}".replace(" ", "")
    assert sample(*long, wanted, "out=whole") == 0
    with monkeypatch.context() as patch:
        interrupt(patch, batch=0, step=55)
        assert sample(*long, "out=part") == 130
    assert sample(*long, wanted, "out=part", "resume=true") == 0
    whole, part = (load_file(f"{out}/samples.safetensors") for out in ("whole", "part"))
    assert all(torch.equal(whole[name], part[name]) for name in whole)
    assert not Path("part/chains-0.safetensors").exists()


def test_speed_counts_the_steps_that_were_walked_in_the_seconds(sample: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = itertools.count()  # every look at it is a second later: a batch takes one
    monkeypatch.setattr(time, "perf_counter", lambda: float(next(clock)))
    long = ("target=1", "steps=60", "out=o")
    with monkeypatch.context() as patch:
        interrupt(patch, batch=0, step=55)
        assert sample(*long, "seeds=0-1") == 130
    assert sample(*long, "seeds=0-1", "resume=true") == 0
    assert (report("o")["seconds"], report("o")["chain_steps_per_second"]) == (1, 2 * 10)
    assert sample(*long, "seeds=0-2", "resume=true") == 0
    assert (report("o")["seconds"], report("o")["chain_steps_per_second"]) == (2, (2 * 10 + 60) / 2)


def test_resume_adds_seeds_to_a_finished_run(sample: Run) -> None:
    assert sample("target=1", "out=o", "seeds=0-1") == 0
    before = load_file("o/samples.safetensors")["codes"]
    assert sample("target=1", "out=o", "seeds=0-2", "resume=true") == 0
    after = load_file("o/samples.safetensors")
    assert after["seeds"].tolist() == [0, 1, 2]
    assert torch.equal(after["codes"][:2], before)
    assert len(report("o")["samples"]) == 3


@pytest.mark.parametrize("finished", [True, False])
def test_resume_refuses_other_settings(
    sample: Run, finished: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with monkeypatch.context() as patch:
        interrupt(patch, batch=0 if not finished else 9, step=55)
        sample("target=1", "out=o", "seeds=0-1", "steps=60")
    assert Path("o/samples.safetensors").exists() is finished
    capsys.readouterr()
    assert sample("target=3", "out=o", "seeds=0-1", "steps=60", "resume=true") == 2
    line = "ppgn: cannot resume the run in 'o': target was 1, now it is 3; choose another out=FOLDER\n"
    assert capsys.readouterr().err == line


def test_too_little_memory_halves_the_batch_and_loses_nothing(
    sample: Run, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    seeds = ("target=1", "seeds=0-8")
    assert sample(*seeds, "batch_size=1", "out=one") == 0
    sizes: list[int] = []
    step = Annealed.step

    def narrow(kernel: Annealed, state: State, target: Any, noise: Any, i: int, steps: int) -> Any:
        if i == 0:
            sizes.append(len(state.code))
        if len(state.code) > 2 and (i > 3 or len(state.code) > 4):  # some run out of it on the way
            raise torch.OutOfMemoryError("CUDA out of memory")
        return step(kernel, state, target, noise, i, steps)

    monkeypatch.setattr(Annealed, "step", narrow)
    assert sample(*seeds, "batch_size=auto", "out=o") == 0
    assert sizes == [8, 4, 2, 2, 2, 2, 1]
    one, halved = (load_file(f"{out}/samples.safetensors") for out in ("one", "o"))
    assert one["seeds"].tolist() == halved["seeds"].tolist()
    assert torch.allclose(one["codes"], halved["codes"], rtol=0, atol=1e-10)
    err = capsys.readouterr().err
    assert "ppgn: cpu has too little memory for 8 chains at a time; going on with 4\n" in err
    assert "9/9 samples" in err


def test_a_new_run_replaces_an_old_one_if_it_may(sample: Run, capsys: pytest.CaptureFixture[str]) -> None:
    assert sample("target=1", "out=o", "seeds=0-3") == 0
    words = ("target=2", "out=o", "seeds=8")
    assert sample(*words) == 2
    assert "overwrite=true" in capsys.readouterr().err
    assert report("o")["target"] == 1
    assert sample(*words, "overwrite=true") == 0
    assert load_file("o/samples.safetensors")["seeds"].tolist() == [8]
    assert report("o")["target"] == 2


def test_a_full_disk_is_one_line_and_leaves_the_finished_batches(
    sample: Run, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    written = Path.write_bytes

    def full(path: Path, data: bytes) -> int:
        if "samples" in path.name and (path.parent / "samples.safetensors").exists():
            written(path, data[:10])
            raise OSError(28, "No space left on device")
        return written(path, data)

    monkeypatch.setattr(Path, "write_bytes", full)
    assert sample("target=1", "out=o") == 2
    last = capsys.readouterr().err.splitlines()[-1]
    assert (
        last == "ppgn: cannot write 'o/samples.safetensors': No space left on device; make room or choose another place"
    )
    assert load_file("o/samples.safetensors")["seeds"].tolist() == [0, 1]
    assert not list(Path("o").glob(".*"))


def test_a_chain_that_breaks_is_reported_and_harms_no_other(
    sample: Run, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    encode = PPGN.encode

    def broken(model: PPGN, photo: torch.Tensor) -> torch.Tensor:
        codes = encode(model, photo).repeat(4, 1)
        codes[2] = float("nan")
        return codes

    images.write("photo.png", torch.rand(3, 16, 16))
    monkeypatch.setattr(PPGN, "encode", broken)
    assert sample("target=0", "init=photo.png", "out=o", "batch_size=4") == 0
    assert report("o")["failed"] == [2]
    assert "1 failed: seeds [2]" in capsys.readouterr().out
    assert torch.isfinite(load_file("o/samples.safetensors")["codes"][[0, 1, 3]]).all()


def test_a_run_in_which_every_seed_fails_is_written_and_ends_with_status_1(
    sample: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    diverging = ("sampler=ppgn", "sampler.lr=1e300", "sampler.normalize=none", "sampler.epsilon3=1e300")
    assert sample("target=0", "out=o", *diverging) == 1
    captured = capsys.readouterr()
    line = "ppgn: every seed failed on a number that is not finite; lower sampler.lr or sampler.epsilon2"
    assert captured.err.splitlines()[-1] == line
    assert "4 failed: seeds [0, 1, 2, 3]" in captured.out
    assert report("o")["failed"] == [0, 1, 2, 3]
    assert Path("o/grid.png").exists()


def test_an_unknown_prior_is_refused_before_anything_is_drawn(sample: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def drawn(*_: object, **__: object) -> None:
        raise AssertionError("sampling has started")

    monkeypatch.setattr(PPGN, "sample", drawn)
    assert sample("target=0", "prior=jiont") == 2


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["target=goldfish"], "imagenet-goldfish"),
        (["target=3", "network=mine.py:net"], "mine-py-net-3"),
        (["condition=unit", "network=torchvision/resnet18", "layer=a", "target=2"], "unit-torchvision-resnet18-2"),
    ],
)
def test_the_folder_says_what_was_asked_of_whom(words: list[str], named: str) -> None:
    _, given, settings = configs.read("sample", words)
    assert folder(given, settings).removeprefix("outputs/") == named


def test_shares_are_walked_without_talk_and_read_as_one(sample: Run) -> None:
    asked = ("target=1", "seeds=[5,0,3,8,1]", "batch_size=1")
    words = (*asked, "out=o")
    assert sample(*asked, "out=one") == 0
    for share in ("2/3", "3/3"):
        assert sample(*words, f"shard={share}") == 0
    partly = ppgn.open_samples("o")
    assert [row["seed"] for row in partly] == [0, 1, 3]  # 5, 0, 3, 8, 1 dealt to three
    assert sample(*words, "shard=1/3") == 0
    whole, one = ppgn.open_samples("o"), ppgn.open_samples("one")
    codes = {row["seed"]: row["code"] for row in one}
    assert sorted(row["seed"] for row in whole) == sorted(codes)
    assert all(torch.equal(row["code"], codes[row["seed"]]) for row in whole)
    whole.check()
    assert sample(*words, "resume=true") == 0
    alone, joined = (load_file(f"{out}/samples.safetensors") for out in ("one", "o"))
    assert all(torch.equal(alone[name], joined[name]) for name in alone if name != "rows")
