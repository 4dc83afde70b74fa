"""`sample`: pictures that a condition recognises as a target, a chain for every seed."""

from __future__ import annotations

import math
import os
import re
import shutil
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, cast

import torch
from PIL import Image
from torch import Tensor
from tqdm import tqdm

import ppgn.model
from ppgn import arguments, building, folders, paths, runs, second_opinion, shards
from ppgn import progress as progress_
from ppgn.conditions import words
from ppgn.contracts import Generator
from ppgn.drawn import caption
from ppgn.errors import InputError, unknown
from ppgn.media import images, medium
from ppgn.model import PPGN, unanchored
from ppgn.progress import Watch
from ppgn.runs import Run
from ppgn.samplers import chains
from ppgn.samplers.sampler import Sampler
from ppgn.second_opinion import SecondOpinion
from ppgn.settings import as_config, called, contents, deciding

PRECISIONS = ("float32", "float64", "bfloat16")
PHOTO_STRENGTH = 0.6  # annealed from 10 to 0.02, that starts at noise of 0.83
BATCH_SIZES = {"cpu": 8, "cuda": 256}  # of batch_size="auto": what keeps the device busy; too little memory halves it
_SHARE = re.compile(r"\s*(\d+)\s*/\s*(\d+)\s*")


def sample(
    # -- what to draw --
    target: Any = None,  # what to ask of the condition, by name or by index; [a,b]: one chain through all of them
    *,
    condition: Any = "imagenet",  # the network that judges, or several: "imagenet:castle & 0.5*places:mountain"
    # -- where the chains start --
    seeds: Any = "0-7",  # the chains: 0-15, [1,4,9], 3 or 0-3,8,10-12; a seed given twice is refused
    # which share of the seeds: 3/8 is the third of eight, slurm the one of this task of a job array or step; all shares
    # write into one folder, on any machines, at any time
    shard: str | None = None,
    init: Any = None,  # start from an image file instead of from noise
    # how far to leave that image, above 0 to 1: the share of the steps that is walked. It is the last share, so step
    # length or noise level start as low as they are by then; 0.3 stays near, null is 0.6, and 1 with sampler=annealed
    # forgets it
    strength: float | None = None,
    # -- how they walk --
    model: Any = "natural64",  # the generator: a name of `ppgn models`, a .safetensors file, a folder, hf:USER/NAME
    prior: Any = None,  # what keeps the images natural (bank, mixture, joint, dae, gaussian); null is what suits
    # the kernel and its settings; anchored gives way to annealed where chains start from an image or the prior has no
    # anchors
    sampler: Any = "anchored",
    steps: int | None = None,  # steps for each target; null is the sampler's own number
    burn_in: int = 0,  # steps to walk before anything is kept
    thin: int | None = None,  # keep the state every so many steps; null keeps the last one of each target
    threshold: float | None = None,  # of what is kept, keep the images alone whose p(target) exceeds it, as 0.98
    # modules and files of code whose parts a checkpoint may name, as [mine,parts.py]
    trust: Any = (),
    # -- on which machine --
    batch_size: Any = "auto",  # chains walked together; auto is 8, on a GPU 256. Too little memory halves it
    device: Any = "auto",  # cpu, cuda or cuda:N; auto is the GPU if there is one
    precision: str = "float32",  # float64 for exactness; bfloat16 for speed on a GPU
    # true puts the generator through torch.compile: half a minute or more before the first step, then faster steps. It
    # rounds differently, and a chain amplifies that: a seed gives another picture. Needs a C++ compiler
    compile: bool = False,
    progress: bool = False,
    command: str | None = None,
    # -- what comes out --
    # who gives a second opinion of classes: an ImageNet classifier that takes no part, or module:Class; none is nobody
    judge: Any = "efficientnet_lite2",
    best: int | None = None,  # show so many of the seeds in grid.png, the best ones; the files keep all
    # what makes them the best: judge, its p of the target; realism, how near their codes are to those of photographs
    rank: str = "judge",
    out: Any = None,  # a folder; one run at a time works there
    overwrite: bool = False,  # true replaces the results of an earlier run in `out`
    labels: bool = False,  # true writes p and the class asked for under each image of grid.png and of an animation
    # how many times as large grid.png and an animation show an image; auto is about 256 pixels a side, less for many.
    # Files hold true pixels
    scale: Any = "auto",
    animate: str | None = None,  # a name that ends in .webp, .gif or .png: the chains as they walk, in `out`
    animate_every: int = 1,  # steps from one frame to the next
    resume: bool = False,  # true continues an interrupted run in `out`, and adds seeds to a finished one
    export: str | None = None,  # also write the samples for other programs: webdataset (.tar files), folder (PNGs)
) -> Run:
    """Draw x = G(h) by one Markov chain a seed over codes h that follows p(h) · p(y | G(h)) -> `ppgn.runs.Run`.

    target: a name or an index that `condition` understands, or a list of them; a condition that says all that is to be
        drawn needs none, and may itself stand in its place. condition, model, sampler, prior: a name, "module:Class",
        "file.py:Class", a mapping with `_target_`, or the object itself. init: an image file, or a tensor (3, H, W) in
        [0, 1]. seeds: also a range or a list. out: files are written there after every batch; without it nothing is
        written until `Run.save`; `ppgn.open_samples` reads them. progress: a bar on stderr. command: what was typed,
        for the report.

    A seed gives the same sample alone and in any batch, on a CPU bit for bit. Raises `InputError` for what cannot be
    used, before the first step, and `KeyboardInterrupt` that says how much is finished. Source: PPGN (arXiv
    1612.00005), section 2.
    """
    given = dict(locals())
    try:
        plan = _planned(given)
        with plan.folder_locked():
            _walk(plan)
            _finish(plan)
    finally:
        progress_.hush()
    return plan.run


