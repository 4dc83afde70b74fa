"""How fast chains step and training runs, beside the bare networks and beside the published loop.

    python tests/benchmarks/sampling.py [--json] [--quick | --own] [--compile] [--batches 1 8 32] [--threads 1]
        [--device cpu]

What is compared runs alternately in one process, so that a busy machine slows all of it alike; figures are medians of
the ratios of neighbouring runs, with their quartiles. The chains look at their images without random views. The last
line is JSON, and with --json the only one.

- floor: one pass forward and one back through G and C, one forward through E, in plain PyTorch; where C is E's network,
  of E what follows that: it pools and whitens features
- released: the loop published with PPGN, one chain at a time through the same networks: G runs twice a step, and
  everything between the networks happens in NumPy
- released_timm: the same loop around the classifiers as timm builds them, norms not folded, memory not channels-last
- shared, released_shared, released_shared_timm: the same where the condition is the encoder's network, here
  EfficientNet-Lite0, as in the paper: our step passes it once for both, the published loop twice
- compiled: with --compile, our step with compile=true
- caffenet: our step and the published loop around DeePSiM and CaffeNet at 227 pixels, random weights, where CaffeNet is
  both E and C, as published
"""

from __future__ import annotations

import argparse
import copy
import json
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ppgn.contracts import Kernel, Target
from ppgn.samplers.noise import Noise

Step = Callable[[], object]
ROOT = Path(__file__).resolve().parents[2]


class Released:
    """One chain of the sampler published with PPGN (arXiv 1612.00005), transcribed: `step` moves the code `h`.

    `logits` maps images to (1, K), of which `target` is asked for.
    """

    def __init__(
        self,
        generator: nn.Module,
        encoder: Callable[[Tensor], Tensor],
        logits: Callable[[Tensor], Tensor],
        target: int,
        h: np.ndarray,
        *,
        eps1: float = 1e-5,
        eps2: float = 1.0,
        eps3: float = 1e-17,
        like: Tensor | None = None,
    ) -> None:
        self.generator, self.encoder, self.logits, self.target = generator, encoder, logits, target
        self.h, self.eps1, self.eps2, self.eps3 = h, eps1, eps2, eps3
        self.like = torch.empty(0) if like is None else like  # device and precision
        self.random = np.random.RandomState(0)

    def step(self) -> None:
        """One iteration."""
        with torch.no_grad():
            x = self._out(self.generator(self._in(self.h)))
            prior = self._out(self.encoder(self._in(x))) - self.h
        at_image = self._class_gradient(x)
        h = self._in(self.h).requires_grad_(True)
        (condition,) = torch.autograd.grad(self.generator(h), h, self._in(at_image))
        noise = self.random.normal(0, self.eps3, self.h.shape) if self.eps3 else 0
        d = self.eps1 * prior + self.eps2 * self._out(condition) + noise
        self.h = np.clip(self.h + d / np.abs(d).mean(), 0, 30)

    def _class_gradient(self, x: np.ndarray) -> np.ndarray:
        image = self._in(x).requires_grad_(True)
        logits = self.logits(image)
        values = self._out(logits)[0].astype(np.float64)
        p = np.exp(values - values.max())
        seed = np.zeros((1, len(values)))
        seed[0, self.target] = 1 - p[self.target] / p.sum()
        return self._out(torch.autograd.grad(logits, image, self._in(seed))[0])

    def _in(self, array: np.ndarray) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(array)).to(self.like)

    def _out(self, tensor: Tensor) -> np.ndarray:
        return tensor.detach().cpu().numpy()


class Chain:
    """A batch of our chains under one target."""

    def __init__(self, kernel: Kernel, target: Target, batch: int, like: Tensor) -> None:
        self.kernel, self.target = kernel, target
        self.noise = Noise(range(batch), like.device, like.dtype)
        self.state = kernel.init(self.noise.normal("init", target.code_shape), target, self.noise)
        self.steps = 0

    def step(self) -> None:
        """One step of every chain."""
        self.state, _ = self.kernel.step(self.state, self.target, self.noise, self.steps % 100, 100)
        self.steps += 1


def floor(
    generator: nn.Module, logits: nn.Module, encoder: Callable[[Tensor], Tensor] | None, h: Tensor, target: int
) -> None:
    """The passes through the networks that a step cannot do without, and nothing else."""
    h = h.clone().requires_grad_(True)
    x = generator(h)
    torch.autograd.grad(logits(x).log_softmax(1)[:, target].sum(), h)
    if encoder is not None:
        with torch.no_grad():
            encoder(x)


