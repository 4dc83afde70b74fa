"""`ppgn facets`: what unlike pictures a unit answers to alike, each kind seen and drawn."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import safetensors.torch
import torch
from omegaconf import DictConfig, OmegaConf
from PIL import Image
from torch import Tensor
from tqdm import tqdm

import ppgn.model
from ppgn import facets, paths
from ppgn.cli import config as configs
from ppgn.cli.results import describe
from ppgn.cli.sample import build_conditions, enough_memory, read_device, read_targets
from ppgn.contracts import Generator, Samples
from ppgn.errors import InputError, unknown
from ppgn.facets import Facet
from ppgn.media import images
from ppgn.networks.network import Network
from ppgn.samplers.sampler import Sampler

SHOWN = 5  # pictures of a facet in its row of grid.png


@dataclass(frozen=True)
class Request:
    """The command line of `ppgn facets`, checked as far as it can be without a network."""

    config: DictConfig
    target: str | int
    files: tuple[Path, ...]
    k: int
    nearest: int
    layer: str | None
    seeds: tuple[int, ...]
    prior: str
    steps: int | None
    batch_size: int
    device: torch.device
    out: Path

    @staticmethod
    def read(words: Sequence[str]) -> Request:
        """Check `words`, key=value each. Raises `InputError`."""
        config, options = configs.compose("facets", words)
        target, *more = read_targets(config, "target")
        if more:
            raise InputError(f"target={[target, *more]} cannot be used; facets are those of one target")
        name = re.sub(r"\W+", "-", f"{options['condition']}-{target}".lower()).strip("-")
        return Request(
            config=config,
            target=target,
            files=_files(Path(str(config.images)).expanduser()),
            k=configs.whole(config, "k", least=1),
            nearest=configs.whole(config, "nearest", least=1),
            layer=None if config.layer is None else str(config.layer),
            seeds=configs.seeds(config.seeds),
            prior=str(config.prior),
            steps=None if config.steps is None else configs.whole(config, "steps", least=1),
            batch_size=configs.whole(config, "batch_size", least=1),
            device=read_device(str(config.device)),
            out=Path(str(config.out or Path("outputs") / f"facets-{name}")).expanduser(),
        )


def _files(folder: Path) -> tuple[Path, ...]:
    """The picture files in a folder and below, sorted. Raises `InputError` where there are none."""
    if not folder.is_dir():
        raise InputError(f"no folder '{folder}'; give one with pictures of the target: images=FOLDER")
    suffixes = Image.registered_extensions().keys()
    files = tuple(sorted(path for path in folder.rglob("*") if path.suffix.lower() in suffixes))
    if not files:
        raise InputError(f"no pictures in '{folder}'; give another images=FOLDER")
    return files


def main(words: Sequence[str]) -> int:
    """Run `ppgn facets` with `words`, key=value each -> exit status 0. Raises `InputError`."""
    request = Request.read(words)
    sampler: Sampler = configs.build(request.config.sampler)
    (condition,) = build_conditions(request.config.condition, [request.target], request.device, torch.float32)
    network = _network(condition)
    model = ppgn.model.load(str(request.config.model), request.device)
    if request.prior not in model.priors:
        raise unknown("prior", request.prior, model.priors.keys())
    size = cast("Generator", model.generator).signal_shape[1]
    paths.check_writable(request.out, 10_000_000)

    layer = request.layer or facets.penultimate(network)
    seen = facets.features(network, _batches(request, network.preprocessing.size or 224), layer)
    found = facets.find(seen, request.k, request.nearest)
    drawn: list[Samples] = []
    shown: list[Tensor] = []
    for facet in tqdm(found, desc="facets", unit="facet"):
        near = torch.stack([images.fit(images.read(request.files[row]), (size, size)) for row in facet.nearest])
        code = model.encode(near.to(request.device)).mean(0, keepdim=True)
        with enough_memory(request.device, request.batch_size):
            drawn.append(
                model.sample(
                    condition,
                    request.seeds,
                    sampler=sampler,
                    prior=request.prior,
                    steps=request.steps,
                    init=code,
                    batch_size=request.batch_size,
                )
            )
        shown.append(images.to_uint8(near[:SHOWN]))
    _save(request, layer, found, drawn, shown, [describe(condition, samples.images) for samples in drawn])
    print(f"{len(found)} facets of {len(request.files)} pictures -> {request.out}")
    return 0


def _network(condition: Any) -> Network:
    """What a condition looks through. Raises `InputError` where that is not one network."""
    network = getattr(condition, "network", None)
    if not isinstance(network, Network):
        raise InputError("facets are those of a single network; give condition=imagenet, places, torchscript or unit")
    inner = getattr(network.body, "network", network)  # a unit's network is inside
    return inner if isinstance(inner, Network) else network


def _batches(request: Request, size: int) -> Iterator[Tensor]:
    """The pictures, (B, 3, size, size)."""
    for start in tqdm(range(0, len(request.files), request.batch_size), desc="pictures", unit="batch"):
        files = request.files[start : start + request.batch_size]
        yield torch.stack([images.fit(images.read(file), (size, size)) for file in files]).to(request.device)


def _save(
    request: Request,
    layer: str | None,
    found: Sequence[Facet],
    drawn: Sequence[Samples],
    shown: Sequence[Tensor],
    described: Sequence[Sequence[dict[str, Any]]],
) -> None:
    """Write grid.png, samples.safetensors, facets.json and config.yaml."""
    samples = Samples.concatenate(drawn)
    rows = [
        {
            "pictures": len(facet.members),
            "nearest": [str(request.files[row]) for row in facet.nearest],
            "samples": [{"seed": seed, **said} for seed, said in zip(part.seeds, says, strict=True)],
        }
        for facet, part, says in zip(found, drawn, described, strict=True)
    ]
    report = {"target": request.target, "layer": layer, "k": request.k, "seeds": list(request.seeds), "facets": rows}
    tensors = {"images": samples.images.contiguous(), "codes": samples.codes.contiguous()}
    tensors["seeds"] = torch.tensor(samples.seeds)
    tensors["facets"] = torch.arange(len(found)).repeat_interleave(len(request.seeds))
    paths.write(request.out / "config.yaml", OmegaConf.to_yaml(request.config))
    paths.write(request.out / "samples.safetensors", safetensors.torch.save(tensors))
    paths.write(request.out / "facets.json", json.dumps(report, indent=1, ensure_ascii=False))
    images.write(request.out / "grid.png", _grid(shown, [part.images for part in drawn]))


def _grid(shown: Sequence[Tensor], drawn: Sequence[Tensor]) -> Image.Image:
    """A row per facet: pictures, a white gap, samples."""
    blank = torch.full_like(drawn[0][:1], 255)
    left = [torch.cat([near, blank.expand(SHOWN - len(near), -1, -1, -1)]) for near in shown]
    tiles = [torch.cat([near, blank, part]) for near, part in zip(left, drawn, strict=True)]
    return images.grid(torch.cat(tiles), columns=len(tiles[0]))