@dataclass(frozen=True)
class _Plan:
    """A call of `sample`, with everything checked and loaded."""

    given: Mapping[str, Any]
    run: Run
    walk: Callable[..., Any]  # `chains.sample` of a batch of seeds
    watch: Watch
    seeds: Sequence[int]
    batch_size: int
    device: torch.device
    animation: Path | None

    @contextmanager
    def folder_locked(self) -> Iterator[None]:
        """Keep other runs out of the folder, if there is one, and load from it what is to be continued."""
        run, given = self.run, self.given
        if run.folder is None:
            yield
            return
        with folders.locked(run.folder, run.job):
            if not given["resume"]:
                runs.clear(run.folder, run.job, given["overwrite"])
            if given["resume"] or (run.job and not given["overwrite"]):
                run.load()
            yield


def _planned(given: dict[str, Any]) -> _Plan:
    """Check the arguments of `sample` and load what they name. Raises `InputError`."""
    target, condition, sampler, init = (given[key] for key in ("target", "condition", "sampler", "init"))
    if isinstance(target, Callable):  # type: ignore[arg-type]
        target, condition = None, target
    asked = arguments.targets(target)
    where, dtype = arguments.device(given["device"]), _precision(given["precision"])
    strength = _strength(given["strength"], init)
    sampler = sampler if init is None else unanchored(sampler)
    walker_of(sampler, given["steps"], strength)  # refuses what cannot be
    photo = images.read(Path(init).expanduser()) if isinstance(init, str | Path) else init
    seed_list, size = arguments.seeds(given["seeds"]), _batch_size(given["batch_size"], where)
    number, count = share_of(given["shard"])
    job, seed_list = f"{number}of{count}" if given["shard"] else "", seed_list[number - 1 :: count]
    folder = None if given["out"] is None else Path(given["out"]).expanduser()
    animation = _animation(given["animate"], folder, given["resume"] or bool(given["shard"]))
    _check(given, folder, job)
    said = partial(progress_.say, shown=given["progress"])
    said(f"loading the condition {called('condition', condition)}")
    made = words.conditions(condition, asked, device=where, dtype=dtype)
    said(f"loading the model {called('model', given['model'])}")
    net = ppgn.model.load(given["model"], where, given["trust"]).to(dtype)
    sampler = net.suited(sampler, given["prior"])
    walker = walker_of(sampler, given["steps"], strength)
    prior = net.choose_prior(given["prior"], walker)
    config = as_config(given, net, walker, prior, sampler, condition)
    about = {
        "condition": config["condition"]["expression"],
        "target": config["target"],
        "model": config["model"],
        "prior": config["prior"],
        "sampler": called("sampler", sampler),
        "steps": walker.steps,
        "device": str(where),
        "precision": given["precision"],
        "compile": given["compile"],
        **({"command": given["command"]} if given["command"] else {}),
    }
    kind = medium.of(cast(Generator, net.generator))
    settings = deciding(config) | ({} if folder is None else contents(given | {"condition": condition}, net))
    judged = isinstance(kind, medium.Pictures)
    opinion = SecondOpinion.of(given["judge"], made, net, where) if judged else None
    ranked = given["rank"] if given["best"] is not None else None
    if ranked == "judge" and opinion is None:
        raise InputError("best= is ranked by a judge, and none knows what is asked for; use rank=realism")
    realism = second_opinion.realism(net) if ranked == "realism" else None
    shown = {
        "best": given["best"],
        "rank": given["rank"],
        "labels": given["labels"],
        "threshold": given["threshold"],
        "scale": given["scale"],
    }
    run = Run(folder, config, settings, made, about, kind, **shown, job=job, opinion=opinion, realism=realism)
    if folder is not None:
        _check_room(run, net, walker, len(seed_list) * len(made), given["burn_in"], given["thin"])
    said("looking at the first pictures")
    targets = net.targets(made, walker, prior)
    if given["compile"]:
        _compile(net)
    walk = partial(
        chains.sample,
        targets,
        walker,
        init=None if photo is None else _code(net, photo),
        burn_in=given["burn_in"],
        thin=given["thin"],
        device=where,
        dtype=dtype,
        tag=run.tag,
    )
    names = [str(getattr(one, "name", None) or name) for one, name in zip(made, asked, strict=True)]
    watch = Watch(about["condition"], names, given["animate_every"] if animation else 0, given["progress"], kind.store)
    return _Plan(given, run, walk, watch, seed_list, size, where, animation)