def interleaved(steps: Mapping[str, Step], rounds: int, clock: Callable[[], float]) -> dict[str, list[float]]:
    """Seconds of every step in every one of `rounds`, run in turn; a round before them does not count."""
    seconds: dict[str, list[float]] = {name: [] for name in steps}
    for number in range(-1, rounds):
        for name, step in steps.items():
            start = clock()
            step()
            if number >= 0:
                seconds[name].append(clock() - start)
            else:
                clock()
    return seconds


def compared(name: str, numerator: Sequence[float], denominator: Sequence[float], factor: float = 1) -> dict[str, Any]:
    """The median of the ratios of neighbours, under `name`, and their quartiles."""
    ratios = [factor * a / b for a, b in zip(numerator, denominator, strict=True)]
    low, _, high = statistics.quantiles(ratios, n=4, method="inclusive") if len(ratios) > 1 else ratios * 3
    return {name: round(statistics.median(ratios), 4), f"{name}_quartiles": [round(low, 4), round(high, 4)]}


def row(batch: int, seconds: Mapping[str, Sequence[float]]) -> dict[str, Any]:
    """What is reported of one batch size, from the seconds of a step of the batch, or of one chain where released."""
    found: dict[str, Any] = {"batch": batch}
    found |= {f"{name}_seconds": round(statistics.median(values), 5) for name, values in seconds.items()}
    found |= compared("overhead_vs_floor", seconds["ppgn"], seconds["floor"])
    found |= compared("annealed_overhead_vs_floor", seconds["annealed"], seconds["floor_annealed"])
    if "shared" in seconds:
        found |= compared("shared_overhead_vs_floor", seconds["shared"], seconds["floor_shared"])
    if "compiled" in seconds:
        found |= compared("speedup_of_compiled", seconds["ppgn"], seconds["compiled"])
    pairs = {"released": "ppgn", "released_timm": "ppgn", "released_caffenet": "ppgn_caffenet"}
    pairs |= {"released_shared": "shared", "released_shared_timm": "shared"}
    for name, ours in pairs.items():
        if name in seconds:
            found |= compared(f"speedup_vs_{name}", seconds[name], seconds[ours], batch)
    return found


def clock_of(device: torch.device) -> tuple[str, Callable[[], float]]:
    """Processor time where one thread does all the work, which other processes disturb less; else the wall's."""
    if device.type == "cuda":

        def synchronised() -> float:
            torch.cuda.synchronize(device)
            return time.perf_counter()

        return "wall, synchronised", synchronised
    return ("processor", time.process_time) if torch.get_num_threads() == 1 else ("wall", time.perf_counter)


