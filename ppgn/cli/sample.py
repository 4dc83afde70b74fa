"""`ppgn sample`: from a checked command line to a folder of samples."""

from __future__ import annotations

import math
import re
import sys
import time
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

import ppgn.model
from ppgn import images, paths
from ppgn.cli import config as configs
from ppgn.cli import expression
from ppgn.cli.results import Results
from ppgn.contracts import Condition, Generator, Info, State
from ppgn.errors import InputError, unknown
from ppgn.model import PPGN
from ppgn.samplers.annealed import Annealed
from ppgn.samplers.langevin import Langevin
from ppgn.samplers.presets import Sampler

PRECISIONS = ("float32", "float64", "bfloat16")
PHOTO_STRENGTH = 0.6  # annealed from 10 to 0.02, that starts at noise of 0.83
READ_EVERY = 10  # steps between two looks at log p; a look waits for the device
# What does not change a seed's samples.
FREE_KEYS = ("seeds", "batch_size", "device", "out", "resume", "labels", "animate", "animate_every")


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
    precision: str
    out: Path
    labels: bool
    animation: Path | None
    animate_every: int
    resume: bool

    @staticmethod
    def read(words: Sequence[str]) -> Request:
        """Check `words`, key=value each. Raises `InputError`."""
        config, options = configs.compose("sample", words)
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
            batch_size=configs.whole(config, "batch_size", least=1),
            device=read_device(str(config.device)),
            precision=_precision(str(config.precision)),
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
    path = Path(str(config.animate)).expanduser()
    images.check_animation(path)
    return out / path if path.parent == Path() else path


def _precision(name: str) -> str:
    if name not in PRECISIONS:
        raise unknown("precision", name, PRECISIONS)
    return name


def main(words: Sequence[str]) -> int:
    """Run `ppgn sample` with `words`, key=value each -> exit status: 1 where every seed failed, else 0.

    What can be refused is refused before the sampling starts.
    """
    request = Request.read(words)
    sampler = last_steps(configs.build(request.config.sampler), request)
    conditions = build_conditions(request.config.condition, request.targets, request.device, request.dtype)
    model = ppgn.model.load(str(request.config.model), request.device).to(request.dtype)
    request = replace(request, prior=model.choose_prior(request.prior, sampler))
    results = Results(
        request.out,
        request.settings(),
        conditions,
        request.about(sampler),
        labels=request.labels,
        threshold=request.threshold,
    )
    if request.resume:
        results.load()
    _check_room(request, model, sampler)
    try:
        with enough_memory(request.device, request.batch_size):
            _draw(request, model, sampler, conditions, results)
    except KeyboardInterrupt:
        done = f"{len(results.seeds)} of {len(request.seeds)} seeds are finished in '{request.out}'"
        print(f"ppgn: interrupted; {done}; resume=true goes on with the rest", file=sys.stderr)
        raise
    print(results.summary())
    if results.samples is None or len(results.samples.failed) < len(results.seeds):
        return 0
    advice = "lower sampler.lr or sampler.epsilon2" if "lr" in request.config.sampler else "lower sampler.epsilon2"
    print(f"ppgn: every seed failed on a number that is not finite; {advice}", file=sys.stderr)
    return 1


def build_conditions(
    config: DictConfig, targets: Sequence[str | int], device: torch.device, dtype: torch.dtype
) -> list[Condition]:
    """The condition for every target; they share a network where the class has `with_target`.

    Where `config` holds an `expression`, each is the whole of it, its open leaves asking for the target.
    """
    if "expression" not in config:
        conditions = list(map(_maker(config), targets))
    else:
        tree = expression.parse(config.expression)
        makers = {leaf.name: _maker(config[leaf.name], leaf.name) for leaf in expression.leaves(tree)}

        def combined(target: str | int) -> Condition:
            return expression.build(
                tree, lambda leaf: makers[leaf.name](target if leaf.target is None else leaf.target)
            )

        conditions = list(map(combined, targets))
    return [condition.to(device, dtype).eval() for condition in conditions]


def _maker(config: DictConfig, member: str | None = None) -> Callable[[str | int], Any]:
    """Makes the condition of a configuration for one target after the other. `member`: its name in an expression."""
    first: Any = None

    def make(target: str | int) -> Any:
        nonlocal first
        if first is not None and hasattr(first, "with_target"):
            return first.with_target(target)
        try:
            first = configs.build(config, target=target)
        except InputError as error:
            if member is None:
                raise
            # Its keys lie one deeper than where it stands alone.
            deeper = re.sub(r"\bcondition\.(?=\w+[.=])", f"condition.{member}.", str(error))
            raise InputError(deeper) from error
        return first

    return make