def _walk(plan: _Plan) -> None:
    """Walk the chains that are left. Raises `KeyboardInterrupt` that says how much is finished."""
    run, where = plan.run, plan.device
    batches = _batches(run, plan.seeds, plan.batch_size, plan.given["resume"])
    half = torch.autocast(where.type, torch.bfloat16, enabled=plan.given["precision"] == "bfloat16")
    with half, plan.watch:
        try:
            progress_.follower().begun(run)
            _draw(plan.walk, run, batches, plan.watch, where)
        except KeyboardInterrupt:
            if run.folder is None:
                raise
            run.save()
            done = f"{len(set(run.walked) & set(plan.seeds))} of {len(plan.seeds)} seeds are finished in '{run.folder}'"
            raise KeyboardInterrupt(f"{done}; resume=true goes on with the rest") from None


def _finish(plan: _Plan) -> None:
    """Write what is written of a run that is done."""
    run, export = plan.run, plan.given["export"]
    if run.folder is not None:
        run.finish(plan.seeds)
        heard = getattr(run.medium, "heard", False)  # what is heard is written without being asked for
        if export is not None or heard:
            place = run.folder / run.medium.name if export is None else None
            shards.open_samples(run.folder).export(export or "folder", place, medium=run.medium, job=run.job)
    if plan.animation is not None:
        images.animate(plan.animation, [_frame(run, moment) for moment in zip(*plan.watch.batches, strict=True)])


def _frame(run: Run, moment: Sequence[tuple[Tensor, Tensor, int]]) -> Image.Image:
    """All chains at one moment, in batches: signals, log p and what is asked for."""
    captions = None
    if run.labels:
        said = ((run.conditions[target], value) for _, log_p, target in moment for value in log_p.tolist())
        captions = [caption(condition, {"log_prob": value}) for condition, value in said]
    signals = torch.cat([signals for signals, _, _ in moment])
    return images.grid(run.medium.show(signals), captions=captions, scale=run.scale)


def _strength(strength: float | None, init: Any) -> float:
    """The share of the steps that is walked: all of them, but from a photo so many that one still sees it."""
    if strength is None:
        return 1.0 if init is None else PHOTO_STRENGTH
    share = arguments.share("strength", strength)
    if share < 1 and init is None:
        raise InputError(f"strength={strength} needs init=FILE")
    return share


def walker_of(sampler: Any, steps: int | None, strength: float) -> Sampler:
    """The sampler, with the steps asked for, of which it walks the last part."""
    walker = Sampler.of(building.part("sampler", sampler))
    if steps is not None:
        walker = replace(walker, steps=arguments.whole("steps", steps))
    return walker.last(strength) if strength < 1 else walker


