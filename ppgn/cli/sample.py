"""`ppgn sample`: from a checked command line to a folder of samples."""

from __future__ import annotations

import math
import os
import re
import shutil
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, NoReturn, cast

import torch
from omegaconf import DictConfig, ListConfig, OmegaConf
from torch import Tensor
from tqdm import tqdm

from ppgn import paths
from ppgn.cli import config as configs
from ppgn.cli.distributed import Worker, workers
from ppgn.cli.results import Results
from ppgn.conditions import words
from ppgn.contracts import Condition, Generator, Info, State
from ppgn.errors import InputError, unknown
from ppgn.media import images
from ppgn.model import PPGN, load
from ppgn.samplers import chains
from ppgn.samplers.sampler import Sampler

PRECISIONS = ("float32", "float64", "bfloat16")
PHOTO_STRENGTH = 0.6  # annealed from 10 to 0.02, that starts at noise of 0.83
READ_EVERY = 10  # steps between two looks at log p; a look waits for the device
# What does not change a seed's samples.
_MACHINE_KEYS = ("batch_size", "device", "devices", "num_nodes")
FREE_KEYS = ("seeds", "out", "resume", "labels", "animate", "animate_every", *_MACHINE_KEYS)
BATCH_SIZES = {"cpu": 8, "cuda": 256}  # of batch_size=auto: what keeps the device busy; too little memory halves it


@dataclass(frozen=True)
class Request:
    """The command line of `ppgn sample`, checked as far as it can be without a network."""

    config: DictConfig
    options: dict[str, str]  # of the groups condition and sampler
    prior: str | None
    targets: tuple[str | int, ...]
    seeds: tuple[int, ...]
    init: Tensor | None  # (3, H, W) as in the file
    strength: float
    steps: int | None
    burn_in: int
    thin: int | None
    threshold: float | None
    batch_size: int
    device: torch.device
    devices: int
    num_nodes: int
    precision: str
    compile: bool
    out: Path
    labels: bool
    animation: Path | None
    animate_every: int
    resume: bool

    @staticmethod
    def read(words: Sequence[str]) -> Request:
        """Check `words`, key=value each. Raises `InputError`."""
        config, options = configs.compose("sample", words)
        device = read_device(str(config.device))
        targets = read_targets(config, "target")
        out = Path(str(config.out or Path("outputs") / _slug(options["condition"], *targets))).expanduser()
        return Request(
            config=config,
            options=options,
            prior=None if config.prior is None else str(config.prior),
            targets=targets,
            seeds=configs.seeds(config.seeds),
            init=None if config.init is None else images.read(Path(str(config.init)).expanduser()),
            strength=_strength(config),
            steps=None if config.steps is None else configs.whole(config, "steps", least=1),
            burn_in=configs.whole(config, "burn_in", least=0),
            thin=None if config.thin is None else configs.whole(config, "thin", least=1),
            threshold=None if config.threshold is None else _share(config, "threshold"),
            batch_size=_batch_size(config, device),
            device=device,
            devices=configs.whole(config, "devices", least=1),
            num_nodes=configs.whole(config, "num_nodes", least=1),
            precision=_precision(str(config.precision)),
            compile=_compile(config),
            out=out,
            labels=bool(config.labels),
            animation=_animation(config, out),
            animate_every=configs.whole(config, "animate_every", least=1),
            resume=bool(config.resume),
        )

    @property
    def dtype(self) -> torch.dtype:
        """That of weights and codes; lower precisions than float32 are left to autocast."""
        return torch.float64 if self.precision == "float64" else torch.float32

    def settings(self) -> dict[str, Any]:
        """All that decides what a seed's samples are, by dotted key."""
        return {key: value for key, value in configs.leaves(self.config).items() if key not in FREE_KEYS}

    def about(self, sampler: Sampler) -> dict[str, Any]:
        """The head of the report."""
        return {
            "condition": self.options["condition"],
            "target": self.targets[0] if len(self.targets) == 1 else list(self.targets),
            "model": str(self.config.model),
            "prior": self.prior,
            "sampler": self.options["sampler"],
            "steps": sampler.steps,
            "device": str(self.device),
            "precision": self.precision,
            "compile": self.compile,
        }


def read_targets(config: DictConfig, key: str) -> tuple[str | int, ...]:
    """The names or indices at `key`, one or a list. Raises `InputError` for none and for anything else."""
    given = list(config[key]) if isinstance(config[key], ListConfig) else [config[key]]
    if not given:
        raise InputError(f"{key}=[] is empty; expected at least one name or index")
    for target in given:
        if not isinstance(target, str | int) or isinstance(target, bool) or target == "":
            raise InputError(f"{key} '{target}' cannot be used; expected a name or an index, or a list of them")
    return tuple(given)


