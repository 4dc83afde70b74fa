"""`what=captions`: samples of sentences, judged by a captioner that took no part in drawing them."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ppgn.cli import config as configs
from ppgn.cli.evaluation.chains import Chains, Row, compare, publish
from ppgn.cli.evaluation.data import reduce, side_of
from ppgn.cli.evaluation.report import Report
from ppgn.cli.evaluation.request import Request
from ppgn.cli.sample import build_conditions
from ppgn.contracts import Condition
from ppgn.errors import InputError
from ppgn.metrics.captions import log_probs, marginal, true_caption_ranks
from ppgn.networks import captioner as captioners
from ppgn.networks.captioner import SentenceNetwork


@dataclass(frozen=True)
class Captioned:
    """Photographs, uint8 (N, 3, S, S), each with a sentence, and the indices of those that samples are drawn for."""

    pictures: Tensor
    sentences: tuple[str, ...]
    asked: Tensor

    @staticmethod
    def read(folder: Path, readers: Sequence[SentenceNetwork], sentences: int, asked: int, side: int) -> Captioned:
        """`sentences` photographs spread evenly over a folder like Flickr8k, `asked` of them asked for, likewise.

        It holds val_images.npy, uint8 (N, S, S, 3), and val_captions.jsonl, a line {"captions": [...]} an image. Each
        photograph goes with the first of its sentences that all `readers` know the words of; one without gives way to
        the next. Raises `InputError` for another folder, and where there are too few.
        """
        try:
            array = np.load(folder / "val_images.npy", mmap_mode="r")
            captions = [json.loads(line)["captions"] for line in (folder / "val_captions.jsonl").open()]
        except (OSError, ValueError, LookupError, TypeError) as error:
            expected = 'expected val_images.npy and val_captions.jsonl, a line {"captions": [...]} an image'
            raise InputError(f"data: no captions in '{folder}'; {expected}") from error
        found: dict[int, str] = {}
        for start in np.linspace(0, len(captions), sentences, endpoint=False).astype(int).tolist():
            for row in range(start, len(captions)):
                readable = [text for text in captions[row] if all(_reads(reader, text) for reader in readers)]
                if row not in found and readable and readable[0] not in found.values():
                    found[row] = readable[0]
                    break
        if len(found) < sentences or not 2 <= asked <= sentences:
            given = (
                f"'{folder}' has {len(found)} captions to be read, {sentences} are needed, {asked} of them asked for"
            )
            raise InputError(f"data: {given}; give another n or count")
        rows = sorted(found)
        pictures = reduce(torch.from_numpy(array[rows]).permute(0, 3, 1, 2), side)
        chosen = torch.from_numpy(np.linspace(0, sentences - 1, asked).astype(int))
        return Captioned(pictures, tuple(found[row] for row in rows), chosen)


def _reads(reader: SentenceNetwork, sentence: str) -> bool:
    try:
        reader.encode(sentence)
    except InputError:
        return False
    return True


def judge_captions(
    chains: Chains, conditions: Sequence[Condition], photographs: Captioned, judge: SentenceNetwork
) -> Iterator[Row]:
    """Rows of samples, start codes and photographs; condition number c asks for the sentence `photographs.asked[c]`.

    "rank" is the median rank, 1 the best, of the sentence among all of `photographs` by the judge's log p(sentence | x)
    − log p(sentence), where p(sentence) is the mean over the photographs; "top10" the share of these ranks up to 10;
    "plain_rank" the median rank by log p(sentence | x) alone, which favours short sentences.
    """
    usual = marginal(log_probs(judge, photographs.pictures, photographs.sentences))

    def ranked(pictures: Tensor, targets: Tensor) -> dict[str, Tensor]:
        asked = photographs.asked[targets].tolist()
        log_p = log_probs(judge, pictures, photographs.sentences)
        rank = true_caption_ranks(log_p - usual, asked).double()
        plain = true_caption_ranks(log_p, asked).double()
        return {"rank": rank, "top10": (rank <= 10).double(), "plain_rank": plain}

    sources = {
        "samples": lambda: chains.draw(conditions),
        "white_noise": lambda: chains.start(len(conditions)),
        "photographs": lambda: (photographs.pictures[photographs.asked], torch.arange(len(conditions))),
    }
    return compare(conditions, sources, ranked)


def captions(request: Request, report: Report) -> None:
    """Samples of captions beside their start codes and the photographs themselves. Intervals are over captions."""
    if request.config.judge is None:
        raise InputError("judge is missing: add judge=FILE, a captioner of another seed and network than the condition")
    judge = captioners.load(str(request.config.judge)).to(request.device)
    own: SentenceNetwork = configs.build(request.config.condition.captioner)
    model, asked = request.load_model(), configs.whole(request.config, "count", least=2)
    photographs = Captioned.read(request.data.folder, [own, judge], request.n, asked, side_of(model))
    names = [photographs.sentences[number] for number in photographs.asked]
    conditions = build_conditions(request.config.condition, names, request.device, torch.float32)
    with request.progress(0, "step") as bar:
        chains = Chains.of(request, model, bar.update)
        bar.total = chains.total(len(conditions))
        rows = judge_captions(chains, conditions, photographs, judge)
        publish(request, report, chains, names, rows, ranked_among=request.n)