def last_steps(sampler: Sampler, request: Request) -> Sampler:
    """The sampler with the steps asked for, of which it walks the last part, `strength`.

    What changes along the way, step length or noise level, starts where it stands at that point.
    """
    kernel, share, steps = sampler.kernel, request.strength, request.steps or sampler.steps
    if share < 1 and isinstance(kernel, Langevin):
        kernel = replace(kernel, lr=kernel.lr_end + (kernel.lr - kernel.lr_end) * share)
    if share < 1 and isinstance(kernel, Annealed):
        kernel = replace(kernel, sigma_max=kernel.sigma_min * (kernel.sigma_max / kernel.sigma_min) ** share)
    return replace(sampler, kernel=kernel, steps=max(1, round(share * steps)))


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
    size = math.prod(generator.image_shape) + 8 * math.prod(generator.code_shape) + 1000
    paths.check_writable(request.out, 3 * rows * size)  # samples, their successor and the grid


def _draw(request: Request, model: PPGN, sampler: Sampler, conditions: Sequence[Condition], results: Results) -> None:
    """Walk the chains that are not finished yet, batch by batch, and save the results after each."""
    text = OmegaConf.to_yaml(request.config)
    init = None
    if request.init is not None:
        height, width = cast("Generator", model.generator).image_shape[1:]
        photo = images.fit(request.init, (height, width))
        init = model.encode(photo.to(request.device, request.dtype)[None])
    batches = _batches(request, results)
    steps, walked = sampler.steps, 0
    frames: list[list[Tensor]] = [[] for _ in batches]  # per batch, uint8 (B, 3, H, W) each
    with _progress(len(batches), steps, request) as advance:

        def callback(number: int, step: int, steps_of_batch: int, state: State, info: Info) -> None:
            nonlocal walked
            walked += len(state.code)
            advance(number, step, steps_of_batch, state, info)
            if request.animation and (step % request.animate_every == 0 or step == steps_of_batch):
                frames[number].append(images.to_uint8(state.evaluation.image).cpu())

        for number, batch in enumerate(batches):
            walked, started = 0, time.perf_counter()
            with torch.autocast(request.device.type, torch.bfloat16, enabled=request.precision == "bfloat16"):
                samples = model.sample(
                    conditions,
                    batch,
                    sampler=sampler,
                    prior=request.prior,
                    steps=steps,
                    init=init,
                    burn_in=request.burn_in,
                    thin=request.thin,
                    batch_size=len(batch),
                    dtype=request.dtype,
                    callback=partial(callback, number),
                    checkpoint=request.out / "chains.safetensors",
                    tag=results.tag,
                )
            results.add(samples, time.perf_counter() - started, walked)
            results.save(text)
            results.chains.unlink(missing_ok=True)
    if not batches:
        results.save(text)
    if request.animation:
        images.animate(request.animation, [images.grid(torch.cat(moment)) for moment in zip(*frames, strict=True)])


def _batches(request: Request, results: Results) -> list[list[int]]:
    """The seeds to walk, batch by batch. An unfinished batch goes first, as it was, if all of it is still wanted."""
    finished = set(results.seeds)
    left = dict.fromkeys(seed for seed in request.seeds if seed not in finished)
    first = list(results.unfinished) if results.unfinished and set(results.unfinished) <= left.keys() else []
    if not first:
        results.chains.unlink(missing_ok=True)
    rest = [seed for seed in left if seed not in set(first)]
    batches = [rest[i : i + request.batch_size] for i in range(0, len(rest), request.batch_size)]
    return [first, *batches] if first else batches


@contextmanager
def _progress(batches: int, steps: int, request: Request) -> Iterator[Callable[[int, int, int, State, Info], None]]:
    """A bar on stderr -> what advances it: a chain's callback with the number of the batch in front.

    The bar appears with the first step, so that an error before it stays a single line.
    """
    total = batches * steps * len(request.targets)
    interval = 0.1 if sys.stderr.isatty() else 2.0
    bar: tqdm[NoReturn] | None = None
    with ExitStack() as stack:

        def advance(number: int, step: int, steps_of_batch: int, state: State, info: Info) -> None:
            nonlocal bar
            if bar is None:
                name = request.options["condition"]
                bar = stack.enter_context(tqdm(total=total, desc=name, unit="step", mininterval=interval))
            if step % READ_EVERY == 0 or step == steps_of_batch:
                log_p = state.evaluation.log_condition.nanmean().item()
                target = request.targets[(step - 1) // steps]
                asked = "" if target == request.options["condition"] else f"({target})"
                bar.set_postfix_str(f"mean log p{asked} {log_p:.3g}", refresh=step == steps_of_batch)
            bar.update(number * steps_of_batch + step - bar.n)

        yield advance
