"""`evolve`: a whole search at once, by functions, by a condition whose gradient is not used, or through files."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

from ppgn import arguments, building, files, folders, paths
from ppgn.conditions import words
from ppgn.errors import InputError, first_line
from ppgn.media import images, medium
from ppgn.search import pareto
from ppgn.search.exchange import Exchange
from ppgn.search.searching import Search

STATE, REPORT = "search.safetensors", "search.json"
SHOWN = 48  # pictures of grid.png: the best of as many generations, spread evenly


def evolve(
    # -- what scores the pictures: one of three --
    # file.py:function or module:function, called with pictures (B, 3, H, W) in [0, 1]; it gives a number for each, more
    # being better. Its gradient is not used. [a.py:f,b.py:g] are two scores at once, and a Pareto front
    score: Any = None,
    *,
    condition: Any = None,  # the network that judges, as for ppgn sample; its gradient is not used
    target: Any = None,  # what to ask of the condition, by name or by index
    # a folder for pictures out and scores in: generation-0000/0000.png, ... as soon as they are drawn; then the search
    # waits for scores.csv beside them, lines PICTURE,SCORE
    exchange: str | Path | None = None,
    timeout: float = 86400.0,  # seconds to wait for one scores.csv
    repeats: int = 1,  # how often a noisy score is asked about the same pictures; the mean counts
    # -- how the codes evolve --
    model: Any = "natural64",  # the generator: a name of `ppgn models`, a .safetensors file, a folder, hf:USER/NAME
    method: Any = "natural",  # the search sampler: natural is near photographs; cmaes, genetic, random are free
    prior: Any = None,  # what keeps the pictures natural; null is what suits the sampler
    generations: int = 50,  # in all, those of an earlier run among them
    population: int = 40,  # pictures of a generation
    sigma: float = 1.0,  # standard deviation of codes, by and large; they are signed. 3 suits fc6 of CaffeNet
    seed: int = 0,  # another seed is another search
    trust: Any = (),  # modules and files of code whose parts a checkpoint may name, as [mine,parts.py]
    # -- on which machine --
    batch_size: int = 8,  # pictures drawn and scored together
    device: Any = "auto",  # cpu, cuda or cuda:N; auto is the GPU if there is one
    progress: bool = False,
    # -- what comes out --
    out: Any = None,  # a folder; one run at a time works there
    overwrite: bool = False,  # true replaces the results of an earlier run in `out`
    resume: bool = False,  # true goes on where an earlier run in `out` stopped, however it stopped
) -> Search:
    """Let codes evolve for some generations, so that the pictures G draws of them score higher -> `Search`.

    score: also the callable itself, or a sequence of them. condition: also an object. method: also a mapping or an
        object (`ppgn.search.contract.SearchSampler`). out: search.safetensors (`Search.load`) is written there
        after every generation, search.json, best.png and grid.png at the end; without it nothing is written.

    Raises `InputError` for what cannot be used, for a score that gives no numbers, and where no scores come.
    """
    _check(locals())
    options: dict[str, Any] = {"prior": prior, "batch_size": batch_size, "device": device, "trust": trust}
    search = Search(model, method, population, seed, sigma=sigma, **options)
    folder = folders.of(out)
    with ExitStack() as held:
        held.enter_context(folders.alone(folder))
        if folder is not None:
            _take_over(search, folder, overwrite, resume)
        rig = None if exchange is None else held.enter_context(_rig(search, Path(exchange).expanduser(), folder))
        scores = [] if rig else _scores(score, condition, target, search)
        bar = held.enter_context(tqdm(total=generations, initial=search.generation, disable=not progress, unit="gen"))
        if folder is not None:
            held.callback(report, search, folder)  # after an interruption too
        while search.generation < generations:
            _, pictures = search.ask()
            if rig is not None:
                search.tell(_shown(rig, search, pictures, timeout, bar))
            else:
                search.tell(_measure(scores, pictures, repeats, batch_size))
            if folder is not None:
                search.save(folder / STATE)
            bar.update()
            bar.set_postfix_str("best " + " ".join(f"{value:.4g}" for value in search.best()[1][0].tolist()))
    return search


def _check(given: Mapping[str, Any]) -> None:
    """Raise `InputError` for numbers that cannot be used, and unless one thing scores."""
    for name in ("generations", "repeats", "batch_size"):
        arguments.whole(name, given[name])
    timeout, target = given["timeout"], given["target"]
    if isinstance(timeout, bool) or not isinstance(timeout, int | float) or not timeout > 0:
        raise InputError(f"timeout={timeout} cannot be used; expected seconds above 0")
    if sum(given[way] is not None for way in ("score", "condition", "exchange")) != 1:
        raise InputError("nothing scores: give one of score=file.py:function, condition=NAME, exchange=FOLDER")
    if target is not None and given["condition"] is None:
        raise InputError(f"target={target} says what to ask of a condition; a score takes none")


def _take_over(search: Search, folder: Path, overwrite: bool, resume: bool) -> None:
    """Go on with the search that `folder` holds, or begin anew. Raises `InputError` where it may not be replaced."""
    if not resume:
        found = [folder / name for name in (STATE, REPORT) if (folder / name).exists()]
        folders.check_free(found, overwrite, "resume=true to go on with it")
        (folder / STATE).unlink(missing_ok=True)
    elif (folder / STATE).is_file():
        search.load(folder / STATE)


@contextmanager
def _rig(search: Search, place: Path, out: Path | None) -> Iterator[Exchange]:
    """The folder where others score this search's pictures, locked; `out` is locked already."""
    own = out is not None and place.resolve() == out.resolve()
    with nullcontext() if own else folders.locked(place):
        yield Exchange(place, search.settings)


