"""`ppgn.sample`: a function of the library, and exactly what the command line draws."""

from __future__ import annotations

import inspect
import os
import random
import subprocess
import sys
import warnings
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from torch import Tensor, nn

import ppgn
from ppgn import files, folders, progress, sampling
from ppgn.cli import main
from ppgn.conditions.classifier import Classifier
from ppgn.contracts import State
from ppgn.engines.contract import Batch, Here, LostError
from ppgn.errors import InputError
from ppgn.media import images
from ppgn.media.sound import Sound
from ppgn.model import PPGN
from ppgn.networks.network import Network, Preprocessing
from ppgn.priors.bank import Bank
from ppgn.progress import Seen
from ppgn.samplers.annealed import Annealed
from ppgn.samplers.langevin import Langevin
from ppgn.sampling import enough_memory
from ppgn.shards import FORMAT
from tests.tiny import TinyEncoder, TinyGenerator


class Red(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return 10 * (x[:, 0] - x[:, 1:].mean(dim=1)).mean(dim=(1, 2))


def model() -> PPGN:
    parts = TinyGenerator(dtype=torch.float32), TinyEncoder(dtype=torch.float32)
    return PPGN(*parts).requires_grad_(False).eval()


def test_any_module_is_a_condition_and_nothing_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    drawn = ppgn.sample(Red(), model=model(), seeds=range(3), steps=4)
    assert drawn.images.shape == (3, 3, 4, 4)
    assert drawn.seeds == (0, 1, 2)
    assert drawn.codes.shape == (3, 5)
    assert drawn.grid().size[0] > 12
    assert list(tmp_path.iterdir()) == []


def test_a_condition_in_the_targets_place_is_called_by_its_name() -> None:
    wish = Classifier(nn.Sequential(nn.Flatten(), nn.Linear(3 * 4 * 4, 2)), "grass", labels=["sky", "grass"], size=4)
    drawn = ppgn.sample(wish, model=model(), seeds=0, steps=2)
    assert drawn.report()["target"] == "grass"
    assert "mean p(grass) " in drawn.summary()


def test_the_condition_pulls(monkeypatch: pytest.MonkeyPatch) -> None:
    net, red = model(), Red()
    with_it = ppgn.sample(red, model=net, seeds=range(8), steps=30, sampler=Annealed(epsilon2=3.0, sigma_max=3.0))
    without = ppgn.sample(red, model=net, seeds=range(8), steps=30, sampler=Annealed(epsilon2=0.0, sigma_max=3.0))
    assert with_it.log_prob.mean() > without.log_prob.mean() + 0.1


@pytest.mark.parametrize(
    "words",
    [
        {"target": 2},
        {"target": [0, 3], "sampler": "ppgn", "prior": "joint"},
        {"target": 1, "burn_in": 1, "thin": 2, "threshold": 0.01},
        {"target": 1, "sampler": "released", "labels": True},
    ],
)
def test_the_command_line_calls_exactly_this(tiny: Path, tmp_path: Path, words: dict[str, Any]) -> None:
    settings = {"path": f"{tiny}/classifier.ts", "size": 16}
    common = {"seeds": "0-2", "steps": 5, "device": "cpu", "model": f"{tiny}/model.safetensors"}
    given: dict[str, Any] = words | common
    run = ppgn.sample(**given, condition={"expression": "torchscript", **settings}, out=tmp_path / "python")
    typed = [f"{key}={str(value).replace(' ', '').replace('True', 'true')}" for key, value in given.items()]
    typed += ["condition=torchscript", *(f"condition.{key}={value}" for key, value in settings.items())]
    assert main(["sample", *typed, f"out={tmp_path / 'words'}"]) == 0
    run.save(tmp_path / "later")
    wanted, said = files.load(tmp_path / "words" / "samples.safetensors", FORMAT)
    for folder in ("python", "later"):
        tensors, metadata = files.load(tmp_path / folder / "samples.safetensors", FORMAT)
        assert tensors.keys() == wanted.keys()
        assert all(torch.equal(tensors[name], wanted[name]) for name in wanted)
        assert metadata["settings"] == said["settings"]
        assert (tmp_path / folder / "grid.png").read_bytes() == (tmp_path / "words" / "grid.png").read_bytes()


def test_the_class_gradient_of_a_sampler_reaches_the_condition(tiny: Path) -> None:
    condition = {"expression": "torchscript", "path": f"{tiny}/classifier.ts", "size": 16}
    given: dict[str, Any] = {"condition": condition, "model": tiny / "model.safetensors", "seeds": 0, "steps": 8}
    drawn = [ppgn.sample(1, **given, sampler=Langevin(class_gradient=kind)) for kind in ("full", "truncated")]
    assert not torch.equal(drawn[0].codes, drawn[1].codes)


def test_a_prior_and_a_network_may_be_objects() -> None:
    net = model()
    body = nn.Sequential(nn.Flatten(), nn.Linear(48, 4))
    from ppgn.conditions.classifier import Classifier

    condition = Classifier(Network(body, Preprocessing(4), name="mine"), 1)
    named = ppgn.sample(condition, model=net, prior="gaussian", seeds="0-1", steps=4)
    given = ppgn.sample(condition, model=net, prior=net.priors["gaussian"], seeds=[0, 1], steps=4)
    assert torch.equal(named.codes, given.codes)


def test_strength_starts_where_the_photo_is(tmp_path: Path) -> None:
    net, photo = model(), torch.rand(3, 9, 7)
    near = ppgn.sample(Red(), model=net, init=photo, strength=0.01, seeds=0, sampler=Annealed(epsilon2=0.0))
    code = net.encode(images.fit(photo, (4, 4))[None])
    assert torch.allclose(near.codes, code, atol=0.3)
    images.write(tmp_path / "photo.png", photo)
    read = ppgn.sample(Red(), model=net, init=tmp_path / "photo.png", seeds=0, steps=10)
    assert read.report()["steps"] == 6


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ({"seeds": "0-2,1"}, "twice"),
        ({"seeds": -1}, "seeds"),
        ({"steps": 0}, "steps"),
        ({"batch_size": 1.5}, "batch_size"),
        ({"device": "tpu"}, "device"),
        ({"precision": "float8"}, "precision"),
        ({"strength": 0.5}, "init"),
        ({"threshold": 2}, "threshold"),
        ({"thin": 0}, "thin"),
        ({"burn_in": -1}, "burn_in"),
        ({"sampler": "anealed"}, "annealed"),
        ({"prior": "jiont"}, "joint"),
        ({"resume": True}, "out"),
        ({"target": "goldfish"}, "target|logits"),
        ({"animate": "a.txt"}, "animate"),
        ({"shard": "1/2"}, "out"),
        ({"shard": "3/2", "out": "o"}, "K/N"),
        ({"export": "tar", "out": "o"}, "webdataset"),
    ],
)
def test_what_cannot_be_used_is_told_before_the_first_step(words: dict[str, Any], said: str) -> None:
    def moved(*_: object) -> None:
        raise AssertionError("a chain has moved")

    class Still(Annealed):
        init = moved  # type: ignore[assignment]

    given: dict[str, Any] = {"condition": Red(), "model": model(), "sampler": Still()} | words
    with pytest.raises(InputError, match=said):
        ppgn.sample(**given)


