"""`edit`: photographs changed towards a target and no further, a chain for every photo and seed."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

import ppgn.model
from ppgn import arguments, folders, paths
from ppgn.conditions import words
from ppgn.contracts import Condition, Samples
from ppgn.drawn import describe
from ppgn.editing.canvas import Canvas
from ppgn.editing.walk import Settings, walk
from ppgn.engines.threads import at_once, dealt, side_by_side
from ppgn.inpainting.completion import size_of
from ppgn.inpainting.photos import Photo, photos
from ppgn.inpainting.results import FILES, Results, bar
from ppgn.metrics import accuracy, fidelity
from ppgn.model import PPGN
from ppgn.networks import labels
from ppgn.photographs import square
from ppgn.samplers.chains import Callback
from ppgn.sampling import enough_memory
from ppgn.settings import as_config, called

SEEN = 512  # pixels a side, at most, of what condition and judge see of a photo
NOTHING = 1 / 255  # RMS change of a pixel below which nothing has changed


@folders.results(*FILES)
def edit(
    # -- what to edit --
    image: Any,  # a photo of any size, or a folder of them; the largest square in its middle is worked on
    target: Any = None,  # what the condition asks for; a condition that says all needs none
    *,
    condition: Any = "imagenet",  # the network that asks, or several: "imagenet:castle & 0.5*places:snowfield"
    # where the photo may change: center, random or random-N; alpha, what is transparent; a mask file of the photo's
    # size, white may change; a folder of masks named as the photos are; null is everywhere
    mask: Any = None,
    # -- how the chains walk --
    seeds: Any = "0-3",  # edits of each photo: 0-15, [1,4,9], 3 or 0-3,8,10-12
    # how near to the photo: near.spread=0.7, the standard deviation of codes around its code; near.pixels=2 and
    # near.features=1, the weights of squared differences in pixels and in the encoder's features
    near: Mapping[str, Any] | None = None,
    model: Any = "natural64",  # the generator: a name that `ppgn models` lists or a path to a .safetensors file
    # the kernel; what is not set of annealed is steps=40, sigma_max=0.3, sigma_min=0.05, epsilon2=20, epsilon3=0,
    # fade=true, views=2
    sampler: Any = "annealed",
    steps: int | None = None,  # null is the sampler's own number
    trust: Any = (),  # modules and files of code whose parts a checkpoint may name, as [mine,parts.py]
    # -- on which machine --
    batch_size: int = 8,  # chains walked together
    device: Any = "auto",  # cpu, cuda or cuda:N; auto is the GPU if there is one
    progress: bool = False,
    # -- what comes out --
    # who gives a second opinion: an ImageNet classifier that takes no part, or module:Class; null is nobody
    judge: Any = "efficientnet_lite2",
    out: Any = None,  # a folder; one run at a time works there
    overwrite: bool = False,  # true replaces the results of an earlier run in `out`
) -> Edited:
    """Change each photo until the condition sees the target, and as little as that takes, a chain a seed -> `Edited`.

    A chain starts from the photo's code h = E(x) and walks to h' near it; the condition sees x + G(h') − G(h), so that
    what the code leaves out of the photo stays in it. This change is enlarged and drawn into the photo at full size; it
    fades towards pixels that may not change, which stay bit for bit.

    image: a file, a folder, a Pillow picture, a tensor (3, H, W), uint8 or in [0, 1], or a list of these. mask: also a
        tensor (H, W), True where the photo may change. out: files are written there after every photo; without it
        nothing is written until `Edited.save`. progress: a bar on stderr. The others are as in `ppgn.sampling.sample`.

    Raises `InputError` for what cannot be used, every photo and mask included, before anything is drawn.
    Source: DVCE (Augustin et al. 2022, arXiv 2210.11841) and DiG-IN (Augustin et al. 2024, arXiv 2311.17833) for
    counterfactuals that a generator draws near a photo; the chains are those of PPGN (arXiv 1612.00005), section 2.
    """
    given, started = dict(locals()), time.perf_counter()
    if callable(target):
        target, condition = None, target
    wanted = arguments.target(target, "a photo is edited towards one target")
    settings = Settings.of(sampler, steps=steps, near=near)
    where, chains = arguments.device(device), arguments.seeds(seeds)
    size = arguments.whole("batch_size", batch_size)
    taken = photos(image)
    folder = folders.of(out)
    if folder is not None:
        paths.check_writable(folder, 8 * sum(photo.pixels[0].numel() for photo in taken) * len(chains) + folders.LEAST)
    masks = [None if mask is None else photo.hole(mask) for photo in taken]
    for photo, free in zip(taken, masks, strict=True):
        Canvas.of(photo.pixels, free, (1, 1))  # refuses what cannot be
    (made,) = words.conditions(condition, [wanted], device=where, dtype=torch.float32)
    net = ppgn.model.load(model, where, trust)
    resolution = size_of(net)
    opinion = Opinion(made, None if judge is None else accuracy.Judge.of(judge).to(where))
    config = as_config(given, net, settings.sampler, net.choose_prior("gaussian"), sampler, condition)
    config |= {"image": [photo.file for photo in taken], "prior": "near", "near": asdict(settings)}
    del config["near"]["sampler"]
    about = {"condition": config["condition"]["expression"]}
    about |= {key: config[key] for key in ("target", "model", "near", "mask", "judge")}
    about |= {"sampler": called("sampler", sampler), "steps": settings.sampler.steps, "device": str(where)}
    edited = Edited(opinion, folder, config, about, chains, started)
    threads = at_once(model, where, len(chains), target, condition)
    batches = dealt(chains, size, threads)
    total = len(taken) * (len(batches) * settings.sampler.steps + len(chains))
    with (
        enough_memory(where, size),
        bar(progress, total, "edit") as advance,
        side_by_side((net, made), threads, advance) as each,
    ):
        for photo, free in zip(taken, masks, strict=True):
            canvas = Canvas.of(photo.pixels, free, resolution)
            parts = each(partial(_walk, canvas=canvas, settings=settings), batches)
            edited.take(photo, canvas, Samples.concatenate(parts), net, advance)
    return edited


def _walk(held: Any, seeds: Sequence[int], callback: Callback, canvas: Canvas, settings: Settings) -> Samples:
    """A chain for each of the seeds. held: the model and the condition."""
    model, condition = held
    return walk(model, [canvas] * len(seeds), seeds, condition, settings, callback)


class Opinion:
    """What a condition, a judge that took no part and features say of a part of a picture.

    `judge` may be None. It speaks of the condition's target where that is a class that it knows by the same name.
    """

    def __init__(self, condition: Condition, judge: accuracy.Judge | None) -> None:
        self.condition, self.judge, self.features = condition, judge, fidelity.Features()
        theirs = getattr(getattr(condition, "network", None), "labels", None)
        same = judge is not None and judge.labels is not None and theirs is not None and judge.labels == tuple(theirs)
        self.index: int | None = getattr(condition, "index", None) if same else None

    def __call__(self, picture: Tensor) -> tuple[dict[str, Any], Tensor]:
        """A square uint8 (3, H, W), reduced to what networks see -> what is said, and its features (D,).

        "condition" is what it describes. "judge" has "best", its class and p, and of the target "prob" and "rank".
        """
        side = min(SEEN, *picture.shape[1:])
        seen = square(picture[None], side)
        said: dict[str, Any] = {"condition": describe(self.condition, seen)[0]}
        if self.judge is not None:
            logits = self.judge(seen)[0]
            p, names = logits.softmax(0), self.judge.labels
            best = int(p.argmax())
            said["judge"] = {"best": [labels.short(names)[best] if names else best, p[best].item()]}
            if self.index is not None:
                rank = 1 + int((p > p[self.index]).sum())
                said["judge"] |= {"prob": p[self.index].item(), "rank": rank}
        return said, self.features(seen)[0]


class Edited(Results):
    """The photos edited so far: after every one of `images` goes a difference, half of (after − before) around grey.

    `rows` tells of each photo what condition and judge say "before", and of each of its "edits" what they say after,
    its distances from the photo (RMS of pixels, PSNR in dB, 1 − the cosine of features, RMS of codes), and whether
    nothing changed. Files are called PHOTO-seed-K.png and PHOTO-seed-K-difference.png; a row of grid.png is a photo
    and then every edit with its difference.
    """

    noun = "edits"

    def __init__(self, opinion: Opinion, *given: Any) -> None:
        super().__init__(*given)
        self.opinion = opinion

    @property
    def differences(self) -> list[Tensor]:
        """The difference that goes with each picture, uint8 (3, H, W)."""
        return [self.picture(edit["difference"]) for row in self.rows for edit in row["edits"]]

    def take(self, photo: Photo, canvas: Canvas, samples: Samples, net: PPGN, advance: Callable[[], Any]) -> None:
        """Take all edits of a photo, from the codes of `samples`; `advance` is called with each of them."""
        before, features = self.opinion(canvas.cut(photo.pixels))
        start = net.encode(canvas.image[None])
        tiles, edits = [photo.pixels], []
        for seed, code in zip(samples.seeds, samples.codes, strict=True):
            change = net.decode(torch.cat([code[None].to(start), start]))
            after = canvas.changed(change[0] - change[1])
            away = after.float() - photo.pixels.float()
            rms = away.square().mean().sqrt().item() / 255
            said, seen = self.opinion(canvas.cut(after))
            apart = {"l2": rms, "psnr": -20 * math.log10(rms) if rms else None}
            apart |= {"features": 1 - F.cosine_similarity(seen, features, dim=0).item()}
            apart |= {"code": (code - start[0].cpu()).square().mean().sqrt().item()}
            file = f"{photo.stem}-seed-{seed}.png"
            beside = f"{photo.stem}-seed-{seed}-difference.png"
            told = {"seed": seed, "file": file, "difference": beside, "failed": seed in samples.failed}
            edits.append({**told, "nothing_changed": rms < NOTHING, **said, "distance": apart})
            tiles += [after, (128 + away / 2).clamp(0, 255).to(torch.uint8)]
            self.keep(file, tiles[-2])
            self.keep(beside, tiles[-1], beside=True)
            advance()
        (height, width), (rows, columns) = photo.pixels.shape[1:], canvas.box
        box = [columns.start, rows.start, columns.stop - columns.start, rows.stop - rows.start]
        row = {"image": photo.file, "size": [width, height], "square": box, "before": before, "edits": edits}
        self.add(row, samples, tiles)

    def summary(self) -> str:
        """One line for the person who waits: how p of the target moved, by condition and judge."""
        edits = [(row["before"], edit) for row in self.rows for edit in row["edits"]]
        said = [super().summary()]
        for who in ("condition", "judge"):
            pairs = [(old[who]["prob"], new[who]["prob"]) for old, new in edits if "prob" in new.get(who, {})]
            if pairs:
                old, new = (sum(values) / len(pairs) for values in zip(*pairs, strict=True))
                said.append(f"{who} p {old:.2f} -> {new:.2f}")
        still = sum(edit["nothing_changed"] for _, edit in edits)
        if still:
            said.append("nothing changed" if still == len(edits) else f"nothing changed in {still}")
        return ", ".join(said)
