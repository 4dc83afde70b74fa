"""A job as its page sees it: chains while they walk, and what has come of them."""

from __future__ import annotations

import base64
import io
import math
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from PIL import Image
from torch import Tensor

import ppgn
from ppgn import progress
from ppgn.contracts import State
from ppgn.drawn import Drawn
from ppgn.editing import Edited
from ppgn.inpainting.filling import Completed
from ppgn.media import images
from ppgn.visualize.card import Cards
from ppgn.visualize.maximization import Maximized
from ppgn.web.calls import Call
from ppgn.web.jobs import Job

FRAMES = 24  # of a batch of chains, about
APART = 0.2  # seconds, at least, from one frame to the next
JUDGED = 0.25  # share of the time, at most, in which a judge looks
SIDE = 256  # pixels of a picture in a frame, at most


class Watcher(progress.Follower):
    """Tells a job's page of its chains, and ends the job at the next step after it was cancelled."""

    def __init__(self, job: Job) -> None:
        self.job = job
        self._run: Drawn | None = None
        self._told = self._moved = 0.0
        self._begun, self._judging = time.monotonic(), 0.0

    def said(self, text: str) -> None:
        """What is being loaded."""
        self.job.check()
        self.job.tell("said", text=text)

    def begun(self, run: Drawn) -> None:
        """The run, whose judge looks on."""
        self._run, self._begun = run, time.monotonic()

    def moved(self, what: str, done: float, total: float | None) -> None:
        """Of other work, so much."""
        self.job.check()
        now = time.monotonic()
        if now - self._moved > APART:
            self._moved = now
            self.job.tell("moved", what=what, share=done / total if total else None)

    def step(self, step: int, steps: int, state: State, seeds: Sequence[int]) -> None:
        """A step of a batch of chains: a frame now and then, the first and the last in any case."""
        self.job.check()
        now, every = time.monotonic(), max(1, steps // FRAMES)
        if step not in (1, steps) and (step % every or now - self._told < APART):
            return
        self._told = now
        x, log_p = state.evaluation.image, state.evaluation.log_condition
        if x.dim() < 3:  # chains that draw no pictures, as those that find out what a photo's rest says
            self.moved("looking at what is known", step, steps)
            return
        shown = (
            images.to_uint8(x.nan_to_num()) if self._run is None else self._run.medium.show(self._run.medium.store(x))
        )
        judge = self._judged(shown, step, steps)
        said = {"log_p": [_finite(value) for value in log_p.tolist()], "judge": judge}
        pictures = [encoded(one) for one in shown.expand(-1, 3, -1, -1).cpu()]
        self.job.tell("frame", step=step, steps=steps, seeds=list(seeds), pictures=pictures, **said)
        self.job.check()

    def _judged(self, shown: Tensor, step: int, steps: int) -> list[float | None] | None:
        """The judge's log p of every picture, where it has time for it, and None where nobody judges."""
        opinion = None if self._run is None else self._run.opinion
        now = time.monotonic()
        if opinion is None or (self._judging > JUDGED * (now - self._begun) and step not in (1, steps)):
            return None
        target = (step - 1) * len(opinion.conditions) // steps
        said = opinion(shown, [target] * len(shown))
        self._judging += time.monotonic() - now
        return [None if one is None else _finite(one["log_prob"]) for one in said]


def work(call: Call, folder: Callable[[str], Path]) -> Callable[[Job], dict[str, Any]]:
    """What a job does: the call, in a new `folder(VERB)` -> what `told` says of it."""

    def run(job: Job) -> dict[str, Any]:
        out = folder(call.verb)
        job.tell("call", verb=call.verb, command=call.command(), python=call.python(), form=call.form, folder=out.name)
        with progress.followed(Watcher(job)):
            done = getattr(ppgn, call.verb)(**call.arguments, device=job.device, out=out)
            job.check()
        return {"folder": out.name, **told(done, out)}

    return run


def told(done: Any, folder: Path) -> dict[str, Any]:
    """What a page shows of a run: words, and its pictures, each a file in the folder and what is to be said of it."""
    if isinstance(done, Cards):
        (page,) = done.pages.values()
        return {
            "text": page.report["name"],
            "page": next(folder.glob("unit-*/page.html")).relative_to(folder).as_posix(),
        }
    if isinstance(done, Maximized):
        rows = [{**row, "file": f"images/{row['method']}-seed-{row['seed']:04d}.png"} for row in done.rows]
        return {"text": f"{done.name}: images by method, with its activation", "methods": rows}
    if isinstance(done, Completed | Edited):
        row = done.rows[0]
        found = row["completions"] if isinstance(done, Completed) else row["edits"]
        return {"text": done.summary(), "size": row["size"], "before": row.get("before"), "pictures": found}
    rows, shown = done.rows, done.medium.show(done.signals) if len(done) else ()
    for number, (row, path) in enumerate(zip(rows, done.pictures, strict=False)):
        sound = path.with_suffix(".wav")
        row |= {"file": f"images/{path.name}"} if path.exists() else {"data": encoded(shown[number])}
        row |= {"sound": f"images/{sound.name}"} if sound.exists() else {}
    found = {"text": done.summary().partition(" -> ")[0], "pictures": rows}
    return found | ({"animation": "chain.webp"} if (folder / "chain.webp").exists() else {})


def encoded(picture: Tensor) -> str:
    """A picture uint8 (3, H, W) for a page, at most `SIDE` pixels a side."""
    shown, buffer = images.to_pil(picture), io.BytesIO()
    if max(shown.size) > SIDE:
        shown.thumbnail((SIDE, SIDE), Image.Resampling.BILINEAR)
    shown.save(buffer, "webp", quality=90, method=0)
    return f"data:image/webp;base64,{base64.b64encode(buffer.getvalue()).decode()}"


def _finite(value: float) -> float | None:
    return round(value, 4) if math.isfinite(value) else None