def test_a_condition_that_no_chain_can_follow_is_refused() -> None:
    class Blind(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.detach().mean((1, 2, 3))

    with pytest.raises(InputError, match="differentiated"):
        ppgn.sample(Blind(), model=model(), seeds=0, steps=2)


def test_the_bar_counts_every_batch(capsys: pytest.CaptureFixture[str]) -> None:
    ppgn.sample(Red(), model=model(), seeds=range(3), batch_size=2, steps=4, progress=True)
    assert "3/3 samples" in capsys.readouterr().err


def test_too_little_memory_is_told_once_a_single_chain_does_not_fit() -> None:
    class Greedy(Annealed):
        def step(self, state: State, *given: Any) -> Any:
            raise torch.OutOfMemoryError("no")

    with pytest.raises(InputError, match="too little memory for one chain"):
        ppgn.sample(Red(), model=model(), seeds=range(2), steps=2, sampler=Greedy())


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes."),
        MemoryError(),
        torch.OutOfMemoryError("CUDA out of memory"),
    ],
)
def test_too_little_memory_of_any_kind_halves_the_batch(error: BaseException) -> None:
    sizes: list[int] = []

    class Greedy(Annealed):
        def step(self, state: State, *given: Any) -> Any:
            sizes.append(len(state.code))
            if len(state.code) > 2:
                raise error
            return super().step(state, *given)

    words: dict[str, Any] = {"model": model(), "seeds": range(4), "steps": 1}
    drawn = ppgn.sample(Red(), **words, sampler=Greedy())
    assert sizes == [4, 2, 2]
    assert torch.allclose(drawn.codes, ppgn.sample(Red(), **words, sampler=Annealed()).codes, atol=1e-5)


