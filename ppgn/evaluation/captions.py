"""Samples of sentences, judged by a captioner that took no part in drawing them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ppgn import building, folders
from ppgn.conditions import words
from ppgn.errors import InputError
from ppgn.evaluation.judges import Panel
from ppgn.evaluation.sources import Drawn
from ppgn.evaluation.table import FILES, Table
from ppgn.evaluation.task import Task
from ppgn.metrics.accuracy import log_probs, marginal, ranks
from ppgn.networks import captioner as captioners
from ppgn.networks.captioner import SentenceNetwork
from ppgn.photographs import Photographs


@folders.results(*FILES)
def captions(
    model: Any = "natural64",
    data: Any = None,  # a folder like Flickr8k: val_images.npy and val_captions.jsonl, a line {"captions": [...]} each
    judge: Any = None,  # a captioner of another seed and network than the condition's: a file, a name or module:Class
    *,
    n: int = 100,  # photographs with a sentence each, among which the right one is to be found
    count: int = 30,  # sentences that are drawn
    condition: Any = "caption",
    seeds: Any = "0",  # the chains of the first sentence; they go on counting from sentence to sentence
    **options: Any,  # the fields of Task
) -> Table:
    """Samples of sentences beside their start codes and the photographs that the sentences were written about.

    Rows have the condition's log p; "rank", the median rank, 1 the best, of the sentence among those of all photographs
    by the judge's log p(sentence | x) − log p(sentence), where p(sentence) is the mean over the photographs; "top10",
    the share of ranks up to 10; "plain_rank", the median rank by log p(sentence | x) alone, which favours short
    sentences. Intervals are over sentences. Raises `InputError`.
    """
    task = Task(model=model, data=data, n=n, condition=condition, seeds=seeds, **options)
    table = task.begin("captions", judge=judge, count=count)
    if judge is None:
        advice = "give judge=FILE, a captioner of another seed and network than the condition"
        raise InputError(f"judge is missing: {advice}")
    named = isinstance(judge, str) and (":" not in judge or "/" in judge)
    other: SentenceNetwork = (captioners.load(judge) if named else building.part("judge", judge)).to(task.where)
    drawer = task.load()
    rows, sentences, chosen = readable(task.photographs, [*_readers(condition), other], n, count)
    pictures = task.photographs.take(rows, task.side(drawer))
    names = [sentences[number] for number in chosen]
    asked = task.conditions(names)
    panel = Panel(asked, ranking(other, pictures, sentences, chosen))
    chains, photographs = task.source(drawer, asked, own_seeds=True), Drawn(pictures[chosen], torch.arange(count))
    return panel.compare(table, {"samples": chains}, names, photographs, task.progress, ranked_among=n)


def _readers(condition: Any) -> list[Any]:
    """The captioner that a condition by name, mapping or as it is looks through, if it is known."""
    if not isinstance(condition, str | Mapping):
        return [condition.captioner] if hasattr(condition, "captioner") else []
    settings = dict(condition) if isinstance(condition, Mapping) else {"expression": condition}
    name = settings.pop("expression", settings)
    named = isinstance(name, Mapping) or not words.is_expression(name)
    node = building.merged(building.node("condition", name), settings) if named else {}
    return [building.build(node["captioner"])] if "captioner" in node else []


def readable(
    data: Photographs, readers: Sequence[SentenceNetwork], sentences: int, asked: int
) -> tuple[list[int], list[str], list[int]]:
    """The rows of photographs spread evenly, a sentence of each, and the numbers of those `asked` for, likewise.

    Each photograph goes with the first of its captions that all `readers` know the words of and that is not yet taken;
    one without gives way to the next. Raises `InputError` where there are too few.
    """
    captions = data.captions
    found: dict[int, str] = {}
    for start in np.linspace(0, len(captions), sentences, endpoint=False).astype(int).tolist():
        for row in range(start, len(captions)):
            known = [text for text in captions[row] if all(_reads(reader, text) for reader in readers)]
            if row not in found and known and known[0] not in found.values():
                found[row] = known[0]
                break
    if len(found) < sentences or asked > sentences:
        given = f"'{data.root}' has {len(found)} captions to be read, {sentences} are needed, {asked} of them asked for"
        raise InputError(f"data: {given}; give another n or count")
    rows = sorted(found)
    return rows, [found[row] for row in rows], np.linspace(0, sentences - 1, asked).astype(int).tolist()


def _reads(reader: SentenceNetwork, sentence: str) -> bool:
    try:
        reader.encode(sentence)
    except InputError:
        return False
    return True


def ranking(
    judge: SentenceNetwork, photographs: Tensor, sentences: Sequence[str], asked: Sequence[int]
) -> Callable[[Tensor, Tensor], dict[str, Tensor]]:
    """A judge by ranks among `sentences`, one of each photograph; condition number c asks for number `asked[c]`."""
    usual = marginal(log_probs(judge, photographs, sentences))

    def ranked(pictures: Tensor, targets: Tensor) -> dict[str, Tensor]:
        own = torch.tensor(asked)[targets].tolist()
        log_p = log_probs(judge, pictures, sentences)
        rank, plain = ranks(log_p - usual, own).double(), ranks(log_p, own).double()
        return {"rank": rank, "top10": (rank <= 10).double(), "plain_rank": plain}

    return ranked
