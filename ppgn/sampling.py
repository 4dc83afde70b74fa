"""`sample`: pictures that a condition recognises as a target, a chain for every seed."""

from __future__ import annotations

import copy
import math
import os
import platform
import re
import shutil
import sys
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any, cast

import torch
from PIL import Image
from torch import Tensor
from tqdm import tqdm

import ppgn.model
from ppgn import arguments, building, files, folders, paths, runs, second_opinion, shards
from ppgn import progress as progress_
from ppgn.conditions import words
from ppgn.contracts import Generator, Samples, Starting
from ppgn.drawn import caption
from ppgn.engines.cluster import Cluster
from ppgn.engines.contract import Batch, Engine, Here, LostError, Walk
from ppgn.engines.processes import Processes
from ppgn.engines.threads import Threads, at_once, is_small
from ppgn.errors import InputError, check_known
from ppgn.media import images, medium
from ppgn.model import PPGN, named
from ppgn.progress import Frames, Seen, Steps, Watch
from ppgn.runs import Run
from ppgn.samplers.chains import run_chains
from ppgn.samplers.noise import Noise
from ppgn.samplers.sampler import Sampler
from ppgn.second_opinion import SecondOpinion
from ppgn.settings import as_config, called, contents, deciding
from ppgn.shards import Part

