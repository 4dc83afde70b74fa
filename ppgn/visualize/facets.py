"""The facets of a target: groups of unlike pictures that it covers alike, each seen and drawn."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from PIL import Image
from torch import Tensor

import ppgn.model
from ppgn import arguments, files, folders
from ppgn.conditions import words
from ppgn.conditions.unit import Unit
from ppgn.contracts import Generator, Samples
from ppgn.drawn import describe
from ppgn.errors import InputError, check_known
from ppgn.media import images
from ppgn.networks.network import Network
from ppgn.photographs import Photographs
from ppgn.progress import Bar
from ppgn.samplers.noise import Noise
from ppgn.sampling import PHOTO_STRENGTH, enough_memory, walker_of
from ppgn.settings import as_config
from ppgn.visualize import embedding as embedded
from ppgn.visualize.multifaceted import Multifaceted
from ppgn.visualize.pictures import Look, Pictures, excerpts
from ppgn.visualize.pictures import drawings as drawn_by
from ppgn.visualize.subject import Subject

METHODS = ("ppgn", "mfv", "spread")
SCHEDULES = ("released", "linear")
SHOWN = 5  # pictures of a facet in its row of grid.png
FILES = ("facets.json", "samples.safetensors", "grid.png", "config.yaml")


@folders.results(*FILES)
def facets(
    # -- what to draw --
    target: Any,  # the class, unit or sentence whose kinds of pictures are drawn
    # a folder of pictures of it: files in it or below, or val_images.npy, uint8 (N, S, S, 3); spread needs none
    photographs: Any = None,
    *,
    condition: Any = "imagenet",  # the network that judges: one of a single network
    k: int = 10,  # facets
    nearest: int = 15,  # pictures nearest a facet's centre, whose mean code its chains start from
    layer: str | None = None,  # whose features are grouped; null is the last before the outputs
    embedding: str = "tsne",  # in which they are: tsne, umap (pip install umap-learn), opentsne (pip install openTSNE)
    # of a hidden unit: so many of the pictures, those that excite it most, cropped to what it sees
    highest: int = 300,
    # -- how they are drawn --
    # ppgn: chains from the mean code; mfv: gradient ascent from the mean picture, in pixels; spread: as ppgn, but the
    # pictures are chains without a start
    method: str = "ppgn",
    drawings: int = 100,  # of spread, chains without a start
    evaluations: int = 370,  # of mfv, looks of the network at an image, shared out to its phases
    schedule: str = "released",  # of mfv: as the published code ran, or linear
    side: int = 128,  # of mfv's images in pixels
    # -- how the chains walk --
    seeds: Any = "0-3",  # samples of each facet: 0-15, [1,4,9], 3 or 0-3,8,10-12
    model: Any = "natural64",  # the generator: a name that `ppgn models` lists or a path to a .safetensors file
    prior: Any = None,  # what keeps the images natural (mixture, joint, dae, gaussian); null is what suits the sampler
    # the kernel and its settings; null is what suits: anchored, which holds a chain to its start, or annealed where the
    # prior has no anchors
    sampler: Any = None,
    steps: int | None = None,  # null is the sampler's own number
    # how far to leave the mean code, above 0 to 1: the share of the steps that is walked, the last one
    strength: float = PHOTO_STRENGTH,
    trust: Any = (),  # modules and files of code whose parts a checkpoint may name, as [mine,parts.py]
    # -- on which machine --
    batch_size: int = 8,  # pictures or chains at a time
    device: Any = "auto",  # cpu, cuda or cuda:N; auto is the GPU if there is one
    progress: bool = False,
    # -- what comes out --
    out: Any = None,  # a folder; one run at a time works there
    overwrite: bool = False,  # true replaces the results of an earlier run in `out`
) -> Facets:
    """Group pictures of a target by its network's features and draw each group, an image a seed -> `Facets`.

    photographs: a folder, several, `ppgn.photographs.Photographs` or `ppgn.visualize.pictures.Pictures`; of a hidden
    unit (`conditions.unit.Unit`) those that excite it most are cropped to its receptive field. out: files are written
    there at the end; without it nothing is written until `Facets.save`. progress: bars on stderr. The others are as in
    `ppgn.sampling.sample`.

    Raises `InputError` for what cannot be used, and where scikit-learn or the embedding's library is not installed.
    Source: Multifaceted Feature Visualization (Nguyen et al. 2016, arXiv 1602.03616), algorithm 1, whose drawing is
    method=mfv, from mean images.
    """
    given = dict(locals())
    wanted = _check(given)
    where, chains = arguments.device(device), arguments.seeds(seeds)
    share = arguments.share("strength", strength)
    walker_of(ppgn.model.named(sampler, "anchored"), steps, share)  # refused before anything is loaded
    natural = _natural(photographs, method)
    (made,) = words.conditions(condition, [wanted], device=where, dtype=torch.float32)
    network = _network(made)
    net = ppgn.model.load(model, where, trust)
    sampler = net.suited(sampler, prior)
    walker = walker_of(sampler, steps, strength)
    chosen = net.choose_prior(prior, walker)
    bar = partial(Bar, disable=not progress)
    draw = partial(net.sample, made, prior=chosen, batch_size=batch_size)
    with enough_memory(where, batch_size):
        pictures = natural or drawn_by(draw, drawings, sampler=walker_of(sampler, steps, 1.0))
        if natural is not None and type(made) is Unit:
            look = Look(network, made.layer, natural, range(len(natural)), where)
            pictures = excerpts(look, made.index, highest, batch_size, bar)
    config = as_config(given, net, walker, chosen, sampler, condition) | {"photographs": pictures.root}
    layer = layer or penultimate(network)
    parts = torch.arange(len(pictures)).split(batch_size)
    read = (pictures.take(rows.tolist(), network.side).to(where) / 255 for rows in bar(parts, desc="pictures"))
    found = find(features(network, read, layer), k, nearest, embedding=embedding)
    seen = side if method == "mfv" else cast(Generator, net.generator).signal_shape[-1]
    near = [pictures.take(facet.nearest, seen) for facet in found]

    def drawn(some: Tensor) -> Samples:
        x = some.to(where) / 255
        with enough_memory(where, batch_size):
            if method == "mfv":
                return _climbed(made, x.mean(0, keepdim=True), chains, batch_size, evaluations, schedule)
            return draw(chains, sampler=walker, init=net.encode(x).mean(0, keepdim=True))

    samples = [drawn(some) for some in bar(near, desc="facets")]
    said = [describe(made, part.images) for part in samples]
    names = [[pictures.name(row) for row in facet.nearest] for facet in found]
    return Facets(folders.of(out), config, layer, found, near, Samples.concatenate(samples), names, said)


def _check(given: Mapping[str, Any]) -> str | int | None:
    """The target. Raises `InputError` for several, and for words and numbers that cannot be used."""
    embedded.check(given["embedding"])
    wanted = arguments.target(given["target"], "facets are those of one target")
    for name in ("k", "nearest", "highest", "drawings", "evaluations", "side", "batch_size"):
        arguments.whole(name, given[name])
    for name, known in (("method", METHODS), ("schedule", SCHEDULES)):
        check_known(name, given[name], known)
    return wanted


def _natural(photographs: Any, method: str) -> Photographs | Pictures | None:
    """Where facets are sought; None where pictures have to be drawn for it. Raises `InputError` for what is missing."""
    if method == "spread":
        return None
    if photographs is None:
        raise InputError("images is missing: add images=FOLDER, or method=spread, which needs none")
    return photographs if isinstance(photographs, Pictures) else Photographs.find(photographs)


def _climbed(
    made: Any, start: Tensor, seeds: Sequence[int], batch_size: int, evaluations: int, schedule: Any
) -> Samples:
    """Images that excite a class or unit, climbed to from a mean picture (1, 3, S, S), one a seed."""
    parts, side = [], start.shape[-1]
    for batch in (seeds[i : i + batch_size] for i in range(0, len(seeds), batch_size)):
        climb = Multifaceted(start.expand(len(batch), -1, -1, -1), schedule)
        parts.append(climb(Subject(made, ""), Noise(batch, start.device), side, evaluations, lambda looks: None).cpu())
    found = images.to_uint8(torch.cat(parts))
    log_prob = torch.tensor([row["log_prob"] for row in describe(made, found)])
    count = len(found)
    return Samples(found, torch.empty(count, 0), log_prob, tuple(seeds), (0,) * count, (evaluations,) * count)


@dataclass(frozen=True)
class Facet:
    """A cluster of pictures, by their rows."""

    members: tuple[int, ...]
    nearest: tuple[int, ...]  # those nearest the centroid, nearest first


@dataclass(frozen=True, repr=False)
class Facets(folders.Results):
    """The facets of a target, the largest first; `save` writes grid.png, facets.json, samples.safetensors, config.yaml.

    `pictures` are the nearest of each, uint8 (N, 3, S, S), `names` where they lie; `samples` are those of all facets,
    one facet after another, `said` what the condition says of them.
    """

    files, reported = FILES, FILES[0]

    layer: str | None
    found: Sequence[Facet]
    pictures: Sequence[Tensor]
    samples: Samples
    names: Sequence[Sequence[str]]
    said: Sequence[Sequence[Mapping[str, Any]]]

    def __len__(self) -> int:
        return len(self.found)

    def __repr__(self) -> str:
        count = sum(len(facet.members) for facet in self.found)
        return f"Facets({len(self)} of {count} pictures of {self.config['target']}, {len(self.samples)} samples)"

    @property
    def images(self) -> Tensor:
        """The samples, uint8 (facets, seeds, 3, H, W)."""
        return self.samples.images.view(len(self), -1, *self.samples.images.shape[1:])

    @property
    def codes(self) -> Tensor:
        """Their codes, (facets, seeds, *code_shape)."""
        return self.samples.codes.view(len(self), -1, *self.samples.codes.shape[1:])

    def grid(self) -> Image.Image:
        """A row per facet: pictures, a white gap, samples."""
        rows = []
        for near, part in zip(self.pictures, self.images, strict=True):
            blank = torch.full_like(part[:1], 255).expand(SHOWN + 1 - len(near[:SHOWN]), -1, -1, -1)
            rows.append(torch.cat([near[:SHOWN], blank, part]))
        return images.grid(torch.cat(rows), columns=len(rows[0]))

    def report(self) -> dict[str, Any]:
        """What facets.json says."""
        seeds = list(dict.fromkeys(self.samples.seeds))
        rows = []
        for facet, names, says in zip(self.found, self.names, self.said, strict=True):
            samples = [{"seed": seed, **said} for seed, said in zip(seeds, says, strict=True)]
            rows.append({"pictures": len(facet.members), "nearest": list(names), "samples": samples})
        head = {"target": self.config["target"], "layer": self.layer, "k": len(self), "seeds": seeds}
        return head | {"versions": files.versions(), "facets": rows}

    def write(self, place: Path) -> None:
        """Write grid.png and samples.safetensors."""
        samples = self.samples
        tensors = {"images": samples.images, "codes": samples.codes, "seeds": torch.tensor(samples.seeds)}
        tensors["facets"] = torch.arange(len(self)).repeat_interleave(len(samples) // len(self))
        files.save(place / "samples.safetensors", tensors, "ppgn-facets-1")
        images.write(place / "grid.png", self.grid())


def _network(condition: Any) -> Network:
    """What a condition looks through. Raises `InputError` where that is not one network."""
    network = getattr(condition, "network", None)
    if not isinstance(network, Network):
        raise InputError("facets are those of a single network; give condition=imagenet, places, torchscript or unit")
    inner = getattr(network.body, "network", network)  # a unit's network is inside
    return inner if isinstance(inner, Network) else network


def penultimate(network: Network) -> str | None:
    """The last layer before the outputs, by name; None for a network whose layers cannot be read."""
    shapes = network.layer_shapes()
    return next((name for name, shape in reversed(shapes.items()) if shape[0] != network.classes), None)


@torch.no_grad()
def features(network: Network, batches: Iterable[Tensor], layer: str | None = None) -> Tensor:
    """Images (B, 3, H, W) in [0, 1], batch by batch -> activations (N, D) of a layer, averaged over positions.

    Without `layer` they are those of the network's outputs. Raises `InputError` for an unknown layer.
    """
    read = [network(images) if layer is None else network.features(images, [layer])[layer] for images in batches]
    return torch.cat([values.flatten(2).mean(2) if values.dim() > 2 else values for values in read])


def find(features: Tensor, k: int = 10, nearest: int = 15, seed: int = 0, embedding: str = "tsne") -> list[Facet]:
    """Features (N, D) -> `k` facets, the largest first, each with its up to `nearest` rows next to the centroid.

    Those of k-means in the plane of `ppgn.visualize.embedding.embed`. Raises `InputError` below 2k pictures, for an
    unknown embedding and without its library.
    """
    embedded.check(embedding)
    count = len(features)
    if k < 1 or nearest < 1 or count < max(2 * k, 4):
        raise InputError(f"{count} pictures for k={k} facets; expected {max(2 * k, 4)} or more, or a smaller k")
    return clusters(embedded.embed(features, embedding, seed), k, nearest, seed)


def clusters(points: np.ndarray, k: int, nearest: int, seed: int = 0) -> list[Facet]:
    """Points (N, D) -> their `k` clusters of k-means as facets, the largest first."""
    from sklearn.cluster import KMeans

    means = KMeans(k, n_init=10, random_state=seed).fit(points)
    distance = ((points - means.cluster_centers_[means.labels_]) ** 2).sum(1)
    found = []
    for cluster in range(k):
        members = np.flatnonzero(means.labels_ == cluster).tolist()
        found.append(Facet(tuple(members), tuple(sorted(members, key=lambda row: float(distance[row]))[:nearest])))
    return sorted(found, key=lambda facet: -len(facet.members))