def test_an_allocation_that_fails_halves_the_batch() -> None:
    """What the allocator of this machine says of one that cannot be."""
    with pytest.raises(InputError, match="too little memory"), enough_memory(torch.device("cpu"), 8):
        torch.empty(2**50)
    with pytest.raises(RuntimeError, match="other"), enough_memory(torch.device("cpu"), 8):
        raise RuntimeError("other")


class Bright(nn.Module):
    def __init__(self, level: float) -> None:
        super().__init__()
        self.level = level

    def forward(self, x: Tensor) -> Tensor:
        return -(x - self.level).square().flatten(1).mean(dim=1)


OBJECTS: dict[str, tuple[Any, Any]] = {
    "condition": (Bright(0.2), Bright(0.8)),
    "model": (model(), PPGN(TinyGenerator(7, torch.float32), TinyEncoder(dtype=torch.float32))),
    "init": (torch.zeros(3, 64, 64), torch.zeros(3, 64, 64).index_fill(1, torch.tensor([30]), 1.0)),
}


@pytest.mark.parametrize("part", OBJECTS)
def test_a_run_goes_on_with_the_same_objects_alone(tmp_path: Path, part: str) -> None:
    same, other = OBJECTS[part]
    words: dict[str, Any] = {"condition": Bright(0.2), "model": model(), "steps": 3, "prior": "gaussian"}
    words |= {"sampler": "annealed", "init": torch.zeros(3, 4, 4)}
    ppgn.sample(**words | {part: same}, seeds="0", out=tmp_path / "o")
    ppgn.sample(**words | {part: same}, seeds="0-1", out=tmp_path / "o", resume=True)
    with pytest.raises(InputError, match=f"contents of {part}"):
        ppgn.sample(**words | {part: other}, seeds="0-2", out=tmp_path / "o", resume=True)
    whole = ppgn.sample(**words | {part: same}, seeds="0-1")
    assert torch.equal(files.load(tmp_path / "o" / "samples.safetensors", FORMAT)[0]["codes"], whole.codes)


class Seldom(Bright):
    rare = True


def test_a_run_says_which_sampler_suited_and_whoever_names_one_gets_it(tmp_path: Path) -> None:
    """That of what few photographs show is annealed, though the model has photographs to start from."""
    bank = Bank([5], 4, 0.5)
    bank.fit(torch.randn(6, 5, generator=torch.Generator().manual_seed(0)))
    net = PPGN(TinyGenerator(dtype=torch.float32), TinyEncoder(dtype=torch.float32), {"bank": bank})
    used = {}
    for name, condition, sampler in (
        ("common", Bright(0.2), None),
        ("rare", Seldom(0.2), None),
        ("both", ppgn.condition(Bright(0.2)) & ppgn.condition(Seldom(0.2)), {"epsilon2": 0.7}),
        ("asked", Seldom(0.2), "anchored"),
    ):
        run = ppgn.sample(condition, model=net, seeds="0", steps=2, sampler=sampler, out=tmp_path / name)
        used[name] = run.report()["sampler"], run.config["sampler"]["_target_"].rpartition(".")[2]
    assert used == {
        "common": ("anchored", "Anchored"),
        "rare": ("annealed", "Annealed"),
        "both": ("annealed", "Annealed"),
        "asked": ("anchored", "Anchored"),
    }
    assert yaml.safe_load((tmp_path / "both" / "config.yaml").read_text())["sampler"]["epsilon2"] == 0.7
    start = ppgn.sample(Bright(0.2), model=net, seeds="0", steps=2, init=torch.zeros(3, 4, 4))
    assert start.report()["sampler"] == "annealed"


COPIES = {"model": "model.safetensors", "condition.path": "classifier.ts", "init": "photo.png"}