def _shown(rig: Exchange, search: Search, pictures: Tensor, timeout: float, bar: Any) -> Tensor:
    """The scores of pictures by who reads them in the rig's folder."""
    kind = medium.of(search.generator)
    rig.put(search.generation, kind.store(pictures), kind)
    bar.set_description(f"waiting in {rig.place(search.generation).name}")
    return rig.wait(search.generation, timeout)


def _scores(score: Any, condition: Any, target: Any, search: Search) -> list[Callable[[Tensor], Any]]:
    """What is asked about pictures."""
    if condition is not None:
        one = arguments.target(target, "a search is for one target")
        return list(words.conditions(condition, [one], device=search.model.device, dtype=search.model.dtype))
    listed = score if isinstance(score, Sequence) and not isinstance(score, str) else [score]
    found = [building.locate(one) if isinstance(one, str) else one for one in listed]
    found = [one() if isinstance(one, type) else one for one in found]
    for name, one in zip(listed, found, strict=True):
        if not callable(one):
            raise InputError(f"score={name} is a {type(one).__name__}, nothing to call; give file.py:function")
    if not found:
        raise InputError("score=[] is empty; give file.py:function")
    return found


@torch.no_grad()
def _measure(scores: Sequence[Callable[[Tensor], Any]], pictures: Tensor, repeats: int, batch_size: int) -> Tensor:
    """Pictures (N, 3, H, W) -> scores (N, K) float64, means over the repeats that did not fail."""

    def ask(one: Callable[[Tensor], Any], part: Tensor) -> Tensor:
        name = getattr(one, "__name__", type(one).__name__)
        try:
            said = torch.as_tensor(one(part), dtype=torch.float64).cpu()
        except InputError:
            raise
        except Exception as error:
            reason = first_line(error)
            raise InputError(f"score {name} fails on pictures {tuple(part.shape)} ({reason}); mend it") from error
        if said.dim() not in (1, 2) or len(said) != len(part):
            raise InputError(f"score {name} gives {tuple(said.shape)} for {len(part)} pictures; expected a number each")
        return said.view(len(part), -1).where(said.view(len(part), -1).isfinite(), torch.nan)

    def mean(one: Callable[[Tensor], Any], part: Tensor) -> Tensor:
        return torch.stack([ask(one, part) for _ in range(repeats)]).nanmean(0)

    return torch.cat([torch.cat([mean(one, part) for one in scores], dim=1) for part in pictures.split(batch_size)])


def report(search: Search, folder: Path) -> None:
    """Write search.json, best.png and grid.png of a search, if it was told anything."""
    if not search.generation:
        return
    kind, (codes, scores) = medium.of(search.generator), search.best(16)
    every = search.scores
    failed, most = ~every.isfinite().all(2), every.nan_to_num(-math.inf).amax(1)
    said = {
        "generations": search.generation,
        "evaluations": failed.numel(),
        "failed": int(failed.sum()),
        "best": scores.tolist(),
        "best_of_generation": [[value if math.isfinite(value) else None for value in row] for row in most.tolist()],
        "settings": search.settings,
        "versions": files.versions(),
    }
    kind.write(folder / "best", kind.store(search.draw(codes[:1]))[0])
    rows = torch.linspace(0, search.generation - 1, min(SHOWN, search.generation)).long()
    first = torch.stack([pareto.fitness(scores).nan_to_num(-math.inf).argmax() for scores in every[rows]])
    images.write(folder / "grid.png", images.grid(kind.show(kind.store(search.draw(search.codes[rows, first])))))
    paths.write(folder / REPORT, json.dumps(said, indent=1, allow_nan=False) + "\n")