PRECISIONS = ("float32", "float64", "bfloat16")
PHOTO_STRENGTH = 0.6  # annealed from 10 to 0.02, that starts at noise of 0.83
BATCH_SIZES = {"cpu": 8, "cuda": 256}  # of batch_size="auto": what keeps the device busy; too little memory halves it
TRIES = 5  # of a batch whose worker is lost again and again without getting further
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
    # the kernel and its settings; null is what suits: anchored, or annealed where chains start from an image, the
    # condition asks for what few photographs show, as a caption does, or the prior has no anchors. A model
    # may bring settings for what suits where nobody names one, as natural128 does views=4
    sampler: Any = None,
    steps: int | None = None,  # steps for each target; null is the sampler's own number
    burn_in: int = 0,  # steps to walk before anything is kept
    thin: int | None = None,  # keep the state every so many steps; null keeps the last one of each target
    threshold: float | None = None,  # of what is kept, keep the images alone whose p(target) exceeds it, as 0.98
    # modules and files of code whose parts a checkpoint may name, as [mine,parts.py]
    trust: Any = (),
    # -- on which machine --
    # chains walked together; auto is up to 8, on a GPU 256. Too little memory halves it. With a model that comes along
    # every CPU thread walks a batch of its own (OMP_NUM_THREADS says how many there are)
    batch_size: Any = "auto",
    device: Any = "auto",  # cpu, cuda or cuda:N; auto is the GPU if there is one
    devices: int = 1,  # how many of them; each has a process of its own. A process that is killed is replaced
    oversubscribe: bool = False,  # true allows more processes than there are devices or cores
    # walk on the workers of a Ray cluster: its HOST:PORT; auto is the one that this machine belongs to, or else local,
    # which is one for this run. A worker that is lost is replaced, and what it did is done again
    cluster: str | None = None,
    workers: int | None = None,  # of the cluster, at most; null is a worker for every GPU, or core, as it grows
    precision: str = "float32",  # float64 for exactness; bfloat16 for speed on a GPU
    # true puts the generator through torch.compile: half a minute or more before the first step, then other steps, on
    # a CPU no faster ones. It rounds differently, and a chain amplifies that: a seed gives another picture. Needs a C++
    # compiler
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
        "file.py:Class", a mapping with `_target_`, or the object itself; sampler also a mapping without it, settings of
        the one that suits. init: an image file, or a tensor (3, H, W) in [0, 1]. seeds: also a range or a list. out:
        files are written there after every batch; without it nothing is written until `Run.save`; `ppgn.open_samples`
        reads them. progress: a bar on stderr. command: what was typed, for the report. devices, cluster: objects given
        must be such that can be pickled; with devices a program of your own calls this below
        `if __name__ == "__main__":`, as Python asks of what starts processes.

    A seed gives the same sample alone and in any batch, on a CPU bit for bit. Raises `InputError` for what cannot be
    used, before the first step, and `KeyboardInterrupt` that says how much is finished. Source: PPGN (arXiv
    1612.00005), section 2.
    """
    given = dict(locals())
    try:
        with _engine(given) as engine:
            plan = _planned(given, engine)
            with plan.folder_locked():
                _walk(plan, engine)
                _finish(plan)
    finally:
        progress_.hush()
    return plan.run


@dataclass(frozen=True)
class _Plan:
    """A call of `sample`, with everything checked and loaded."""

    given: Mapping[str, Any]
    run: Run
    walk: _Chains
    watch: Watch
    seeds: Sequence[int]
    batch_size: int
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


@dataclass(frozen=True)
class _Chains:
    """What every worker holds: the models, and how they are asked. Walks a batch of seeds -> what it gave."""

    walk: partial[Samples]  # `run_chains` of a noise
    run: Run  # that describes samples
    device: torch.device
    dtype: torch.dtype
    half: bool
    frames: Frames | None

    def copies(self) -> Iterator[_Chains]:
        """Itself, then the same with networks of its own, for a thread each: they note what passes through them.

        What a sampler looks for before the first step, as anchors, it finds once for all.
        """
        targets, kernel = self.walk.args
        if isinstance(kernel, Starting) and self.walk.keywords["init"] is None:
            for target in targets:
                kernel.start(target, Noise([0], self.device, self.dtype))
        yield self
        while True:
            known: dict[int, Any] = {}
            run = copy.copy(self.run)
            run.conditions, run.opinion = copy.deepcopy((run.conditions, run.opinion), known)
            yield replace(self, walk=copy.deepcopy(self.walk, known), run=run)

    def __call__(self, batch: Batch, tell: Callable[[Seen], None]) -> Part:
        steps = Steps(tell, self.frames)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.half):
            noise = Noise(batch.seeds, self.device, self.dtype)
            return self.run.part(self.walk(noise, callback=steps, checkpoint=batch.within_reach), steps.walked)


def _engine(given: Mapping[str, Any]) -> Engine:
    """Who walks. Raises `InputError` for settings that cannot be."""
    devices, workers = arguments.whole("devices", given["devices"]), given["workers"]
    if workers is not None:
        arguments.whole("workers", workers)
        if given["cluster"] is None:
            raise InputError(f"workers={workers} are of a cluster: add cluster=auto, or give devices={workers}")
    if given["cluster"] is None and devices == 1:
        return _here(given, arguments.device(given["device"]))
    if given["animate"] is not None:
        raise InputError("animate shows the chains of one process: leave out devices and cluster")
    if given["cluster"] is None:
        threads = 1 if is_small(given["model"]) and not given["compile"] else None
        return Processes(devices, arguments.device(given["device"]), given["oversubscribe"], threads)
    if devices > 1:
        raise InputError(f"devices={devices} are of this machine; with a cluster give workers={devices} instead")
    return Cluster(given["cluster"], workers, str(given["device"]))


def _here(given: Mapping[str, Any], device: torch.device) -> Here:
    """This process. Where a batch is too small for several threads, each walks one of its own.

    Who wants frames of the steps has one batch at a time.
    """
    each = given["batch_size"] if type(given["batch_size"]) is int else 1
    seeds = -(-len(arguments.seeds(given["seeds"])) // share_of(given["shard"])[1])
    most = -(-seeds // max(each, 1))
    size = None if given["compile"] else at_once(given["model"], device, most, given["target"], given["condition"])
    ranked = given["best"] is not None and given["rank"] == "realism"
    if size is None or size < 2 or given["animate"] is not None or ranked:
        return Here(device, threads=size and 1)
    return Threads(size)


def _worker(given: dict[str, Any], tag: str, versions: Mapping[str, str], device: str) -> Walk:
    """The models of a run on the device of a worker. Raises `InputError` where they are not those of the run."""
    who = f"worker on {platform.node()}"
    if versions != files.versions():
        raise InputError(f"the {who} has {files.versions()}, this machine {versions}; install the same")
    alone = {"device": device, "devices": 1, "cluster": None, "workers": None, "progress": False, "resume": True}
    plan = _planned(given | alone, Here(arguments.device(device)), room=False)
    if plan.run.tag != tag:
        raise InputError(f"files that the run names are other ones on the {who}; give it the same")
    return plan.walk


def _planned(given: dict[str, Any], engine: Engine, room: bool = True) -> _Plan:
    """Check the arguments of `sample` and load what they name. Raises `InputError`.

    Where workers walk, the models are loaded here as well: what cannot be is found out once, before they start. With
    `room` there must be enough of it for the results.
    """
    target, condition, sampler, init = (given[key] for key in ("target", "condition", "sampler", "init"))
    if isinstance(target, Callable):  # type: ignore[arg-type]
        target, condition = None, target
    asked = arguments.targets(target)
    where, dtype = engine.device if isinstance(engine, Here) else torch.device("cpu"), _precision(given["precision"])
    strength = _strength(given["strength"], init)
    sampler = sampler if init is None else named(sampler, "annealed")
    walker_of(named(sampler, "anchored"), given["steps"], strength)  # refuses what cannot be
    photo = images.read(Path(init).expanduser()) if isinstance(init, str | Path) else init
    number, shares = share_of(given["shard"])
    job, seeds = f"{number}of{shares}" if given["shard"] else "", arguments.seeds(given["seeds"])[number - 1 :: shares]
    size = _batch_size(given["batch_size"], engine, len(seeds))
    folder = None if given["out"] is None else Path(given["out"]).expanduser()
    animation = _animation(given["animate"], folder, given["resume"] or bool(given["shard"]))
    _check(given, folder, job)
    said = partial(progress_.say, shown=given["progress"])
    said(f"loading the condition {called('condition', condition)}")
    made = words.conditions(condition, asked, device=where, dtype=dtype)
    said(f"loading the model {called('model', given['model'])}")
    net = ppgn.model.load(given["model"], where, given["trust"]).to(dtype)
    sampler = net.suited(sampler, given["prior"], made)
    walker = walker_of(sampler, given["steps"], strength)
    prior = net.choose_prior(given["prior"], walker)
    config = as_config(given, net, walker, prior, sampler, condition)
    about: dict[str, Any] = {"condition": config["condition"]["expression"]}
    about |= {key: config[key] for key in ("target", "model", "prior")}
    about |= {"sampler": called("sampler", sampler), "steps": walker.steps, "device": str(engine.device)}
    about |= {} if isinstance(engine, Here) else {"workers": engine.size}
    about |= {"precision": given["precision"], "compile": given["compile"]}
    about |= {"command": given["command"]} if given["command"] else {}
    kind = medium.of(cast(Generator, net.generator))
    settings = deciding(config) | ({} if folder is None else contents(given | {"condition": condition}, net))
    judged = isinstance(kind, medium.Pictures)
    opinion = SecondOpinion.of(given["judge"], made, net, where) if judged else None
    ranked = given["rank"] if given["best"] is not None else None
    if ranked == "judge" and opinion is None:
        raise InputError("best= is ranked by a judge, and none knows what is asked for; use rank=realism")
    realism = second_opinion.realism(net) if ranked == "realism" else None
    shown = {key: given[key] for key in ("best", "rank", "labels", "threshold", "scale")}
    run = Run(folder, config, settings, made, about, kind, **shown, job=job, opinion=opinion, realism=realism)
    if folder is not None and room:
        _check_room(run, net, walker, len(seeds) * len(made), given["burn_in"], given["thin"])
    said("looking at the first pictures")
    targets = net.targets(made, walker, prior)
    if given["compile"]:
        _compile(net)
    chains = partial(
        run_chains,
        targets,
        walker,
        init=None if photo is None else _code(net, photo),
        burn_in=given["burn_in"],
        thin=given["thin"],
        tag=run.tag,
    )
    frames = Frames(given["animate_every"], kind.store) if animation else None
    walk = _Chains(chains, run, where, dtype, given["precision"] == "bfloat16", frames)
    names = [str(getattr(one, "name", None) or name) for one, name in zip(made, asked, strict=True)]
    watch = Watch(about["condition"], names, given["progress"])
    return _Plan(given, run, walk, watch, seeds, size, animation)


def _walk(plan: _Plan, engine: Engine) -> None:
    """Walk the chains that are left. Raises `KeyboardInterrupt` that says how much is finished."""
    run = plan.run
    with plan.watch:
        try:
            progress_.follower().begun(run)
            _draw(plan, engine)
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
    if plan.animation is not None and (frames := plan.walk.frames):
        images.animate(plan.animation, [_frame(run, moment) for moment in zip(*frames.batches, strict=True)])


def _frame(run: Run, moment: Sequence[tuple[Tensor, Tensor, float]]) -> Image.Image:
    """All chains at one moment, in batches: signals, log p and the share of the steps before it."""
    captions = None
    if run.labels:
        asked = [run.conditions[int(walked * len(run.conditions))] for _, _, walked in moment]
        said = ((one, value) for one, (_, log_p, _) in zip(asked, moment, strict=True) for value in log_p.tolist())
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


def _batch_size(value: Any, engine: Engine, seeds: int) -> int:
    if value == "auto":  # a batch for every worker, where there are few seeds
        return min(BATCH_SIZES.get(engine.device.type, 8), max(1, math.ceil(seeds / engine.size)))
    if type(value) is not int:
        raise InputError(f"cannot use 'batch_size={value}'; batch_size is a whole number, or auto")
    return arguments.whole("batch_size", value)


def _precision(name: str) -> torch.dtype:
    """That of weights and codes; lower precisions than float32 are left to autocast."""
    check_known("precision", name, PRECISIONS)
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
    check_known("rank", given["rank"], second_opinion.RANKS)
    if given["scale"] != "auto":
        arguments.whole("scale", given["scale"])
    if given["threshold"] is not None:
        arguments.share("threshold", given["threshold"])
    for key in ("resume", "shard", "export"):
        if given[key] and folder is None:
            raise InputError(f"{key}={given[key]} has no folder: give out=FOLDER")
    if given["export"] is not None:
        check_known("export", given["export"], shards.EXPORTS)
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


def _batches(plan: _Plan) -> list[Batch]:
    """What is left to walk: batches that stand unfinished in a file, as they were, and those of the other seeds."""
    run = plan.run
    if run.folder is not None and plan.given["resume"]:
        run.load_unfinished()
    done = run.elsewhere.union(run.walked)
    left = dict.fromkeys(seed for seed in plan.seeds if seed not in done)
    batches: list[Batch] = []
    for path, own in run.unfinished:
        if own and left.keys() >= set(own):
            batches.append(Batch(own, path.absolute()))
            for seed in own:
                del left[seed]
    return batches + _chunks(list(left), plan.batch_size)


def _chunks(seeds: Sequence[int], size: int) -> list[Batch]:
    return [Batch(tuple(seeds[i : i + size])) for i in range(0, len(seeds), size)]


def _draw(plan: _Plan, engine: Engine) -> None:
    """Have the chains of all batches walked, and store the samples of each. What the memory does not hold is halved.

    The files for a person to look at are written each time the samples have doubled.
    """
    run, watch, waiting = plan.run, plan.watch, deque(_batches(plan))
    if not waiting:
        return
    watch.total = sum(len(batch.seeds) for batch in waiting)
    places = {batch.chains for batch in waiting}
    losses, saved, last = _Losses(engine.size), 0, time.perf_counter()
    engine.hire(_maker(plan, engine), watch.tell)
    while waiting or engine.at_work:
        if not engine.at_work:
            last = time.perf_counter()
        while waiting and engine.free:
            engine.start(_placed(run, waiting.popleft(), places))
        for batch, said in sorted(engine.wait(), key=lambda one: isinstance(one[1], Exception)):  # finished ones first
            seen = watch.end(batch, len(batch.seeds) if batch and isinstance(said, Part) else 0)
            if isinstance(said, LostError):
                waiting.extendleft([batch] if losses.again(batch, seen, said) and batch else [])
                continue
            if isinstance(said, Exception) and not (batch and lacks_memory(said)):
                raise said
            assert batch is not None
            if isinstance(said, Part):
                run.add(said, time.perf_counter() - last)
                last, losses.idle = time.perf_counter(), 0
            else:
                waiting = deque(_halved(engine.device, [Batch(batch.seeds), *waiting], said))
                if plan.walk.frames:
                    plan.walk.frames.batches.pop()
            if batch.chains is not None:
                batch.chains.unlink(missing_ok=True)
                places.discard(batch.chains)
            if run.folder is not None and (waiting or engine.at_work) and len(run) >= max(1, 2 * saved):
                run.save()
                saved = len(run)
    if losses.given_up:
        raise InputError(f"{losses.given_up}; the others are done; resume=true goes on with the rest")


def _maker(plan: _Plan, engine: Engine) -> Callable[[str], Walk]:
    if isinstance(engine, Threads):
        walks = plan.walk.copies()
        return lambda _: next(walks)
    if isinstance(engine, Here):
        return lambda _: plan.walk
    return partial(_worker, dict(plan.given), plan.run.tag, files.versions())


def _placed(run: Run, batch: Batch, places: set[Path | None]) -> Batch:
    """A batch with a file for the state of its chains, if there is a folder, that is none of `places`."""
    if run.folder is None or batch.chains is not None:
        return batch
    path = next(path for path in (run.chains(number).absolute() for number in count()) if path not in places)
    path.unlink(missing_ok=True)
    places.add(path)
    return replace(batch, chains=path)


class _Losses:
    """Which batches lost their worker, and how often without getting further."""

    def __init__(self, workers: int) -> None:
        self.workers, self.idle = workers, 0  # those that ended without a batch since the last that was finished
        self.furthest: Counter[Batch] = Counter()
        self.tries: Counter[Batch] = Counter()
        self.given_up = ""

    def again(self, batch: Batch | None, seen: Seen | None, lost: LostError) -> bool:
        """Whether a batch is to be tried again, after so many steps. Raises `InputError` where no worker lives."""
        if batch is None:
            self.idle += 1
            if self.idle >= TRIES * self.workers:
                raise InputError(f"no worker stays alive: {lost}; resume=true goes on with the rest")
            return False
        step = seen.step if seen else 0
        self.tries[batch] = 1 if step > self.furthest[batch] else self.tries[batch] + 1
        self.furthest[batch] = max(step, self.furthest[batch])
        if again := self.tries[batch] < TRIES:
            tqdm.write(f"ppgn: {lost}; another goes on with its seeds", file=sys.stderr)
        else:
            self.given_up = f"seeds {', '.join(map(str, batch.seeds))}: {lost}, {TRIES} times"
        return again


def _halved(device: torch.device, batches: Sequence[Batch], error: Exception) -> list[Batch]:
    """The same seeds in batches half as large as the first. Raises `InputError` where that is a single one already."""
    size = len(batches[0].seeds)
    if size == 1:
        given = f"{device} has too little memory for one chain"
        raise InputError(f"{given}; use another device, or a smaller condition.network.size") from error
    half = f"{device} has too little memory for {size} chains at a time; going on with {size // 2}"
    tqdm.write(f"ppgn: {half}", file=sys.stderr)
    seeds = [seed for batch in batches if batch.chains is None for seed in batch.seeds]
    return [batch for batch in batches if batch.chains is not None] + _chunks(seeds, size // 2)


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