@pytest.mark.parametrize("part", COPIES)
def test_a_file_that_is_another_one_by_now_is_noticed(tiny: Path, tmp_path: Path, part: str) -> None:
    images.write(tmp_path / "photo.png", torch.zeros(3, 16, 16))
    for name in ("model.safetensors", "classifier.ts"):
        (tmp_path / name).write_bytes((tiny / name).read_bytes())
    condition = {"expression": "torchscript", "path": str(tmp_path / "classifier.ts"), "size": 16}
    words: dict[str, Any] = {"condition": condition, "steps": 2, "out": tmp_path / "o", "init": tmp_path / "photo.png"}
    words["model"] = tmp_path / "model.safetensors"
    ppgn.sample(1, **words, seeds=0)
    path = tmp_path / COPIES[part]
    if part == "init":
        images.write(path, torch.ones(3, 16, 16))
    elif part == "model":
        changed = ppgn.load(path)
        next(changed.generator.parameters()).add_(1)
        changed.save(path)
    else:
        layer = nn.Sequential(nn.Flatten(), nn.Linear(3 * 16 * 16, 4)).eval()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # PyTorch would rather have torch.export
            torch.jit.trace(layer, torch.zeros(1, 3, 16, 16)).save(path)
    before = (tmp_path / "o" / "samples.safetensors").read_bytes()
    with pytest.raises(InputError, match=f"contents of {part}"):
        ppgn.sample(1, **words, seeds="0-1", resume=True)
    assert (tmp_path / "o" / "samples.safetensors").read_bytes() == before


def test_a_file_of_code_that_is_another_one_by_now_is_noticed(tmp_path: Path) -> None:
    code = "from torch import nn\nclass Red(nn.Module):\n    forward = lambda self, x: {} * x.mean((1, 2, 3))\n"
    (tmp_path / "mine.py").write_text(code.format(1))
    words: dict[str, Any] = {
        "condition": f"{tmp_path}/mine.py:Red",
        "model": model(),
        "steps": 2,
        "out": tmp_path / "o",
    }
    ppgn.sample(**words, seeds=0)
    (tmp_path / "mine.py").write_text(code.format(2))
    with pytest.raises(InputError, match="contents of condition"):
        ppgn.sample(**words, seeds="0-1", resume=True)


def test_a_second_run_in_a_folder_is_refused_and_harms_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(folders, "TRIES", 1)
    refused: list[str] = []

    class Second(Annealed):
        def step(self, state: State, *given: Any) -> Any:
            with pytest.raises(InputError) as error:
                ppgn.sample(Bright(0.5), model=model(), seeds=3, steps=1, out=tmp_path / "o")
            refused.append(str(error.value))
            return super().step(state, *given)

    ppgn.sample(Bright(0.5), model=model(), seeds=0, steps=1, out=tmp_path / "o", sampler=Second())
    assert "another run is at work" in refused[0]
    assert ppgn.open_samples(tmp_path / "o")[0]["seed"] == 0
    with pytest.raises(InputError, match="overwrite=true"):
        ppgn.sample(Bright(0.5), model=model(), seeds=3, steps=1, out=tmp_path / "o")
    ppgn.sample(Bright(0.5), model=model(), seeds=3, steps=1, out=tmp_path / "o", overwrite=True)
    assert [row["seed"] for row in ppgn.open_samples(tmp_path / "o")] == [3]


def test_a_share_of_another_run_is_refused(tmp_path: Path) -> None:
    words: dict[str, Any] = {"model": model(), "seeds": "0-3", "steps": 1, "out": tmp_path / "o"}
    ppgn.sample(Bright(0.5), **words, shard="1/2")
    with pytest.raises(InputError, match="contents of condition"):
        ppgn.sample(Bright(0.6), **words, shard="2/2")
    with pytest.raises(InputError, match="earlier run"):
        ppgn.sample(Bright(0.5), **words, shard="1/2")
    ppgn.sample(Bright(0.5), **words, shard="2/2", export="folder")
    assert len(list((tmp_path / "o" / "folder").glob("*.png"))) == 2


