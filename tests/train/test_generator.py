"""Training a generator: every step counted, resumable, exported, refused in one line."""

import os
import socket
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch

import ppgn.model
from ppgn.cli import config as configs
from ppgn.cli import main
from ppgn.errors import InputError
from ppgn.priors.mixture import Mixture
from train import generator
from train.discriminators import Discriminator
from train.losses import feature_loss, gradients

ROOT = Path(__file__).resolve().parents[2]
TINY = [
    "generator.code_dim=6",
    "generator.widths=[8,8]",
    "generator.depths=[0,0]",
    "encoder.network={name: timm/test_efficientnet, size: 32}",
    "encoder.layers=[blocks.1,blocks.3]",
    "encoder.pool=[2,2]",
    "encoder.weights=[1.0,1.0]",
    "encoder.dim=6",
    "encoder.network.weights=null",
    "training.log_every=1",
    "data.batch_size=4",
    "data.names=[tiny]",
    "fit_images=40",
    "fit_batch_size=20",
    "previews=2",
    "export_every=2",
    "trainer.accelerator=cpu",
    "trainer.enable_progress_bar=false",
]
"""Overrides that make every network tiny."""
PROJECTED = [
    "training.comparator={name: timm/test_efficientnet, size: 32}",
    "training.comparator.weights=null",
    "training.layers=[blocks.1]",
    "training.discriminator.channels=[24]",
    "training.discriminator.width=4",
]
"""What the projected recipe needs besides; channels are those of timm's test network."""
PLAIN = ["training.augmentation=null", "training.codes=null", "training.discriminator.unconditional=false"]
"""Photographs and their codes as they are, one game."""