class Networks:
    """The shipped model with EfficientNet-Lite1, and what is compared with it."""

    def __init__(self, model: str, device: torch.device, *, caffenet: bool) -> None:
        import timm

        import ppgn
        from ppgn.conditions.classifier import Classifier
        from ppgn.encoders.features import FeatureEncoder
        from ppgn.generators.deepsim import DeePSiM
        from ppgn.networks import caffenet as caffe
        from ppgn.networks import imagenet
        from ppgn.networks.network import Network

        self.model = ppgn.load(model, device)
        self.condition = Classifier(imagenet.load("efficientnet_lite1"), "goldfish").to(device).eval()
        same = imagenet.load(self.model.encoder.network.name, self.model.encoder.network.preprocessing.size)
        self.shared = Classifier(same, "goldfish").to(device).eval()
        self.like = torch.empty(0, device=device)
        plain = []
        for name, ours in (("lite0", self.model.encoder.network), ("lite1", self.condition.network)):
            body = timm.create_model(f"tf_efficientnet_{name}")
            plain.append(Network(body, ours.preprocessing, name=name).to(device))
        self.timm_logits, self.timm_shared = plain[1], plain[0]
        shipped = self.model.encoder
        self.timm_encoder = FeatureEncoder(plain[0], shipped.layers, pool=shipped.pool, dim=shipped.dim).to(device)
        self.caffenet = None
        if caffenet:
            body = caffe.load()
            condition = Classifier(body, 13, "truncated")
            parts = DeePSiM().eval().requires_grad_(False), FeatureEncoder(body, ["fc6"], pool=0), condition
            self.caffenet = tuple(part.to(device) for part in parts)

    def steps(self, batch: int, *, compile: bool) -> dict[str, Step]:
        """Everything that is compared at one batch size, by name."""
        from ppgn.posterior import Posterior
        from ppgn.priors.joint import Joint
        from ppgn.samplers import published
        from ppgn.samplers.annealed import Annealed
        from ppgn.samplers.langevin import Langevin

        generator, encoder = self.model.generator, self.model.encoder
        logits, k = self.condition.network, self.condition.index
        dim = self.model.generator.code_shape
        h = torch.randn(batch, *dim).to(self.like)
        one = np.random.RandomState(0).normal(0, 1, (1, *dim))
        ours, plain = {}, Langevin(shift=0, zoom=1)
        for name, condition, sampler, prior in (
            ("ppgn", self.condition, plain, "joint"),
            ("annealed", self.condition, Annealed(shift=0, zoom=1), None),
            ("shared", self.shared, plain, "joint"),
            *([("compiled", self.condition, plain, "joint")] if compile else []),
        ):
            prior = self.model.choose_prior(prior, sampler)
            target = self.model.posterior(condition, prior=prior, transform=sampler.transform)
            if name == "compiled":
                target = replace(target, generator=copy.deepcopy(generator))
                target.generator.compile()
            ours[name] = Chain(sampler, target, batch, self.like).step
        same = self.shared.network
        with torch.no_grad():
            maps = same.features(generator(h), encoder.layers)
        steps: dict[str, Step] = {
            "ppgn": ours["ppgn"],
            "floor": lambda: floor(generator, logits, encoder, h, k),
            "annealed": ours["annealed"],
            "floor_annealed": lambda: floor(generator, logits, None, h, k),
            "shared": ours["shared"],
            "floor_shared": lambda: floor(generator, same, lambda _: encoder.encode_maps(maps), h, k),
            "released_shared": Released(generator, encoder, same, k, one, like=self.like).step,
            "released_shared_timm": Released(
                generator, self.timm_encoder, self.timm_shared, k, one, like=self.like
            ).step,
            "released": Released(generator, encoder, logits, k, one, like=self.like).step,
            "released_timm": Released(generator, self.timm_encoder, self.timm_logits, k, one, like=self.like).step,
        }
        if compile:
            steps["compiled"] = ours["compiled"]
        if self.caffenet is not None:
            deepsim, fc6, condition = self.caffenet
            target = Posterior(deepsim, Joint(fc6), condition)
            steps["ppgn_caffenet"] = Chain(published.Released(), target, batch, self.like).step
            one = np.random.RandomState(0).normal(0, 1, (1, 4096))
            steps["released_caffenet"] = Released(
                deepsim, fc6, condition.network, condition.index, one, like=self.like
            ).step
        return steps


def memory(model: str, batch: int, steps: int, device: torch.device) -> dict[str, Any]:
    """Peak memory of this process in MB after `steps` steps of sampler ppgn, and after ten times as many."""
    import ppgn
    from ppgn.conditions.classifier import Classifier
    from ppgn.networks import imagenet
    from ppgn.samplers.langevin import Langevin

    network = ppgn.load(model, device)
    condition = Classifier(imagenet.load("efficientnet_lite1"), "goldfish").to(device).eval()
    peaks = []
    for count in (steps, 10 * steps):
        network.sample(
            condition, range(batch), sampler=Langevin(), prior="joint", steps=count, batch_size=batch, device=device
        )
        peaks.append(_peak(device))
    return {"peak_memory_mb": peaks[0], "peak_memory_mb_after_10x_steps": peaks[1]}


def _peak(device: torch.device) -> float:
    if device.type == "cuda":
        return round(torch.cuda.max_memory_allocated(device) / 2**20, 1)
    unit = 1 if sys.platform == "darwin" else 1024
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**20, 1)