def _slug(*words: str | int) -> str:
    """A short name for a folder that says what was asked for."""
    text = "-".join(re.sub(r"\W+", "-", str(word).lower()).strip("-") for word in dict.fromkeys(words))
    return text[:80].strip("-")


def read_device(name: str) -> torch.device:
    """The device of a name, "auto" being the GPU if there is one. Raises `InputError` for one that is not there."""
    gpus = torch.cuda.device_count()
    if name == "auto":
        return torch.device("cuda" if gpus else "cpu")
    choices = ["auto", "cpu", "cuda", *(f"cuda:{index}" for index in range(gpus))]
    if name in choices and (gpus or name == "cpu"):
        return torch.device(name)
    if name.startswith("cuda") and not gpus:
        raise InputError(f"device={name} cannot be used: no GPU is visible here; use device=cpu or leave it at auto")
    raise unknown("device", name, choices)


def _batch_size(config: DictConfig, device: torch.device) -> int:
    """How many chains are walked together; "auto" is what suits the device."""
    if config.batch_size == "auto":
        return BATCH_SIZES[device.type]
    if type(config.batch_size) is not int:
        raise InputError(f"cannot use 'batch_size={config.batch_size}'; batch_size is a whole number, or auto")
    return configs.whole(config, "batch_size", least=1)


def _strength(config: DictConfig) -> float:
    """The share of the steps that is walked: all of them, but from a photo so many that one still sees it."""
    if config.strength is None:
        return 1.0 if config.init is None else PHOTO_STRENGTH
    share = _share(config, "strength")
    if share < 1 and config.init is None:
        raise InputError(f"strength={config.strength} needs init=FILE")
    return share


def _share(config: DictConfig, key: str) -> float:
    """The number at `key`, above 0 and up to 1."""
    value = config[key]
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value <= 1:
        raise InputError(f"{key}={value} cannot be used; expected a number above 0, at most 1")
    return float(value)


def _animation(config: DictConfig, out: Path) -> Path | None:
    """Where the animation goes, inside `out` unless its folder is named."""
    if config.animate is None:
        return None
    if config.resume:
        raise InputError("animate cannot be used with resume=true: the steps behind an interruption are not kept")
    if config.devices != 1 or config.num_nodes != 1:
        raise InputError("animate cannot be used with several devices: each process sees its own chains; use devices=1")
    path = Path(str(config.animate)).expanduser()
    images.check_animation(path)
    return out / path if path.parent == Path() else path


def _precision(name: str) -> str:
    if name not in PRECISIONS:
        raise unknown("precision", name, PRECISIONS)
    return name


def _compile(config: DictConfig) -> bool:
    """Whether the generator is compiled. Raises `InputError` where there is no C++ compiler, which that needs."""
    name = os.environ.get("CXX") or {"darwin": "clang++", "win32": "cl"}.get(sys.platform, "g++")
    if config.compile and shutil.which(name) is None:
        raise InputError(f"compile=true needs a C++ compiler and there is no '{name}'; leave compile at false")
    return bool(config.compile)


def main(words: Sequence[str]) -> int:
    """Run `ppgn sample` with `words`, key=value each -> exit status: 1 where every seed failed, else 0.

    What can be refused is refused before the sampling starts.
    """
    request = Request.read(words)
    with workers(request.devices, request.num_nodes, request.device, ["sample", *words]) as worker:
        return _run(replace(request, device=worker.device), worker)


def _run(request: Request, worker: Worker) -> int:
    """What each of several processes does; the first one prepares the folder before, and joins the results behind."""
    sampler = last_steps(configs.build(request.config.sampler), request)
    conditions = build_conditions(request.config.condition, request.targets, request.device, request.dtype)
    called = str(request.config.model)
    model = load(called, request.device).to(request.dtype)
    if request.compile:
        model.generator.compile()
    request = replace(request, prior=model.name_of(model.choose_prior(request.prior, sampler)))
    results = Results(
        request.out,
        request.settings(),
        conditions,
        request.about(sampler),
        labels=request.labels,
        threshold=request.threshold,
    )
    _check_room(request, model, sampler)
    mine, batches = _share_out(request, results, worker)
    try:
        _draw(request, model, sampler, conditions, mine, batches, worker)
    except KeyboardInterrupt:
        if worker.rank == 0:
            done = f"{len(mine.seeds)} of {len(request.seeds)} seeds are finished in '{mine.folder}'"
            print(f"ppgn: interrupted; {done}; resume=true goes on with the rest", file=sys.stderr)
        raise
    if not worker.wait():
        if worker.rank == 0:
            lost = f"one of {worker.count} processes died, the others have finished"
            print(f"ppgn: {lost}; resume=true joins what there is and goes on with the rest", file=sys.stderr)
        return 1
    if worker.rank > 0:
        return 0
    if worker.count > 1:
        results.collect()
        results.sort(request.seeds)
        results.save(OmegaConf.to_yaml(request.config))
        results.deal(1, keep=False)
    return _conclude(request, results)