@pytest.fixture
def data(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    (tmp_path / "tiny").mkdir()
    for split in ("train", "val"):
        np.save(tmp_path / "tiny" / f"{split}_images.npy", rng.integers(0, 255, (40, 8, 8, 3), dtype=np.uint8))
    return tmp_path


def config(data: Path, out: Path, *overrides: str, recipe: Sequence[str] = PROJECTED):
    return configs.compose("train_generator", [*TINY, *recipe, f"data.root={data}", f"out={out}", *overrides])[0]


def train(cfg):
    return generator.run(cfg, {})


def weights(module: generator.GeneratorTraining) -> dict[str, torch.Tensor]:
    return {
        k: v.clone() for k, v in module.state_dict().items() if k.startswith(("model.generator", "average", "disc"))
    }


def test_training_changes_both_networks_and_exports_what_it_shows(data, tmp_path):
    module = train(config(data, tmp_path / "run", "steps=4", "training.start=1", "training.ramp=2"))
    assert int(module.steps_done) == 4
    assert {"image", "feature", "adversarial", "d_real", "d_fake", "balance"} <= set(module.trainer.logged_metrics)
    assert (tmp_path / "run" / "preview.png").stat().st_size > 0
    exported = ppgn.model.load(tmp_path / "run" / "generator.safetensors")
    x = torch.rand(2, 3, 8, 8)
    averaged = module.averaged()
    assert torch.allclose(exported.encode(x), averaged.encode(x), atol=0.05)
    assert torch.allclose(exported.decode(exported.encode(x)), averaged.decode(averaged.encode(x)), atol=0.01)


def test_images_of_half_the_size_are_compared_at_that_size(data, tmp_path):
    (data / "half").mkdir()
    for split in ("train", "val"):
        np.save(data / "half" / f"{split}_images.npy", np.full((40, 4, 4, 3), 90, np.uint8))
    words = [
        "data.names=[tiny,half]",
        "data.size=8",
        "steps=2",
        "training.start=0",
        "training.ramp=1",
        "data.batch_size=16",
    ]
    module = train(config(data, tmp_path / "run", *words, "codes=null"))
    x, places, coarse = next(iter(module.trainer.datamodule.train_dataloader()))
    torch.manual_seed(0)
    pair = module._draw([x, places, coarse], mixed=True)
    torch.manual_seed(0)
    plain = module._draw([x, places], mixed=True)
    count = len(pair.h)
    assert torch.equal(pair.seen, plain.drawn)
    shrunk = torch.nn.functional.interpolate(
        torch.nn.functional.avg_pool2d(plain.drawn, 2), scale_factor=2.0, mode="bilinear"
    )
    for row in range(16):
        expected = shrunk if row < count and coarse[row] else plain.drawn
        assert torch.equal(pair.drawn[row], expected[row])
    assert torch.equal(pair.x[~coarse], plain.x[~coarse])
    assert not torch.equal(pair.drawn, plain.drawn)
    real = module.discriminator.play(pair.x, pair.x_features, pair.h, pair.whole[0])
    assert {len(logits) for logits in real[0]} == {count}
    assert {len(logits) for logits in real[1]} == {int((~coarse).sum())}
    none = module.discriminator.play(pair.x, pair.x_features, pair.h, torch.zeros(16, dtype=torch.bool))
    assert {len(logits) for logits in none[1]} == {16}


def test_a_resumed_run_ends_where_an_uninterrupted_one_does(data, tmp_path):
    start = ["training.start=1", "training.ramp=2", "training.noise=0.1"]
    whole = train(config(data, tmp_path / "whole", "steps=5", *start))
    train(config(data, tmp_path / "parts", "steps=3", *start))
    resumed = train(config(data, tmp_path / "parts", "steps=5", *start))
    assert int(resumed.steps_done) == 5
    expected, found = weights(whole), weights(resumed)
    assert expected.keys() == found.keys()
    for name, value in expected.items():
        assert torch.equal(value, found[name]), name


def test_adversarial_gradients_are_as_strong_as_those_they_meet(data, tmp_path):
    overrides = ["training.discriminator.pixels=2", "training.weights={image: 3.0, feature: 0.5, adversarial: 9.0}"]
    overrides += PLAIN
    module = train(config(data, tmp_path / "run", "steps=0", *overrides))
    torch.manual_seed(0)
    x, drawn = torch.rand(2, 3, 8, 8), torch.rand(2, 3, 8, 8, requires_grad=True)
    real, made = {"blocks.1": torch.randn(2, 24, 4, 4)}, {"blocks.1": torch.randn(2, 24, 4, 4, requires_grad=True)}
    pair = generator.Pair(x, torch.randn(2, 6), drawn, drawn, real, made, made)
    losses = {"image": (drawn - x).abs().mean(), "feature": (made["blocks.1"] - real["blocks.1"]).square().mean()}
    games = module.discriminator.play(drawn, made, pair.h)
    wanted = module._balanced(games, dict(losses), pair)
    on_image, on_feature = torch.autograd.grad(wanted, [drawn, made["blocks.1"]], retain_graph=True)
    (image,) = torch.autograd.grad(losses["image"], drawn)
    (feature,) = torch.autograd.grad(losses["feature"], made["blocks.1"])
    assert float(on_image.norm()) == pytest.approx(3.0 * float(image.norm()), rel=1e-4)
    assert float(on_feature.norm()) == pytest.approx(0.5 * float(feature.norm()), rel=1e-4)


def test_the_losses_of_joint_ppgn_h_are_those_of_three_denoising_autoencoders(data, tmp_path):
    """Every loss computed again by hand, the random numbers drawn in the order of the path: h, then x, then h1."""
    joint = ["training.noise=0.3", "training.image_noise=0.2", "training.inner_noise=0.5", "training.crop=1.0"]
    joint += ["training.inner_layer=blocks.1", "training.weights.code=2.0", "training.code_share=1.0", *PLAIN]
    module = train(config(data, tmp_path / "run", "steps=0", *joint))
    batch = torch.randint(256, (4, 3, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
    module._update = lambda which, loss: None
    torch.manual_seed(5)
    found = module._train_generator(module._draw(batch), ramp=0.0)

    torch.manual_seed(5)
    x, network, encoder = batch / 255, module.comparator, module.model.encoder
    h = encoder(x)
    with torch.no_grad():
        drawn = module.model.generator(h + 0.3 * torch.randn(4, 6))
    seen = drawn + 0.2 * torch.randn(drawn.shape)
    assert float(found["image"]) == pytest.approx(float((drawn - x).abs().mean()), rel=1e-5)
    features = [network.features(images, ["blocks.1"]) for images in (seen, x)]
    assert float(found["feature"]) == pytest.approx(float(feature_loss(*features)), rel=1e-5)
    body = encoder.network.body
    first = encoder.network.features(seen, ["blocks.1"])["blocks.1"]
    first = first + 0.5 * first.std() * torch.randn(first.shape)
    later = torch.nn.Sequential(*list(body.blocks)[2:4])(first)
    pooled = encoder._pooled({"blocks.1": first, "blocks.3": later})
    code = encoder.project(torch.cat(pooled, dim=1))
    assert float(found["code"]) == pytest.approx(float((code - h).square().mean()), rel=1e-4)
    assert not torch.allclose(code, encoder(seen), atol=0.01)
    assert torch.equal(encoder(x), h)  # no noise is left behind in the encoder


def test_noise_at_a_layer_that_is_not_there_is_refused(data, tmp_path):
    words = ["training.inner_noise=0.1", "training.inner_layer=block.1", "training.weights.code=1.0"]
    with pytest.raises(InputError, match=r"unknown training.inner_layer 'block.1'; nearest: blocks.1"):
        train(config(data, tmp_path / "run", "steps=0", *words))


def test_the_balance_meets_the_feature_loss_where_it_looks(data, tmp_path):
    """With noise on the drawing, features of two kinds: the noisy ones are compared, the clean ones judged."""
    words = ["training.image_noise=0.2", "training.start=0", "training.weights={image: 1.0, feature: 0.5}", *PLAIN]
    module = train(config(data, tmp_path / "run", "steps=0", *words))
    torch.manual_seed(0)
    batch = torch.randint(256, (4, 3, 8, 8), dtype=torch.uint8)
    pair = module._draw(batch)
    clean, noisy = pair.drawn_features["blocks.1"], pair.seen_features["blocks.1"]
    assert not torch.equal(clean, noisy)
    losses = {"feature": feature_loss(pair.seen_features, pair.x_features), "image": (pair.drawn - pair.x).abs().mean()}
    wanted = module._balanced(module.discriminator.play(pair.drawn, pair.drawn_features, pair.h), dict(losses), pair)
    (pull,) = torch.autograd.grad(wanted, clean, retain_graph=True)
    (feature,) = torch.autograd.grad(losses["feature"], noisy)
    assert float(pull.norm()) == pytest.approx(0.5 * float(feature.norm()), rel=1e-4)


def batch_of(module: generator.GeneratorTraining, pair: generator.Pair) -> list[list[torch.Tensor]]:
    return module.discriminator.play(pair.drawn, pair.drawn_features, pair.h)


def test_half_of_a_batch_is_drawn_from_codes_without_a_photograph(data, tmp_path):
    module = train(config(data, tmp_path / "run", "steps=0", "training.discriminator.pixels=2"))
    batch = torch.randint(256, (4, 3, 8, 8), dtype=torch.uint8)
    assert len(module._draw(batch).h) == 4  # before `start`, where nobody judges them
    pair = module._draw(batch, mixed=True)
    assert (len(pair.x), len(pair.h), len(pair.drawn)) == (4, 2, 4)
    assert torch.equal(pair.h, module.model.encoder(pair.x[:2]))
    judged = [[len(logits) for logits in game] for game in batch_of(module, pair)]
    assert judged == [[2, 2], [4, 4]]  # with the code, and all of them without


def test_drawings_without_a_photograph_learn_from_the_discriminator_alone(data, tmp_path):
    words = ["steps=0", "training.crop=1.0", "training.code_share=0.25", "training.weights.code=1.0"]
    module = train(config(data, tmp_path / "run", *words))
    pulls: list[torch.Tensor] = []
    seen: list[int] = []
    encode = module._reencode
    module._reencode = lambda drawn: seen.append(len(drawn)) or encode(drawn)
    for ramp in (0.0, 1.0):
        pair = module._draw(torch.randint(256, (4, 3, 8, 8), dtype=torch.uint8), mixed=True)
        module._update = lambda which, loss, pair=pair: pulls.append(torch.autograd.grad(loss, pair.drawn)[0])
        module._train_generator(pair, ramp=ramp)
    without, judged = (pull.flatten(1).norm(dim=1) > 0 for pull in pulls)
    assert without.tolist() == [True, True, False, False]
    assert judged.all()
    assert seen == [1, 1]


def test_both_games_pull_as_strongly_as_the_losses_that_they_meet(data, tmp_path):
    module = train(config(data, tmp_path / "run", "steps=0", "training.discriminator.pixels=2"))
    pair = module._draw(torch.randint(256, (4, 3, 8, 8), dtype=torch.uint8), mixed=True)
    losses = {"image": (pair.drawn[:2] - pair.x[:2]).abs().mean(), "feature": pair.seen_features["blocks.1"].mean()}
    notes = dict(losses)
    module._balanced(module.discriminator.play(pair.drawn, pair.drawn_features, pair.h), notes, pair)
    at = {"balance": list(pair.drawn_features.values()), "pixel_balance": [pair.drawn]}
    for number, (on_features, on_pixels) in enumerate(batch_of(module, pair)):
        for note, name, logits in (("balance", "feature", on_features), ("pixel_balance", "image", on_pixels)):
            scale = notes[f"{note}_{number}" if number else note]
            pull = float(scale * gradients(-logits.mean(), at[note])[1])
            met = module.weights[name] * float(gradients(losses[name], at[note])[1])
            assert pull == pytest.approx(met, rel=1e-3)


def test_the_comparator_sees_both_images_changed_alike(data, tmp_path):
    module = train(config(data, tmp_path / "run", "steps=0", "training.augmentation.colour=1.0"))
    seen: list[torch.Tensor] = []
    module.comparator.features = lambda images, layers: seen.append(images) or {"blocks.1": images}
    module.model.generator.forward = lambda h: pictures
    batch = torch.randint(256, (4, 3, 8, 8), dtype=torch.uint8)
    pictures = (batch / 255).contiguous(memory_format=torch.channels_last)  # adds up in the order of the real ones
    module._draw(batch)
    assert torch.equal(*seen)
    assert not torch.equal(seen[0], pictures)


def test_a_discriminator_that_is_new_learns_alone_at_first(data, tmp_path):
    words = ["training.start=1", "training.alone=2", "training.ramp=2"]
    before = train(config(data, tmp_path / "run", "steps=1", *words))
    after = train(config(data, tmp_path / "run", "steps=3", *words))
    changed = [name for name, value in weights(before).items() if not torch.equal(value, weights(after)[name])]
    assert all(name.startswith("discriminator.") for name in changed if "n_averaged" not in name)
    assert all(any(f".{head}." in name for name in changed) for head in ("logit", "code", "free"))
    ramps: list[tuple[int, float]] = []
    learn = after._train_generator
    after._train_generator = lambda pair, ramp: ramps.append((len(pair.h), ramp)) or learn(pair, ramp=ramp)
    after._update, after.log_dict = lambda which, loss: None, lambda *_, **__: None
    for step in range(6):
        after.steps_done.fill_(step)
        after.training_step(torch.randint(256, (4, 3, 8, 8), dtype=torch.uint8), step)
    assert ramps == [(4, 0.0), (2, 0.5), (2, 1.0), (2, 1.0)]  # all are photographs' as long as D does not look


def test_codes_that_are_kept_change_nothing(data, tmp_path):
    words = ["steps=4", "training.start=1"]
    kept = [f"codes={tmp_path / 'codes'}"]
    first = train(config(data, tmp_path / "first", *words, *kept))
    (file,) = (tmp_path / "codes").iterdir()
    again = train(config(data, tmp_path / "again", *words, *kept))  # finds them all
    assert [file] == [*(tmp_path / "codes").iterdir()]
    found = weights(again)
    assert all(torch.equal(value, found[name]) for name, value in weights(first).items())
    plain = weights(train(config(data, tmp_path / "plain", *words)))
    assert all(torch.allclose(value, plain[name], atol=5e-3) for name, value in weights(first).items())


def test_packed_photographs_are_trained_on_and_a_run_goes_on_in_mid_epoch(data, tmp_path, capsys):
    shards = tmp_path / "shards"
    assert main(["train", "pack", f"data={data}", f"out={shards}", "size=8", "rows=15"]) == 0
    with (shards / "train-00001.tar").open("r+b") as file:  # its first picture
        file.seek(512)
        file.write(bytes(100))

    def run(out: str, steps: int, codes: Path) -> dict[str, torch.Tensor]:
        words = [word for word in TINY if not word.startswith("data.names")]
        words += [*PROJECTED, "data=webdataset", f"data.root={shards}", "data.size=8", "data.workers=1"]
        words += [f"codes={codes}", f"out={tmp_path / out}", f"steps={steps}", "data.batch_size=8", *PLAIN]
        return weights(train(configs.compose("train_generator", words)[0]))

    whole = run("whole", 8, shards / "codes")  # 40 photographs are 5 steps
    (file,) = (shards / "codes").iterdir()
    known = np.load(file).any(axis=1).reshape(40, 2).any(axis=1)  # as it is or mirrored
    assert np.flatnonzero(~known).tolist() == [15]
    assert f"skipped 1 damaged pictures of 40: {shards}/train-00001.tar/00000015.png" in capsys.readouterr().out
    run("parts", 3, tmp_path / "codes")
    for name, value in run("parts", 8, tmp_path / "codes").items():
        assert torch.equal(value, whole[name]), name


def test_priors_of_the_model_that_training_starts_from_are_kept_and_drawn_from(data, tmp_path):
    model = train(config(data, tmp_path / "first", "steps=0")).averaged()
    prior = Mixture((6,), 2, 0.5)
    prior.means.copy_(50.0 * torch.ones(2, 6))
    node = {"_target_": "ppgn.priors.mixture.Mixture", "code_shape": [6], "components": 2, "sigma": 0.5}
    model.with_prior("mixture", prior, node).save(tmp_path / "model.safetensors")
    words = [f"weights={tmp_path / 'model.safetensors'}", "training.start=0", "training.codes.pairs=0"]
    words += ["training.codes.mixture=1.0"]
    module = train(config(data, tmp_path / "run", "steps=1", *words))
    given: list[torch.Tensor] = []
    module.model.generator.register_forward_pre_hook(lambda _, inputs: given.append(inputs[0]))
    module._draw(torch.randint(256, (4, 3, 8, 8), dtype=torch.uint8), mixed=True)
    assert (given[0][:2] < 25).all()
    assert (given[0][2:] > 25).all()
    saved = ppgn.model.load(tmp_path / "run" / "generator.safetensors")
    assert torch.equal(saved.priors["mixture"].means, prior.means)
    resumed = train(config(data, tmp_path / "run", "steps=2", *words))
    assert int(resumed.steps_done) == 2


def test_the_discriminator_waits_for_its_start(data, tmp_path):
    module = train(config(data, tmp_path / "run", "steps=2", "training.start=2"))
    assert "adversarial" not in module.trainer.logged_metrics


def test_encoder_and_comparator_stay_as_they_were(data, tmp_path):
    module = train(config(data, tmp_path / "run", "steps=2", "training.start=0", "training.weights.code=1.0"))
    frozen = [*module.model.encoder.parameters(), *module.comparator.parameters()]
    assert frozen
    assert all(p.grad is None and not p.requires_grad for p in frozen)
    assert "code" in module.trainer.logged_metrics


def test_a_finished_training_takes_no_further_step(data, tmp_path):
    first = train(config(data, tmp_path / "run", "steps=2"))
    again = train(config(data, tmp_path / "run", "steps=2"))
    assert int(again.steps_done) == 2
    assert all(torch.equal(value, weights(again)[name]) for name, value in weights(first).items())


def test_training_ends_when_its_minutes_are_over(data, tmp_path):
    assert int(train(config(data, tmp_path / "run", "minutes=0", "steps=3")).steps_done) == 0


def test_training_starts_from_the_weights_of_a_model(data, tmp_path):
    first = train(config(data, tmp_path / "first", "steps=2"))
    given = tmp_path / "first" / "generator.safetensors"
    again = train(config(data, tmp_path / "again", "steps=0", "seed=7", f"weights={given}"))
    saved = ppgn.model.load(given)
    for part in ("generator", "encoder"):
        expected, found = getattr(saved, part).state_dict(), getattr(again.model, part).state_dict()
        assert all(torch.equal(value, found[name]) for name, value in expected.items())
    assert first.model.config == again.model.config


def test_weights_of_another_architecture_are_refused(data, tmp_path):
    train(config(data, tmp_path / "first", "steps=0"))
    given = f"weights={tmp_path / 'first' / 'generator.safetensors'}"
    with pytest.raises(InputError, match="do not fit this generator; give its configuration"):
        train(config(data, tmp_path / "again", "steps=0", given, "generator.widths=[4,4]"))


def test_windows_are_square_inside_the_image_and_of_every_allowed_size():
    torch.manual_seed(0)
    image = torch.arange(64).view(1, 1, 8, 8)
    cut = [image[generator.random_window(8, 0.5)] for _ in range(1500)]
    assert {tuple(part.shape[-2:]) for part in cut} == {(k, k) for k in (4, 5, 6, 7, 8)}
    corners = {int(part[0, 0, 0, 0]) for part in cut if part.shape[-1] == 4}
    assert corners == {8 * y + x for y in range(5) for x in range(5)}
    assert all(torch.equal(part.diff(dim=-1).unique(), torch.tensor([1])) for part in cut)
    assert torch.equal(image[generator.random_window(8, 1.0)], image)
    bounded = [image[generator.random_window(8, 0.5, 0.75)] for _ in range(100)]
    assert {part.shape[-1] for part in bounded} == {4, 5, 6}


def together(folder: Path, words: Sequence[str], *started: dict[str, str]) -> list[dict[str, dict[str, torch.Tensor]]]:
    """What two processes saw and where they ended; who is `started` is told who it is, or starts the other."""
    script = [sys.executable, "-m", "tests.train.two_processes", str(folder), *words]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port())}
    how = {"cwd": ROOT, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    running = [subprocess.Popen(script, env=environment | more, **how) for more in started or ({},)]
    said = [process.communicate(timeout=300)[0] for process in running]
    assert [process.returncode for process in running] == [0] * len(running), "\n".join(said)
    return [torch.load(folder / f"{rank}.pt", weights_only=True) for rank in (0, 1)]


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


def test_two_processes_share_one_step_and_end_with_equal_weights(data, tmp_path):
    words = [*TINY, *PROJECTED, f"data.root={data}", f"out={tmp_path / 'run'}", "steps=1", "training.start=0"]
    words += ["trainer.devices=2"]
    first, second = together(tmp_path, words)
    assert not torch.equal(first["batch"], second["batch"])  # each process has images of its own
    for name, value in first["weights"].items():
        assert torch.equal(value, second["weights"][name]), name
    alone = train(config(data, tmp_path / "alone", "steps=0", "training.start=0"))
    moved = [name for name, value in weights(alone).items() if not torch.equal(value, first["weights"][name])]
    assert {name.split(".")[0] for name in moved} == {"model", "average", "discriminator"}


def test_two_machines_take_the_steps_of_one_process_with_twice_the_batch(data, tmp_path):
    """All that is random or of a whole batch is on; Adam's ε keeps it from turning rounding into the sign of a step."""
    words = ["steps=4", "training.start=1", "training.ramp=2", "training.discriminator.pixels=2", "training.noise=0.1"]
    words += ["training.image_noise=0.1", "training.inner_noise=0.2", "training.inner_layer=blocks.1"]
    words += ["training.code_share=0.5", "training.ema_warmup=2", "training.codes.pairs=0.5"]
    words += [
        f"training.{part}_optimizer.{key}" for part in ("generator", "discriminator") for key in ("lr=0.1", "eps=1.0")
    ]
    words += ["data.batch_size=8"]
    before, after = (weights(train(config(data, tmp_path / steps, *words, steps))) for steps in ("steps=0", "steps=4"))
    every = [*TINY, *PROJECTED, f"data.root={data}", f"out={tmp_path / 'two'}", *words, "data.batch_size=4"]
    every += ["trainer.num_nodes=2", "trainer.strategy=ddp"]
    for found in together(tmp_path, every, {"NODE_RANK": "0"}, {"NODE_RANK": "1"}):
        for name, value in after.items():
            moved = (value.double() - before[name]).norm()
            assert float((found["weights"][name].double() - value).norm()) <= 1e-3 * float(moved) + 1e-7, name
        assert sum(not torch.equal(value, before[name]) for name, value in after.items()) > len(after) // 2


@pytest.mark.parametrize("name", ["natural64_cpu", "natural64_gpu", "natural64_joint"])
def test_experiments_run_at_tiny_size(data, tmp_path, name):
    """All that they set but sizes and the device, through both networks' first steps."""
    model = train(config(data, tmp_path / "first", "steps=0")).averaged()
    node = {"_target_": "ppgn.priors.mixture.Mixture", "code_shape": [6], "components": 2, "sigma": 0.5}
    model.with_prior("mixture", Mixture((6,), 2, 0.5), node).save(tmp_path / "model.safetensors")
    words = [f"experiment={name}", "training.start=0", "training.alone=1", "training.comparator.size=32", "steps=3"]
    words += [
        "compile=false",
        "data.size=8",
        *([] if name == "natural64_gpu" else [f"weights={tmp_path / 'model.safetensors'}"]),
    ]
    words += [] if name != "natural64_joint" else ["training.inner_layer=blocks.1", "training.learning=null"]
    module = train(config(data, tmp_path / "run", *words))
    assert {"d_real", "adversarial", "code", "balance_1", "pixel_balance_1"} <= set(module.trainer.logged_metrics)
    assert all(value.isfinite().all() for value in weights(module).values())


@pytest.mark.parametrize("name", ["natural128_cpu", "natural128_gpu"])
def test_a_generator_grows_and_only_what_shall_learn_does(data, tmp_path, name):
    train(config(data, tmp_path / "first", "steps=0"))
    given = tmp_path / "first" / "generator.safetensors"
    for split in ("train", "val"):
        np.save(
            data / "tiny" / f"{split}_images.npy", np.random.default_rng(0).integers(0, 256, (40, 16, 16, 3), np.uint8)
        )
    words = [f"experiment={name}", "generator.widths=[8,8,8]", "generator.depths=[0,1,0]", f"weights={given}"]
    words += ["training.learning=[blocks.1,blocks.2]", "training.alone=1", "training.comparator.size=32", "steps=3"]
    words += ["training.codes.mixture=0", "encoder.pixels=8", "compile=false", "codes=null", "data.size=16"]
    module = train(config(data, tmp_path / "run", *words))
    before, after = ppgn.model.load(given).generator.state_dict(), module.model.generator.state_dict()
    assert module.model.generator.signal_shape == (3, 16, 16)
    assert all(torch.equal(value, after[name]) for name, value in before.items())
    assert all(after[f"blocks.{number}.conv2.weight"].any() for number in (1, 2))


def test_published_recipe_runs_with_the_balance_rule(data, tmp_path):
    recipe = [
        "training=published",
        "training.layers=[blocks.1]",
        "training.comparator._target_=ppgn.networks.imagenet.load",
        "+training.comparator={name: timm/test_efficientnet, weights: null, size: 32}",
        "training.discriminator._target_=tests.train.test_generator.FlatDiscriminator",
        "training.discriminator.code_dim=6",
        "training.balance={low: 100.0, resume: 200.0}",
        "training.halve_at=[1,2]",
    ]
    module = train(config(data, tmp_path / "run", "steps=3", recipe=recipe))
    assert not module.balance.train_discriminator  # r is below 100 at once
    assert "balance" not in module.trainer.logged_metrics
    assert [optimizer.param_groups[0]["lr"] for optimizer in module.optimizers()] == [1.25e-5, 1.25e-5]


class FlatDiscriminator(Discriminator):
    """Two logits from pixels and code, the smallest thing that can play the published game."""

    def __init__(self, code_dim: int) -> None:
        super().__init__()
        self.linear = torch.nn.Linear(3 * 64 + code_dim, 2)

    def forward(self, x, features, h):
        return [self.linear(torch.cat([x.flatten(1), h], dim=1))]


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("data.names=[nowhere]", "no folder"),
        ("data.size=0", "data.size=0 cannot be used; expected a whole number from 1 on"),
        ("data.size=-3", "data.size=-3 cannot be used; expected a whole number from 1 on"),
        ("data.batch_size=0", "data.batch_size=0 cannot be used; expected a whole number from 1 on"),
        ("data.limit=0", "data.limit=0 cannot be used; expected a whole number from 1 on"),
        (
            "generator.widths=[8,8,8] generator.depths=[0,0,0]",
            "have 8 pixels, the generator draws 16; set data.size=16",
        ),
        ("data.size=4", "have 4 pixels, the generator draws 8; set data.size=8"),
        ("+training.weights.perceptual=1", "unknown loss 'perceptual'"),
        ("training.crop=0.9 training.crop_most=0.5", "expected 0 < crop <= crop_most <= 1"),
        ("training.inner_noise=0.1 training.weights.code=0", "inner_noise=0.1 is for the code loss; set weights.code"),
        ("training.discriminator.unconditional=false", "needs training.discriminator.unconditional=true"),
        ("training.codes.mixture=0.5", "no prior 'mixture'"),
        ("training.codes.pairs=1.5", "pairs=1.5"),
        ("training.learning=[blocks.7]", "training.learning 'blocks.7'"),
        ("encoder.dim=100000", "dim=100000 is more than"),
        ("encoder.layers=[blocks.99,blocks.3]", "unknown layer"),
        ("experiment=natural65_cpu", "unknown experiment 'natural65_cpu'; nearest: natural64_cpu"),
        ("step=3", "unknown key 'step'; nearest: steps"),
        ("steps=many", "steps is a whole number"),
    ],
)
def test_bad_settings_are_named(data, tmp_path, capsys, override, expected):
    words = [*TINY, *PROJECTED, f"data.root={data}", f"out={tmp_path / 'run'}", "steps=1", *override.split()]
    assert main(["train", "generator", *words]) == 2
    said = capsys.readouterr().err.strip().splitlines()[-1]
    assert said.startswith("ppgn: ")
    assert expected in said