def training(rounds: int, device: torch.device, batch: int = 8) -> dict[str, Any]:
    """Images per second of train/generator.py under Lightning and of the same updates in a bare loop, in turn."""
    import lightning

    import ppgn
    from ppgn.cli import config as configs
    from train import command
    from train.generator import GeneratorTraining

    class Bare(GeneratorTraining):
        """The same arithmetic; nobody but PyTorch is asked."""

        def _update(self, which: int, loss: Tensor) -> None:
            optimizer = self.own[which]
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()

        def step(self, images: Tensor) -> None:
            pair = self._draw(images)
            self._train_discriminator(pair, first=False)
            self._train_generator(pair, ramp=1.0)
            self.average.update_parameters(self.model.generator)

    _, clock = clock_of(device)
    seconds: dict[str, list[float]] = {"lightning": [], "bare": []}

    class Alternate(lightning.Callback):
        """After every batch under Lightning, from its loading on, one of the bare loop."""

        def on_train_start(self, *_: object) -> None:
            self.since = clock()

        def on_train_batch_end(self, *_: object) -> None:
            now = clock()
            seconds["lightning"].append(now - self.since)
            here = len(seconds["bare"]) * batch % (len(array) - batch)
            bare.step(torch.from_numpy(array[here : here + batch]).permute(0, 3, 1, 2).to(device))
            self.since = clock()
            seconds["bare"].append(self.since - now)

    with tempfile.TemporaryDirectory() as folder:
        array = np.random.RandomState(0).randint(0, 256, (batch * (rounds + 2), 64, 64, 3), dtype=np.uint8)
        (Path(folder) / "noise").mkdir()
        for split in ("train", "val"):
            np.save(Path(folder) / "noise" / f"{split}_images.npy", array)
        words = ["experiment=natural64_cpu", f"data.root={folder}", "data.names=[noise]", f"data.batch_size={batch}"]
        cfg, _ = configs.compose("train_generator", [*words, "training.start=0", "training.alone=0", "training.ramp=1"])
        modules = []
        for _ in range(2):
            model = ppgn.load("natural64")
            model.generator.requires_grad_(True)
            modules.append(command.build(cfg.training, model=model).to(device))
        module, bare = modules
        bare.__class__ = Bare
        bare.own = bare.configure_optimizers()
        bare.discriminator.calibrate(bare.comparator.features(torch.rand(batch, 3, 64, 64).to(device), bare.layers))
        trainer = lightning.Trainer(
            accelerator="gpu" if device.type == "cuda" else "cpu",
            devices=1,
            max_steps=2 * (rounds + 1),  # of two optimisers
            logger=False,
            enable_checkpointing=False,
            enable_model_summary=False,
            enable_progress_bar=False,
            callbacks=[Alternate()],
        )
        trainer.fit(module, datamodule=command.build(cfg.data))
    seconds = {name: values[1:] for name, values in seconds.items()}
    per_second = {name: round(batch / statistics.median(values), 2) for name, values in seconds.items()}
    found = {"batch": batch, "images_per_second": per_second["lightning"]}
    found |= {"bare_images_per_second": per_second["bare"]}
    return found | compared("overhead_vs_bare", seconds["lightning"], seconds["bare"])


def help_seconds(rounds: int) -> float:
    """Wall seconds of `ppgn --help`, the median."""
    seconds = []
    for _ in range(rounds):
        start = time.perf_counter()
        subprocess.run([sys.executable, "-m", "ppgn", "--help"], check=True, stdout=subprocess.DEVNULL)
        seconds.append(time.perf_counter() - start)
    return round(statistics.median(seconds), 3)


def main(words: Sequence[str] | None = None) -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batches", type=int, nargs="+", help="chains at a time; 1 8 32, on a GPU 256 as well")
    parser.add_argument("--rounds", type=int, help="runs of everything at every batch size; 11")
    parser.add_argument("--quick", action="store_true", help="3 runs at batch sizes 1 and 8, no memory, no CaffeNet")
    parser.add_argument("--own", action="store_true", help="our steps and their floors alone")
    parser.add_argument("--compile", action="store_true", help="compare our step with compile=true as well")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--model", default="natural64", help="a name or a path")
    parser.add_argument("--json", action="store_true", help="print the JSON alone")
    parser.add_argument("--memory", type=int, metavar="BATCH", help=argparse.SUPPRESS)  # in a process of its own
    options = parser.parse_args(words)
    torch.set_num_threads(options.threads)
    device = torch.device(options.device)
    if options.memory:
        print(json.dumps(memory(options.model, options.memory, 3, device)))
        return 0
    batches = options.batches or ([1, 8] if options.quick else [1, 8, 32, *([256] if device.type == "cuda" else [])])
    rounds = options.rounds or (3 if options.quick else 11)
    name, clock = clock_of(device)
    report: dict[str, Any] = {
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else platform.processor() or "cpu",
        "threads": options.threads,
        "clock": name,
        "torch": torch.__version__,
        "rounds": rounds,
        "sampling": [],
    }
    say: Callable[[object], None] = (lambda _: None) if options.json else print
    own, used = options.quick or options.own, {}
    for batch in () if own else batches:  # first, as a process starts with the peak of the one that started it
        again = ["--memory", str(batch), "--threads", str(options.threads), "--device", str(device)]
        command = [sys.executable, __file__, *again, "--model", options.model]
        used[batch] = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    networks = Networks(options.model, device, caffenet=not own)
    for batch in batches:
        steps = networks.steps(batch, compile=options.compile)
        steps = {name: step for name, step in steps.items() if not (options.own and name.startswith("released"))}
        found = row(batch, interleaved(steps, rounds, clock)) | used.get(batch, {})
        report["sampling"].append(found)
        say(json.dumps(found))
    del networks
    if not options.own:
        report["training"] = training(rounds, device)
        report["help_seconds"] = help_seconds(min(rounds, 5))
    print(json.dumps(report))
    return 0


if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))  # for the training code
    sys.exit(main())