def _conclude(request: Request, results: Results) -> int:
    """Say how it went -> exit status."""
    print(results.summary())
    if results.samples is None or len(results.samples.failed) < len(results.seeds):
        return 0
    advice = "lower sampler.lr or sampler.epsilon2" if "lr" in request.config.sampler else "lower sampler.epsilon2"
    print(f"ppgn: every seed failed on a number that is not finite; {advice}", file=sys.stderr)
    return 1


def _share_out(request: Request, results: Results, worker: Worker) -> tuple[Results, list[list[int]]]:
    """The results that this process adds to, and the batches that it walks, an unfinished one first, as it was.

    Takes over what an earlier run left in the folder, whatever the number of its processes.
    """
    if worker.rank == 0:
        if request.resume:
            results.load()
            if results.collect():
                results.save(OmegaConf.to_yaml(request.config))
        results.deal(worker.count, keep=request.resume)
    parts = [results] if worker.count == 1 else [results.part(rank) for rank in range(worker.count)]
    ready = worker.wait()
    if worker.rank > 0 and request.resume:
        results.load()
    if request.resume:
        for part in parts:
            part.load_unfinished()
    if not (ready and worker.wait()):  # so that nobody walks on before all have seen what is unfinished
        raise InputError(f"one of {worker.count} processes died before the sampling; see above")
    left = dict.fromkeys(seed for seed in request.seeds if seed not in set(results.seeds))
    taken: set[int] = set()
    for part in parts:
        if not set(part.unfinished) <= left.keys() - taken:
            part.unfinished = ()
        taken |= set(part.unfinished)
    mine = parts[worker.rank]
    if not mine.unfinished:
        mine.chains.unlink(missing_ok=True)
    rest = [seed for seed in left if seed not in taken][worker.rank :: worker.count]
    return mine, [list(mine.unfinished)] * bool(mine.unfinished) + _chunks(rest, request.batch_size)


def _chunks(seeds: Sequence[int], size: int) -> list[list[int]]:
    return [list(seeds[i : i + size]) for i in range(0, len(seeds), size)]


def build_conditions(
    config: DictConfig, targets: Sequence[str | int], device: torch.device, dtype: torch.dtype
) -> list[Condition]:
    """The condition for every target; they share a network where the class has `with_target`.

    Where `config` holds an `expression`, each is the whole of it, its open leaves asking for the target.
    """
    node: Any = OmegaConf.to_container(config, resolve=True)
    return [
        *words.conditions(
            node, [None if t == node.get("expression") else t for t in targets], device=device, dtype=dtype
        )
    ]


def last_steps(sampler: Sampler, request: Request) -> Sampler:
    """The sampler with the steps asked for, of which it walks the last part, `strength`.

    What changes along the way, step length or noise level, starts where it stands at that point.
    """
    sampler = sampler if request.steps is None else replace(sampler, steps=request.steps)
    return sampler.last(request.strength) if request.strength < 1 else sampler


@contextmanager
def enough_memory(device: torch.device, batch_size: int) -> Iterator[None]:
    """Turns too little memory of a GPU into an `InputError` that says what to lower."""
    try:
        yield
    except torch.OutOfMemoryError as error:
        given = f"batch_size={batch_size}"
        raise InputError(f"{device} has too little memory for {given}; give a smaller batch_size") from error