def test_the_adversarial_loss_grows_to_its_weight_over_the_ramp(data, tmp_path, monkeypatch):
    ramps, losses = [], []
    step = generator.GeneratorTraining._train_generator
    monkeypatch.setattr(
        generator.GeneratorTraining,
        "_train_generator",
        lambda self, pair, *, ramp: ramps.append(ramp) or step(self, pair, ramp=ramp),
    )
    words = ["training.start=1", "training.ramp=4", "training.balanced=false", "training.weights.adversarial=2.0"]
    module = train(config(data, tmp_path / "run", "steps=6", *words))
    assert ramps == [0.0, 0.25, 0.5, 0.75, 1.0, 1.0]
    monkeypatch.setattr(
        generator.GeneratorTraining, "_update", lambda self, which, loss: losses.append(float(loss.detach()))
    )
    torch.manual_seed(0)
    pair = module._draw(torch.randint(256, (4, 3, 8, 8), dtype=torch.uint8))
    module.discriminator.eval()  # spectral norms stay as they are
    noted = [step(module, pair, ramp=ramp) for ramp in (0.5, 1.0)]
    assert losses[1] - losses[0] == pytest.approx(0.5 * 2.0 * float(noted[0]["adversarial"]), rel=1e-3)


def test_the_average_is_a_copy_until_its_warmup_is_over(data, tmp_path):
    def differs(steps: int) -> bool:
        words = ["training.ema_warmup=2", "training.ema=0.9", f"steps={steps}"]
        module = train(config(data, tmp_path / f"run{steps}", *words))
        averaged = module.average.module.state_dict()
        return any(not torch.equal(value, averaged[k]) for k, value in module.model.generator.state_dict().items())

    assert [differs(steps) for steps in (1, 2, 4)] == [False, False, True]
