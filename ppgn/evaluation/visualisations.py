"""Whether pictures of units tell what excites these units: networks that took no part answer in people's place."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor

from ppgn import arguments, folders
from ppgn.conditions.unit import Unit
from ppgn.errors import InputError, check_known
from ppgn.evaluation.judges import Panel, recognition
from ppgn.evaluation.kept import kept
from ppgn.evaluation.samples import CLASSES
from ppgn.evaluation.sources import Drawn, bar
from ppgn.evaluation.table import FILES, Table
from ppgn.evaluation.task import Task
from ppgn.evaluation.units import QUANTILE, pick
from ppgn.media import images
from ppgn.metrics import bootstrap, fidelity
from ppgn.metrics.bootstrap import Estimate
from ppgn.metrics.interpretability import likeness, machine_interpretability
from ppgn.metrics.look import look
from ppgn.model import PPGN
from ppgn.networks import labels
from ppgn.networks.network import Network
from ppgn.photographs import Photographs, square
from ppgn.visualize.facets import facets
from ppgn.visualize.maximization import maximize, methods
from ppgn.visualize.pictures import Pictures
from ppgn.visualize.subject import inner, subject
from ppgn.visualize.subject import units as units_of

SYSTEMS = ("ppgn", "facets", "maco", "lucid", "pixels")
KNOWN = ("facets", "ppgn", "dgn_am", *methods())
PHOTOGRAPHS = (1, 2, 9)
HIGHEST = 60  # photographs whose facets are sought
OCCLUDED = 10  # photographs of a unit of which parts are covered
SQUARE, PLACES = 0.4, 3  # side of the grey square in sides of the photograph, places an axis
Look = Callable[[Tensor], Tensor]  # pictures uint8 (N, 3, S, S) -> what is said of each, (N, ...)


@folders.results(*FILES)
def visualisations(
    model: Any = "natural64",
    layers: Sequence[str] = ("blocks.5.0.bn1", "bn2"),  # of the condition's network, behind a rectifier
    data: Any = None,
    *,
    count: int = 50,  # units, picked at random among those that some photographs excite, the same every time
    condition: Any = "unit",  # the network that they are units of; its layer, target and position are set here
    position: Any = "mean",  # at which activations are read: center, [y,x], class, mean or max
    systems: Sequence[str] = SYSTEMS,  # facets, or what `ppgn maximize` has as method=
    seeds: Any = "0-1",  # as many pictures of each unit as there are; they go on counting from unit to unit
    evaluations: int = 64,  # looks of the network at each picture, the same for all systems
    side: int = 128,  # of the pictures in pixels; those of ppgn and facets are the model's
    queries: int = 20,  # photographs that excite a unit most, and as many of those that do not
    others: Any = None,  # a further folder of photographs, from which queries are taken too
    classes: Sequence[str | int] = CLASSES[::2],  # of which each system draws a picture, for the judges
    # ImageNet classifiers that are asked for the class
    judges: Sequence[str] = ("efficientnet_lite0", "efficientnet_lite2"),
    **options: Any,  # the fields of Task
) -> Table:
    """Pictures of random units as explanations, beside the photographs that excite them most, and random ones.

    Of 2n photographs every second one may be a query, the others explain. Rows have "bottom" and "median", how often
    features of EfficientNet-Lite2 tell `queries` that excite a unit most from those at the bottom and in the middle, by
    their likeness to the unit's pictures, chance being 0.5; the same of the `others`; "occlusion", how often they tell
    which of two grey squares on a photograph takes more of the activation away; "above", the share of pictures beyond
    the 99th percentile of photographs; "kid" to these; and in how many pictures of classes each judge finds the class
    among its 1 and 5 best. Rows "ppgn - NAME" are paired differences, whose one-sided p evaluation.json tells.

    Pictures are judged at 64 px, their activations taken as drawn. In `out`, drawn/ keeps these and what was said of
    photographs: the same settings, with overwrite=true where there is a table already, go on from there. Intervals are
    over units. Raises `InputError`. Sources: `ppgn.metrics.interpretability`; occlusions: Zimmermann et al. 2021 (arXiv
    2106.12447).
    """
    for name in {"sampler", "prior", "steps"} & options.keys():
        raise InputError(f"{name}= cannot be used here: each system has its own; leave it out")
    task = Task(model=model, data=data, condition=condition, seeds=seeds, **options)
    for name in systems:
        check_known("system", name, KNOWN)
    for name, value, least in (("evaluations", evaluations, 2), ("side", side, 32), ("queries", queries, 1)):
        arguments.whole(name, value, least)
    more = {"position": position, "evaluations": evaluations, "side": side, "queries": queries, "classes": classes}
    more |= {"judges": judges, "others": None if others is None else str(others)}
    table = task.begin("visualisations", layers=layers, count=count, systems=systems, **more)
    elsewhere = None if others is None else Photographs.find(others)
    drawer = task.load()
    (within,) = task.conditions([0], layer=layers[0], position=position)
    net = inner(cast(Unit, within))
    recognised = Recognised(task, net, classes, judges)
    every = task.spread(2 * task.n, drawer)
    asked, shown = every[::2], every[1::2]
    readers = {layer: Reader.of(task, table, net, layer, position) for layer in layers}
    units = excited(readers, asked, count, queries, table.about)
    exam = Exam(task, table, readers, units, asked, shown, queries)
    if elsewhere is not None:
        exam.ask("other ", elsewhere.spread(min(task.n, len(elsewhere)), asked.shape[-1]))
    draw = Draw(net, drawer, position, {"evaluations": evaluations, "side": side})
    for name in systems:
        kept, per_unit = Kept(table.out, table.about, name), []
        with bar(task.progress, count, name, "unit") as steps:
            for row, unit in enumerate(units):
                chains = [seed + row * len(task.seed_list) for seed in task.seed_list]
                best = exam.best[row, :HIGHEST].tolist()
                near = Pictures(task.photographs.root, shown[best], [f"{place}" for place in best])
                one = partial(draw, name, unit.index, unit.layer, chains, near)
                per_unit.append(kept.get(f"{unit.layer}-{unit.index}", chains, one))
                steps.update()
        exam.add(name, torch.stack(per_unit), recognised.by(name, kept, draw))
    for each in PHOTOGRAPHS:
        classed = recognised.photographs(asked.shape[-1]) if each == 1 else {}
        exam.add(f"photographs {each}", shown[exam.best[:, :each]], classed)
    random = torch.randint(task.n, (count, len(task.seed_list)), generator=torch.Generator().manual_seed(0))
    exam.add("random", shown[random], {})
    for name in exam.said if "ppgn" in systems else ():
        if name not in ("ppgn", "random"):
            exam.compare("ppgn", name)
    return table


@dataclass(frozen=True)
class Reader:
    """What all units of a layer, of which `unit` is one, give for pictures uint8 (N, 3, S, S), (N, units)."""

    unit: Unit
    every: Look

    @staticmethod
    def of(task: Task, table: Table, net: Network, layer: str, position: Any) -> Reader:
        """Of a layer of a network at a position. Raises `InputError`."""
        (unit,) = units_of(net, layer, 0, position, task.where)
        every = partial(look, unit.activations, like=net.preprocessing.gain, batch_size=task.batch_size)
        settings = {"condition": table.about["settings"]["condition"], "position": position}
        return Reader(unit, remembered(every, table.out, layer, settings))


def excited(
    readers: Mapping[str, Reader], photographs: Tensor, count: int, queries: int, about: dict[str, Any]
) -> list[Unit]:
    """`count` random units, always the same, that `queries` photographs excite more than the middle one does.

    `about` is told of how many of each layer that is true. Raises `InputError` for too few.
    """
    if len(photographs) < 3 * queries:
        given = f"queries={queries}: too few photographs by n={len(photographs)}"
        raise InputError(f"{given}; give n={3 * queries} or more")
    found: dict[str, list[int]] = {}
    for layer, reader in readers.items():
        values = reader.every(photographs)
        least = values.topk(queries, dim=0).values[-1]
        found[layer] = (least > values.median(0).values).nonzero()[:, 0].tolist()
        about.setdefault("excited", {})[layer] = f"{len(found[layer])} of {values.shape[1]} units"
    picked = pick({layer: len(numbers) for layer, numbers in found.items()}, count)
    return [readers[layer].unit.with_target(found[layer][row]).eval() for layer, row in picked]


class Exam:
    """Units, photographs that ask about them and others that explain them; it fills a table with pictures of these.

    asked, shown: uint8 (N, 3, S, S). `best` are the places in `shown` of those that excite a unit most, (C, N).
    """

    def __init__(
        self,
        task: Task,
        table: Table,
        readers: Mapping[str, Reader],
        units: Sequence[Unit],
        asked: Tensor,
        shown: Tensor,
        queries: int,
    ) -> None:
        self.table, self.readers, self.units, self.side = table, readers, units, asked.shape[-1]
        self.features = remembered(task.features(), table.out, "features", fidelity.NETWORK)
        self.panel = Panel(units, lambda *_: {}, cast(fidelity.Features, self.features), asked)
        self.quiz = Quiz(self.features(shown).mean(0), queries)
        self.ask("", asked)
        self.quiz.occlude([self.of_unit(unit) for unit in units], asked, self.activations(asked), self.features)
        values = self.activations(shown)
        self.limits = values.quantile(QUANTILE, dim=1)
        self.best = values.argsort(dim=1, descending=True, stable=True)
        self.said: dict[str, dict[str, Tensor]] = {}  # by row of the table and figure, of every unit
        self.seen: dict[str, Tensor] = {}  # by row of the table the features of its pictures

    def of_unit(self, unit: Unit) -> Look:
        """What a unit gives for pictures (N, 3, S, S), (N,)."""
        return lambda pictures: self.readers[unit.layer].every(pictures)[:, unit.index].double()

    def activations(self, pictures: Tensor) -> Tensor:
        """Of every unit by pictures (N, 3, S, S), (C, N)."""
        values = {layer: reader.every(pictures) for layer, reader in self.readers.items()}
        return torch.stack([values[unit.layer][:, unit.index] for unit in self.units]).double()

    def ask(self, prefix: str, photographs: Tensor) -> None:
        """Which of these excite a unit, too."""
        self.quiz.ask(prefix, self.features(photographs), self.activations(photographs))

    def add(self, name: str, pictures: Tensor, classed: Mapping[str, Estimate | None]) -> None:
        """The row of pictures (C, K, 3, S, S)."""
        count, each = pictures.shape[:2]
        targets = torch.arange(count).repeat_interleave(each)
        drawn = Drawn(square(pictures.flatten(0, 1), self.side), targets)
        self.seen[name] = self.features(drawn.pictures)
        own = self.activations(pictures.flatten(0, 1)).view(count, count, each).diagonal().T
        said = self.quiz.answers(self.seen[name].view(count, each, -1))
        said["above"] = (own > self.limits[:, None]).double().mean(1)
        self.said[name] = said
        values = {key: value.repeat_interleave(each) for key, value in said.items()}
        figures = {**self.panel.figures(drawn, [*values, "kid"], values), **classed}
        rows = zip(self.units, *(value.tolist() for value in said.values()), strict=True)
        facts = [{"unit": f"{unit.layer} {unit.index}", **dict(zip(said, row, strict=True))} for unit, *row in rows]
        sheet = images.grid(drawn.pictures, columns=each * max(1, 10 // each))
        self.table.add(name, figures, {f"grid_{name.replace(' ', '_')}": sheet}, units=facts)

    def compare(self, one: str, other: str) -> None:
        """The row of paired differences of two rows."""
        weights = bootstrap.draws(len(self.units))
        apart = {key: value - self.said[other][key] for key, value in self.said[one].items()}
        figures = {key: bootstrap.mean(value, weights) for key, value in apart.items()}
        distances = [fidelity.kernel_distance(self.seen[name], self.panel.real) for name in (one, other)]
        each = [len(self.seen[name]) // len(self.units) for name in (one, other)]

        def further(rows: Tensor) -> Tensor:
            real = rows.new_ones(len(rows), len(self.panel.real))
            a, b = (far(rows.repeat_interleave(k, 1), real) for far, k in zip(distances, each, strict=True))
            return a - b

        figures["kid"] = bootstrap.estimate(further, weights, centred=True)
        p = {key: bootstrap.beyond_chance(value) for key, value in apart.items()}
        self.table.add(f"{one} - {other}", figures, p=p)


class Quiz:
    """Questions about units, and how often pictures of them lead to the right answers.

    `centre`, (D,): the mean features of photographs. Answers are by unit, (C,).
    """

    def __init__(self, centre: Tensor, count: int) -> None:
        self.centre, self.count = centre, count
        # Of each question the features of what excites a unit more and of what does so less, (C, Q, D) each, and
        # whether each of the one goes with one of the other, or with all.
        self.questions: dict[str, tuple[Tensor, Tensor, bool]] = {}

    def ask(self, prefix: str, features: Tensor, values: Tensor) -> None:
        """Which photographs excite a unit: features (N, D) and activations (C, N) of these."""
        ranks = ranked(values, self.count)
        for name in ("bottom", "median"):
            self.questions[prefix + name] = features[ranks["high"]], features[ranks[name]], False

    def occlude(self, units: Sequence[Look], pictures: Tensor, values: Tensor, features: Look) -> None:
        """Which of two grey squares on a photograph that excites a unit takes more of that away.

        units: what each gives for pictures, (N,); `values` (C, N) are those of `pictures`.
        """
        less, more = [], []
        for unit, row in zip(units, ranked(values, OCCLUDED)["high"], strict=True):
            covered = occluded(pictures[row])
            found = unit(covered.flatten(0, 1)).view(covered.shape[:2])
            places = torch.arange(len(covered))
            less.append(covered[places, found.argmax(1)])
            more.append(covered[places, found.argmin(1)])
        shape = (len(units), len(less[0]), -1)
        self.questions["occlusion"] = features(torch.cat(less)).view(shape), features(torch.cat(more)).view(shape), True

    def answers(self, shown: Tensor) -> dict[str, Tensor]:
        """By question how often features (C, K, D) of the pictures of each unit lead to the right answer, (C,)."""
        found: dict[str, Tensor] = {}
        for name, (more, less, paired) in self.questions.items():
            shares = []
            for high, low, pictures in zip(more, less, shown, strict=True):
                a, b = (likeness(x, pictures, self.centre) for x in (high, low))
                rows = zip(a.split(1), b.split(1), strict=True) if paired else [(a, b)]
                shares.append(torch.stack([machine_interpretability(x, y) for x, y in rows]).mean())
            found[name] = torch.stack(shares)
        return found


def ranked(values: Tensor, count: int) -> dict[str, Tensor]:
    """Activations (C, N) -> places of the `count` highest, of those in the middle and of the lowest, (C, count) each.

    Where many are alike, as behind a rectifier at 0, the first in order count as the higher ones.
    """
    order = values.argsort(dim=1, descending=True, stable=True)
    middle = (values.shape[1] - count) // 2
    return {"high": order[:, :count], "median": order[:, middle : middle + count], "bottom": order[:, -count:]}


def occluded(pictures: Tensor) -> Tensor:
    """uint8 (N, 3, S, S) -> each with a grey square at every one of the places, (N, places, 3, S, S)."""
    side = pictures.shape[-1]
    square = round(SQUARE * side)
    ends = torch.linspace(0, side - square, PLACES).round().int().tolist()
    found = pictures[:, None].repeat(1, PLACES**2, 1, 1, 1)
    for place, (y, x) in enumerate((y, x) for y in ends for x in ends):
        found[:, place, :, y : y + square, x : x + square] = 128
    return found


@dataclass(frozen=True)
class Draw:
    """Draws units of a network, or classes; `cost` has the evaluations of a picture, and its side."""

    net: Network
    drawer: PPGN
    position: Any
    cost: Mapping[str, Any]

    def __call__(
        self, system: str, number: int, layer: str | None, seeds: Sequence[int], near: Pictures | None = None
    ) -> Tensor:
        """Pictures, one a seed, uint8 (K, 3, S, S); as many facets are those of photographs `near`, by one seed."""
        words: dict[str, Any] = {"network": self.net, "device": self.drawer.device}
        words |= {} if layer is None else {"layer": layer, "position": self.position}
        if system != "facets":
            return maximize(number, method=[system], seeds=seeds, model=self.drawer, **words, **self.cost).drawn[system]
        chain: dict[str, Any] = {"steps": self.cost["evaluations"] - 1, "strength": 1.0, "seeds": seeds[:1]}
        chain |= {"model": self.drawer, "device": self.drawer.device}
        found = facets(number, near, condition=subject(number, **words).condition, k=len(seeds), **chain)
        return found.images.flatten(0, 1)


@dataclass(frozen=True)
class Kept:
    """What a system has drawn, kept in `out`/drawn, and drawn again where it was drawn otherwise."""

    out: Path | None
    about: Mapping[str, Any]
    system: str

    def get(self, name: str, seeds: Sequence[int], draw: Callable[[], Tensor]) -> Tensor:
        """The pictures of a unit or class by `name`."""
        facts = self.about["settings"] | {key: self.about[key] for key in ("model", "data")}
        by = ("condition", "position", "evaluations", "side", "model", *(("data", "n") * (self.system == "facets")))
        return _kept(self.out, f"{self.system}-{name}", {key: facts[key] for key in by} | {"seeds": [*seeds]}, draw)


def remembered(ask: Look, out: Path | None, name: str, settings: Any) -> Look:
    """`ask`, whose answers for pictures are kept in `out`/drawn by a digest of these."""

    def answer(pictures: Tensor) -> Tensor:
        digest = hashlib.sha256(pictures.contiguous().numpy().tobytes()).hexdigest()
        return _kept(out, f"{name}-{digest[:16]}", [settings, digest, [*pictures.shape]], lambda: ask(pictures))

    return answer


def _kept(out: Path | None, name: str, settings: Any, make: Callable[[], Tensor]) -> Tensor:
    """A tensor that was made with these settings, or is made now, and kept in `out`/drawn."""
    return kept(out, name, settings, lambda: {"pictures": make()})["pictures"]


class Recognised:
    """In how many pictures of classes judges find the class; nothing where the network's classes are not ImageNet's."""

    def __init__(self, task: Task, net: Network, classes: Sequence[str | int], judges: Sequence[str]) -> None:
        self.task, self.judges = task, {name: task.classifier(name) for name in judges}
        known = judges and tuple(net.labels or ()) == labels.imagenet()
        self.classes = [labels.find(net.labels, one, net.classes) for one in classes] if known else []

    def by(self, system: str, kept: Kept, draw: Callable[..., Tensor]) -> dict[str, Estimate | None]:
        """Figures of a picture of each class by a system; none of facets, which are those of units."""
        if system == "facets" or not self.classes:
            return {}
        drawn = []
        with bar(self.task.progress, len(self.classes), f"{system} classes", "class") as steps:
            for row, index in enumerate(self.classes):
                chains = [self.task.seed_list[0] + row]
                drawn.append(kept.get(f"class-{index}", chains, partial(draw, system, index, None, chains)))
                steps.update()
        return self.judged(torch.cat(drawn), self.classes)

    def photographs(self, side: int) -> dict[str, Estimate | None]:
        """Figures of a photograph of each class that the data have."""
        found = self.task.photographs.of_classes(self.classes, 1, side, apart=2 * self.task.n)
        return self.judged(torch.cat([*found.values()]), [*found]) if found else {}

    def judged(self, pictures: Tensor, classes: Sequence[int]) -> dict[str, Estimate | None]:
        """Figures of pictures (N, 3, S, S) of classes."""
        figures: dict[str, Estimate | None] = {}
        for name, judge in self.judges.items():
            if judge.labels == labels.imagenet():
                found = recognition(judge, classes)(pictures, torch.arange(len(classes)))
                figures |= {f"{name} {key}": bootstrap.mean(value) for key, value in found.items()}
        return figures