def _batch_size(value: Any, device: torch.device) -> int:
    if value == "auto":
        return BATCH_SIZES.get(device.type, 8)
    if type(value) is not int:
        raise InputError(f"cannot use 'batch_size={value}'; batch_size is a whole number, or auto")
    return arguments.whole("batch_size", value)


def _precision(name: str) -> torch.dtype:
    """That of weights and codes; lower precisions than float32 are left to autocast."""
    if name not in PRECISIONS:
        raise unknown("precision", name, PRECISIONS)
    return torch.float64 if name == "float64" else torch.float32


def share_of(shard: str | None) -> tuple[int, int]:
    """Which of how many shares of the seeds, from 1 on: "3/8" -> (3, 8), None -> (1, 1), "slurm" from the environment.

    A share of its own is a job array, or else a step of several tasks. Raises `InputError`.
    """
    if shard is None:
        return 1, 1
    text = str(shard)
    if text == "slurm":
        names = ("ARRAY_TASK_ID", "ARRAY_TASK_MIN", "ARRAY_TASK_STEP", "ARRAY_TASK_COUNT", "PROCID", "NTASKS")
        task, least, step, tasks, rank, ranks = (os.environ.get(f"SLURM_{name}") for name in names)
        if task is not None and tasks is not None:
            text = f"{(int(task) - int(least or 0)) // int(step or 1) + 1}/{tasks}"
        elif rank is not None and ranks is not None:
            text = f"{int(rank) + 1}/{ranks}"
        else:
            raise InputError("shard=slurm needs a job array (sbatch --array=0-7) or a step of several tasks (srun)")
    match = _SHARE.fullmatch(text)
    number, count = (int(match[1]), int(match[2])) if match else (0, 0)
    if not 1 <= number <= count:
        raise InputError(f"shard={text} cannot be used; expected K/N with K from 1 to N, as 3/8, or slurm")
    return number, count


def _animation(animate: str | None, folder: Path | None, partly: bool) -> Path | None:
    """Where the animation goes, inside the folder of the run unless another one is named."""
    if animate is None:
        return None
    if partly:
        raise InputError("animate cannot be used with resume=true, shard or several devices: it shows whole runs alone")
    path = Path(animate).expanduser()
    images.check_animation(path)
    return folder / path if folder is not None and path.parent == Path() else path


def _check(given: Mapping[str, Any], folder: Path | None, job: str) -> None:
    """Raise `InputError` for settings that are numbers and cannot be."""
    arguments.whole("burn_in", given["burn_in"], 0)
    arguments.whole("animate_every", given["animate_every"])
    if given["thin"] is not None:
        arguments.whole("thin", given["thin"])
    if given["best"] is not None:
        count = len(arguments.seeds(given["seeds"]))
        if arguments.whole("best", given["best"]) > count:
            raise InputError(f"best={given['best']} of {count} seeds: there are not so many; give more seeds")
    if given["rank"] not in second_opinion.RANKS:
        raise unknown("rank", str(given["rank"]), second_opinion.RANKS)
    if given["scale"] != "auto":
        arguments.whole("scale", given["scale"])
    if given["threshold"] is not None:
        arguments.share("threshold", given["threshold"])
    for key in ("resume", "shard", "export"):
        if given[key] and folder is None:
            raise InputError(f"{key}={given[key]} has no folder: give out=FOLDER")
    if given["export"] is not None and given["export"] not in shards.EXPORTS:
        raise unknown("export", str(given["export"]), shards.EXPORTS)
    if folder is not None and not given["resume"] and not given["overwrite"]:
        runs.clear(folder, job, only_look=True)