def _check_room(request: Request, model: PPGN, sampler: Sampler) -> None:
    """Raise `InputError` unless the results will fit where they are to go."""
    generator = cast("Generator", model.generator)
    kept = 1 if request.thin is None else max(1, (sampler.steps - request.burn_in) // request.thin)
    rows = len(request.seeds) * len(request.targets) * kept
    size = math.prod(generator.signal_shape) + 8 * math.prod(generator.code_shape) + 1000
    paths.check_writable(request.out, 3 * rows * size)  # samples, their successor and the grid


def _draw(
    request: Request,
    model: PPGN,
    sampler: Sampler,
    conditions: Sequence[Condition],
    results: Results,
    batches: Sequence[Sequence[int]],
    worker: Worker,
) -> None:
    """Walk the chains of all batches and save the results after each. What the memory does not hold is halved."""
    text = OmegaConf.to_yaml(request.config)
    waiting = deque(batches)
    frames: list[list[Tensor]] = []  # per batch, uint8 (B, 3, H, W) each
    with torch.autocast(request.device.type, torch.bfloat16, enabled=request.precision == "bfloat16"):
        make_targets = partial(model.targets, conditions, sampler, request.prior)
        targets = make_targets()
        walk = partial(
            chains.sample,
            kernel=sampler,
            steps=sampler.steps,
            init=_start_codes(request, model),
            burn_in=request.burn_in,
            thin=request.thin,
            device=request.device,
            dtype=request.dtype,
            checkpoint=results.folder / "chains.safetensors",
            tag=results.tag,
        )
        with _progress(request, shown=worker.rank == 0) as advance:
            while waiting:
                batch, done = waiting.popleft(), len(frames)
                watch = _Watch(request, partial(advance, done, done + 1 + len(waiting)))
                started = time.perf_counter()
                try:
                    samples = walk(targets, seeds=batch, batch_size=len(batch), callback=watch)
                except torch.OutOfMemoryError as error:
                    waiting = deque(_halved(request.device, [batch, *waiting], error))
                    if request.compile:  # anew, for smaller batches
                        torch.compiler.reset()
                        targets = make_targets()
                    results.chains.unlink(missing_ok=True)
                    continue
                results.add(samples, time.perf_counter() - started, watch.walked)
                results.save(text) if worker.count == 1 else results.save_samples()
                results.chains.unlink(missing_ok=True)
                frames.append(watch.frames)
    if not batches and worker.count == 1:
        results.save(text)
    if request.animation:
        images.animate(request.animation, [images.grid(torch.cat(moment)) for moment in zip(*frames, strict=True)])


def _start_codes(request: Request, model: PPGN) -> Tensor | None:
    """The code of the image to start from, (1, *code_shape), if there is one."""
    if request.init is None:
        return None
    height, width = cast("Generator", model.generator).signal_shape[1:]
    photo = images.fit(request.init, (height, width))
    return model.encode(photo.to(request.device, request.dtype)[None])


def _halved(device: torch.device, batches: Sequence[Sequence[int]], error: Exception) -> list[list[int]]:
    """The same seeds in batches half as large as the first. Raises `InputError` where that is a single one already."""
    size = len(batches[0])
    if size == 1:
        given = f"{device} has too little memory for one chain"
        raise InputError(f"{given}; use another device, or a smaller condition.network.size") from error
    half = f"{device} has too little memory for {size} chains at a time; going on with {size // 2}"
    tqdm.write(f"ppgn: {half}", file=sys.stderr)
    return _chunks([seed for batch in batches for seed in batch], size // 2)


class _Watch:
    """The callback of one batch: counts the chains' steps, moves the bar on and keeps frames for an animation."""

    def __init__(self, request: Request, advance: Callable[[int, int, State], None]) -> None:
        self.request, self.advance = request, advance
        self.walked = 0
        self.frames: list[Tensor] = []

    def __call__(self, step: int, steps: int, state: State, info: Info) -> None:
        self.walked += len(state.code)
        self.advance(step, steps, state)
        if self.request.animation and (step % self.request.animate_every == 0 or step == steps):
            self.frames.append(images.to_uint8(state.evaluation.image).cpu())


@contextmanager
def _progress(request: Request, *, shown: bool) -> Iterator[Callable[[int, int, int, int, State], None]]:
    """A bar on stderr -> what moves it: the batches done, those in all, step, steps and state of the one that walks.

    The bar appears with the first step, so that an error before it stays a single line.
    """
    interval = 0.1 if sys.stderr.isatty() else 2.0
    bar: tqdm[NoReturn] | None = None
    with ExitStack() as stack:

        def advance(done: int, batches: int, step: int, steps: int, state: State) -> None:
            nonlocal bar
            if not shown:
                return
            if bar is None:
                name = request.options["condition"]
                bar = stack.enter_context(tqdm(desc=name, total=0, unit="step", mininterval=interval))
            bar.total = batches * steps
            if step % READ_EVERY == 0 or step == steps:
                log_p = state.evaluation.log_condition.nanmean().item()
                target = request.targets[(step - 1) * len(request.targets) // steps]
                asked = "" if target == request.options["condition"] else f"({target})"
                bar.set_postfix_str(f"mean log p{asked} {log_p:.3g}", refresh=step == steps)
            bar.update(done * steps + step - bar.n)

        yield advance