def test_an_interruption_can_be_caught_and_says_what_is_finished(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    class Stopped(Annealed):
        def step(self, state: State, target: Any, noise: Any, *given: Any) -> Any:
            if noise.seeds == (1,):
                raise KeyboardInterrupt
            return super().step(state, target, noise, *given)

    words: dict[str, Any] = {"model": model(), "sampler": Stopped(), "out": tmp_path / "o", "batch_size": 1}
    with pytest.raises(KeyboardInterrupt, match="1 of 3 seeds are finished"):
        ppgn.sample(Bright(0.5), **words, seeds="0-2", steps=1)
    assert capsys.readouterr() == ("", "")


class Wave(TinyGenerator):
    signal_shape = (1, 48)

    def forward(self, h: Tensor) -> Tensor:
        return 4 * super().forward(h).flatten(1)[:, None] - 2


def test_an_animation_of_signals_shows_their_negative_half(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    frames: list[Any] = []
    monkeypatch.setattr(images, "animate", lambda path, moments: frames.extend(moments))
    words: dict[str, Any] = {"model": PPGN(Wave(dtype=torch.float32)), "animate": "a.webp", "animate_every": 3}
    drawn = ppgn.sample(Bright(-1.0), seeds="0-1", steps=3, sampler="annealed", out=tmp_path, **words)
    assert drawn.signals.min() < 0
    assert frames[-1].tobytes() == drawn.grid().tobytes()


KILLS = int(os.environ.get("PPGN_KILLS", "4"))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="kills processes as POSIX has them")
@pytest.mark.parametrize("jobs", [1, 2])
def test_a_run_that_is_killed_at_any_moment_goes_on_bit_for_bit(tmp_path: Path, jobs: int) -> None:
    root = Path(__file__).resolve().parents[1]
    command = [sys.executable, "-m", "tests.kills", str(tmp_path), str(KILLS), str(jobs), str(random.randrange(10**6))]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, timeout=100 + 20 * KILLS)
    assert done.returncode == 0, (command, done.stderr)
    print(done.stdout)
    whole = ppgn.open_samples(tmp_path / "whole")
    rows = {row["seed"]: row for row in whole}
    for number in range(int(done.stdout.split()[0])):
        stored = ppgn.open_samples(tmp_path / str(number))
        assert sorted(row["seed"] for row in stored) == sorted(rows), command
        for row in stored:
            assert all(torch.equal(torch.as_tensor(row[k]), torch.as_tensor(rows[row["seed"]][k])) for k in row), (
                command
            )
        stored.check()
        assert not list((tmp_path / str(number)).glob("chains*"))


class Hum(nn.Module):
    """Codes (B, 5) -> spectrograms (B, 1, 64, 64) of five tones, each as loud as its code says."""

    code_shape = (5,)
    signal_shape = (1, 64, 64)
    medium = Sound()

    def forward(self, h: Tensor) -> Tensor:
        bands = torch.eye(64, dtype=h.dtype)[8:48:8]
        return (torch.sigmoid(h) @ bands).view(-1, 1, 64, 1).expand(-1, -1, -1, 64)


class Mean(nn.Module):
    """Spectrograms (B, 1, 64, 64) -> five numbers each, (B, 5)."""

    code_shape = (5,)

    def forward(self, x: Tensor) -> Tensor:
        return x.mean(dim=(1, 3))[:, 8:48:8]


def test_sounds_are_written_as_files_that_one_can_hear(tmp_path: Path) -> None:
    words: dict[str, Any] = {"model": PPGN(Hum(), Mean()), "seeds": range(2), "steps": 2}
    run = ppgn.sample(Bright(0.5), **words, out=tmp_path / "o")
    assert sorted(path.name for path in (tmp_path / "o" / "sounds").glob("*.wav")) == [
        "seed00000000-0.wav",
        "seed00000001-0.wav",
    ]
    assert run.images.shape == (2, 3, 64, 64)
    assert (tmp_path / "o" / "grid.png").is_file()


def test_a_stretch_of_a_sound_is_filled(tmp_path: Path) -> None:
    net = PPGN(Hum(), Mean())
    whole = net.decode(torch.tensor([[3.0, -3.0, 3.0, -3.0, 0.0]]))
    path = Sound().write(tmp_path / "hum", Sound().store(whole)[0])
    done = ppgn.inpaint(path, model=net, hole="columns:32-63", seeds=1, steps=2, sampler="ppgn", out=tmp_path / "o")
    assert (tmp_path / "o" / "hum-seed-1-completed.wav").is_file()
    known = Sound().read(path)[0, :, :32]
    assert torch.equal(done.images[0][0, :, :32], known)


class DeadError(Exception):
    pass


class Flaky(Here):
    """Three workers, of which any may be lost before, within and after a batch, or without one."""

    def __init__(self, seed: int, deadly: int | None = None) -> None:
        super().__init__(torch.device("cpu"))
        self.chance, self.deadly, self.batches = random.Random(seed), deadly, list[Batch]()

    free = property(lambda self: 3 - len(self.batches))  # type: ignore[assignment]
    at_work = property(lambda self: len(self.batches))  # type: ignore[assignment]

    def start(self, batch: Batch) -> None:
        self.batches.append(batch)

    def wait(self) -> list[Any]:
        batch = self.batches.pop(self.chance.randrange(len(self.batches)))
        kind = self.chance.choice(["alone", "before", "within", "after", "never", "never"])
        last = self.chance.randrange(1, 120) if kind == "within" else 1000
        if self.deadly is not None:
            kind, last = "never", 1 if self.deadly in batch.seeds else 1000

        def tell(seen: Seen) -> None:
            self.tell(batch, seen)
            if seen.step == last:
                raise DeadError

        if kind == "alone":
            self.batches.append(batch)
            return [(None, LostError("a worker was lost"))]
        with suppress(DeadError):
            if kind != "before" and (found := self.walk(batch, tell)) and kind != "after":
                return [(batch, found)]
        return [(batch, LostError("a worker was lost"))]