def _check_room(run: Run, net: PPGN, walker: Sampler, chains: int, burn_in: int, thin: int | None) -> None:
    """Raise `InputError` unless the results will fit where they are to go."""
    generator = cast(Generator, net.generator)
    kept = 1 if thin is None else max(1, (walker.steps - burn_in) // thin)
    size = math.prod(generator.signal_shape) + 8 * math.prod(generator.code_shape) + 1000
    paths.check_writable(cast(Path, run.folder), 3 * chains * kept * size)  # samples, their successor and the grid


def _compile(net: PPGN) -> None:
    """Put the generator of a model through torch.compile, in place."""
    compiler = os.environ.get("CXX") or {"darwin": "clang++", "win32": "cl"}.get(sys.platform, "g++")
    if shutil.which(compiler) is None:
        raise InputError(f"compile=true needs a C++ compiler and there is no '{compiler}'; leave compile at false")
    net.generator.compile()


def _code(net: PPGN, photo: Tensor) -> Tensor:
    """The code of the image to start from, (1, *code_shape)."""
    height, width = cast(Generator, net.generator).signal_shape[-2:]
    return net.encode(images.fit(photo, (height, width)).to(net.device, net.dtype)[None])


def _batches(run: Run, seeds: Sequence[int], size: int, resume: bool) -> list[tuple[list[int], Path | None]]:
    """What is left to walk: batches that stand unfinished in a file, as they were, and those of the other seeds."""
    if run.folder is not None and resume:
        run.load_unfinished()
    done = run.elsewhere.union(run.walked)
    left = dict.fromkeys(seed for seed in seeds if seed not in done)
    batches: list[tuple[list[int], Path | None]] = []
    for path, own in run.unfinished:
        if own and left.keys() >= set(own):
            batches.append((list(own), path))
            for seed in own:
                del left[seed]
    return batches + [(chunk, None) for chunk in _chunks(list(left), size)]


def _chunks(seeds: Sequence[int], size: int) -> list[list[int]]:
    return [list(seeds[i : i + size]) for i in range(0, len(seeds), size)]


def _draw(
    walk: Callable[..., Any],
    run: Run,
    batches: Sequence[tuple[list[int], Path | None]],
    watch: Watch,
    device: torch.device,
) -> None:
    """Walk the chains of all batches and store the samples of each. What the memory does not hold is halved.

    The files for a person to look at are written each time the samples have doubled.
    """
    waiting, saved = deque(batches), 0
    done, total = 0, sum(len(batch) for batch, _ in batches)
    while waiting:
        batch, unfinished = waiting.popleft()
        watch.begin(done, total)
        place = None if run.folder is None else run.chains
        if place is not None and unfinished is None:
            place.unlink(missing_ok=True)
        elif place is not None and unfinished != place:
            cast(Path, unfinished).replace(place)
        started = time.perf_counter()
        try:
            samples = walk(seeds=batch, batch_size=len(batch), callback=watch.step, checkpoint=run.checkpoint)
            run.add(samples, time.perf_counter() - started, watch.walked)
        except (RuntimeError, MemoryError) as error:
            if not lacks_memory(error):
                raise
            waiting = deque(_halved(device, [(batch, None), *waiting], error))
            watch.batches.pop()
            continue
        done += len(batch)
        if place is not None:
            place.unlink(missing_ok=True)
            if waiting and len(run) >= 2 * saved:
                run.save()
                saved = len(run)


def _halved(device: torch.device, batches: Sequence[Any], error: Exception) -> list[tuple[list[int], Path | None]]:
    """The same seeds in batches half as large as the first. Raises `InputError` where that is a single one already."""
    size = len(batches[0][0])
    if size == 1:
        given = f"{device} has too little memory for one chain"
        raise InputError(f"{given}; use another device, or a smaller condition.network.size") from error
    half = f"{device} has too little memory for {size} chains at a time; going on with {size // 2}"
    tqdm.write(f"ppgn: {half}", file=sys.stderr)
    waiting = [batch for batch in batches[1:] if batch[1] is not None]
    seeds = [seed for batch, unfinished in batches if unfinished is None for seed in batch]
    return waiting + [(chunk, None) for chunk in _chunks(seeds, size // 2)]


def lacks_memory(error: BaseException) -> bool:
    """Whether an error says that a device, or this machine, has too little memory."""
    said = str(error)
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or (
        isinstance(error, RuntimeError) and ("DefaultCPUAllocator" in said or "can't allocate memory" in said)
    )


@contextmanager
def enough_memory(device: torch.device, batch_size: int) -> Iterator[None]:
    """Turns too little memory into an `InputError` that says what to lower."""
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if not lacks_memory(error):
            raise
        given = f"batch_size={batch_size}"
        raise InputError(f"{device} has too little memory for {given}; give a smaller batch_size") from error