@pytest.mark.parametrize("seed", range(5))
def test_whatever_workers_are_lost_nothing_is_lost_and_nothing_comes_twice(
    tmp_path: Path, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    words: dict[str, Any] = {"model": model(), "seeds": [5, 0, 3, 8, 1, 7, 2], "batch_size": 2, "steps": 120}
    whole = ppgn.sample(Bright(0.5), **words)
    monkeypatch.setattr(progress, "LOOK", -1)
    monkeypatch.setattr(sampling, "TRIES", 1000)
    monkeypatch.setattr(sampling, "_engine", lambda given: Flaky(seed))
    found = ppgn.sample(Bright(0.5), **words, out=tmp_path / "o")
    assert found.seeds == whole.seeds
    assert torch.equal(found.codes, whole.codes)
    assert torch.equal(found.images, whole.images)
    assert found.rows == whole.rows
    names = ["config.yaml", "grid.png", "images", "report.json", "samples.safetensors"]
    assert sorted(path.name for path in (tmp_path / "o").iterdir()) == names


def test_a_batch_that_loses_every_worker_is_given_up_after_the_others_are_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sampling, "_engine", lambda given: Flaky(0, deadly=3))
    words: dict[str, Any] = {"model": model(), "batch_size": 2, "steps": 60, "out": tmp_path / "o"}
    with pytest.raises(InputError, match="seeds 2, 3: a worker was lost, 5 times; the others are done; resume=true"):
        ppgn.sample(Bright(0.5), **words, seeds=range(6))
    assert capsys.readouterr().err.count("another goes on") == 4
    assert sorted(row["seed"] for row in ppgn.open_samples(tmp_path / "o")) == [0, 1, 4, 5]


def test_a_full_disk_in_the_middle_ends_the_run_and_loses_nothing_finished(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written = Path.write_bytes

    def full(path: Path, data: bytes) -> int:
        if "batch-00002" in path.name:
            raise OSError(28, "No space left on device")
        return written(path, data)

    monkeypatch.setattr(sampling, "_engine", lambda given: Flaky(0, deadly=-1))
    words: dict[str, Any] = {"model": model(), "batch_size": 1, "steps": 2, "out": tmp_path / "o", "seeds": range(6)}
    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_bytes", full)
        with pytest.raises(InputError, match="No space left on device; make room"):
            ppgn.sample(Bright(0.5), **words)
    assert len(ppgn.open_samples(tmp_path / "o")) == 2
    assert ppgn.sample(Bright(0.5), **words, resume=True).seeds == tuple(range(6))


def test_a_worker_that_has_other_files_or_programs_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    given = dict(target=None, condition=Bright(0.5), model=model(), seeds="0", out="o")
    given = {name: one.default for name, one in inspect.signature(ppgn.sample).parameters.items()} | given
    with pytest.raises(InputError, match="files that the run names are other ones on the worker on"):
        sampling._worker(given, "{}", files.versions(), "cpu")
    with pytest.raises(InputError, match="install the same"):
        sampling._worker(given, "{}", {"torch": "0.1"}, "cpu")


def test_a_task_of_an_array_has_its_share(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("SLURM_")]:
        monkeypatch.delenv(name)
    with pytest.raises(InputError, match="array"):
        sampling.share_of("slurm")
    for name, value in {"PROCID": 1, "NTASKS": 2}.items():
        monkeypatch.setenv(f"SLURM_{name}", str(value))
    assert sampling.share_of("slurm") == (2, 2)
    for name, value in {"ID": 14, "MIN": 10, "STEP": 2, "COUNT": 4}.items():
        monkeypatch.setenv(f"SLURM_ARRAY_TASK_{name}", str(value))
    assert sampling.share_of("slurm") == (3, 4)
    for wrong in ("9/8", "0/8", "3", "a/b", True):
        with pytest.raises(InputError, match="K/N"):
            sampling.share_of(wrong)  # type: ignore[arg-type]
