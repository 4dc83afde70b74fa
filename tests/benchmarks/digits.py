"""How well `model=digits` speaks and fills stretches of speech, by a judge of another kind that took no part.

    python tests/benchmarks/digits.py RECORDINGS OUT [ROW ...] [--seeds 5] [--takes 2] [--candidates 0] [--variety 1]

RECORDINGS holds the Free Spoken Digit Dataset's DIGIT_SPEAKER_TAKE.wav; takes 0 to 4 are its test split. The judge J,
two bidirectional GRU layers over frames with a head for the digit and one for the speaker, learns from the others and
is kept in OUT, as is what was measured, evaluation.json, after every row: recordings of both splits, reconstructions,
`condition=digit`, `digit:K & speaker:NAME` of all 60 pairs, and of half seconds that are holes, the "end" (frames 32 to
63) or the "middle" (16 to 47), silence, fillings with the digit as the target, with digit and speaker, and with none;
`context.candidates` and `sampler.variety` are the defaults unless given.

Figures, with 95 % bootstrap intervals over signals: the share in which J reads the digit, the speaker, and both; KID of
J's features, standardised, to those of the test split; "within", the mean distance of J's features between signals of
one digit over that of the test split.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import ppgn
from ppgn import files
from ppgn.evaluation.table import Table
from ppgn.media import images
from ppgn.media.sound import Sound
from ppgn.metrics import bootstrap, fidelity
from ppgn.metrics.bootstrap import Estimate
from ppgn.model import PPGN
from ppgn.networks.digits import LABELS
from train.recordings import TESTED

KIND = "ppgn-judge-of-digits-1"
STEPS, BATCH = 800, 64
HOLES = {"end": (32, 63), "middle": (16, 47)}
DIGITS, SPEAKERS = LABELS["digit"], LABELS["speaker"]


class Judge(nn.Module):
    """Spectrograms (B, 1, 64, 64) in [0, 1] -> features (B, 96); `digit` and `speaker` read them."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.GRU(64, 96, num_layers=2, bidirectional=True, batch_first=True)
        self.squeeze = nn.Linear(192, 96)
        self.digit, self.speaker = nn.Linear(96, len(DIGITS)), nn.Linear(96, len(SPEAKERS))

    def forward(self, x: Tensor) -> Tensor:
        """Each frame is a step of the layers; what they say of all is averaged."""
        heard, _ = self.layers((x[:, 0].transpose(1, 2) - 0.18) / 0.25)
        return F.silu(self.squeeze(heard.mean(1)))


@dataclass(frozen=True)
class Spoken:
    """Signals uint8 (N, 1, 64, 64) with what is said and by whom, (N,) both; -1: nobody in particular."""

    signals: Tensor
    digits: Tensor
    speakers: Tensor

    def __len__(self) -> int:
        return len(self.signals)

    def of(self, rows: Sequence[int] | Tensor) -> Spoken:
        """Some of them."""
        return Spoken(self.signals[rows], self.digits[rows], self.speakers[rows])


def recordings(folder: Path) -> dict[str, Spoken]:
    """The splits "train" and "test", in the order of takes, digits, speakers."""
    named = [(re.fullmatch(r"(\d)_([a-z]+)_(\d+)", path.stem), path) for path in sorted(folder.glob("*.wav"))]
    found = sorted((int(m[3]), int(m[1]), SPEAKERS.index(m[2]), path) for m, path in named if m)
    every = Spoken(
        torch.stack([Sound().read(path) for *_, path in found]),
        torch.tensor([digit for _, digit, *_ in found]),
        torch.tensor([speaker for _, _, speaker, _ in found]),
    )
    tested = torch.tensor([take < TESTED for take, *_ in found])
    return {"train": every.of(~tested), "test": every.of(tested)}


def changed(x: Tensor, random: torch.Generator) -> Tensor:
    """Signals (B, 1, 64, 64) in [0, 1] moved in time and pitch, louder and quieter, with noise and a stripe cut out."""
    frames, band, start, stripe = (int(torch.randint(n, (), generator=random)) for n in (13, 3, 64, 12))
    gain = 0.9 + 0.2 * torch.rand(len(x), 1, 1, 1, generator=random)
    moved = torch.roll(x, (band - 1, frames - 6), (2, 3)) * gain
    moved = (moved + 0.03 * torch.randn(x.shape, generator=random) * (moved > 0)).clamp(0, 1)
    moved[..., start : start + stripe] = 0
    return moved


def trained(spoken: Spoken) -> Judge:
    """A judge that learned both answers at once: AdamW, 2e-3 along half a cosine, label smoothing 0.05."""
    torch.manual_seed(0)
    random, judge = torch.Generator().manual_seed(0), Judge()
    optimiser = torch.optim.AdamW(judge.parameters(), 2e-3, weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, STEPS)
    for step in range(STEPS):
        batch = spoken.of(torch.randint(len(spoken), (BATCH,), generator=random))
        features = judge(changed(batch.signals / 255, random))
        pairs = (judge.digit(features), batch.digits), (judge.speaker(features), batch.speakers)
        losses = [F.cross_entropy(logits, right, label_smoothing=0.05) for logits, right in pairs]
        loss = torch.stack(losses).sum()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
        if step % 100 == 99:
            print(f"judge: step {step + 1} of {STEPS}, loss {float(loss.detach()):.3f}", flush=True)
    return judge.eval()


class Exam:
    """Measures signals by a judge, beside the test split."""

    def __init__(self, judge: Judge, splits: dict[str, Spoken], table: Table) -> None:
        self.judge, self.table = judge, table
        known = self.features(splits["train"])
        self.mean, self.std = known.mean(0), known.std(0)
        self.real = (self.features(splits["test"]) - self.mean) / self.std
        self.spread = apart(self.real, splits["test"].digits).mean()

    @torch.no_grad()
    def features(self, spoken: Spoken) -> Tensor:
        """(N, 96)."""
        return torch.cat([self.judge(part / 255) for part in spoken.signals.split(100)])

    def add(self, name: str, spoken: Spoken) -> None:
        """A row of the table, with the first hundred signals in a grid."""
        found = self.features(spoken)
        digit = self.judge.digit(found).argmax(1) == spoken.digits
        figures: dict[str, Estimate | None] = {"digit": bootstrap.mean(digit.double())}
        if bool((spoken.speakers >= 0).all()):
            speaker = self.judge.speaker(found).argmax(1) == spoken.speakers
            figures["speaker"] = bootstrap.mean(speaker.double())
            figures["both"] = bootstrap.mean((digit & speaker).double())
        standard = (found - self.mean) / self.std
        figures["kid"] = fidelity.kid(standard, self.real)
        figures["within"] = bootstrap.mean(apart(standard, spoken.digits) / self.spread)
        shown = spoken.signals[:: -(-len(spoken) // 100)]
        self.table.add(name, figures, {f"grid_{name.replace(' ', '_')}": images.grid(shown, columns=12)})
        print(name, {key: value and (value.value, value.low, value.high) for key, value in figures.items()}, flush=True)


def apart(features: Tensor, classes: Tensor) -> Tensor:
    """The mean distance from features (N, D) to the others of their class, (N,)."""
    distances = torch.cdist(features, features)
    alike = (classes[:, None] == classes).fill_diagonal_(False)
    return (distances * alike).sum(1) / alike.sum(1)


@dataclass(frozen=True)
class Draw:
    """Draws and fills with a model."""

    model: PPGN
    splits: dict[str, Spoken]
    seeds: int
    takes: int
    settings: dict[str, Any]  # of fillings

    @torch.no_grad()
    def reconstructions(self) -> Spoken:
        """Of the test split."""
        test = self.splits["test"]
        drawn = [self.model.decode(self.model.encode(part / 255)) for part in test.signals.split(50)]
        return Spoken(images.to_uint8(torch.cat(drawn)), test.digits, test.speakers)

    def digit(self) -> Spoken:
        """`condition=digit`, as many of each as of `pairs`."""
        seeds = range(self.seeds * len(SPEAKERS))
        parts = [ppgn.sample(name, condition="digit", model=self.model, seeds=seeds).images for name in DIGITS]
        digits = torch.arange(len(DIGITS)).repeat_interleave(len(seeds))
        return Spoken(torch.cat(parts), digits, torch.full_like(digits, -1))

    def pairs(self) -> Spoken:
        """`digit:K & speaker:NAME` of all pairs, `seeds` of each."""
        pairs = [(digit, speaker) for digit in range(len(DIGITS)) for speaker in range(len(SPEAKERS))]
        parts = [
            ppgn.sample(
                condition=f"digit:{digit} & speaker:{SPEAKERS[speaker]}", model=self.model, seeds=range(self.seeds)
            ).images
            for digit, speaker in pairs
        ]
        digits, speakers = torch.tensor(pairs).repeat_interleave(self.seeds, dim=0).unbind(1)
        return Spoken(torch.cat(parts), digits, speakers)

    def filled(self, where: str, how: str) -> Spoken:
        """The first takes of the test split with a hole, that holds silence or what is drawn there."""
        pairs = len(DIGITS) * len(SPEAKERS)
        known = self.splits["test"].of(range(self.takes * pairs))
        first, last = HOLES[where]
        if how == "silence":
            signals = known.signals.clone()
            signals[..., first : last + 1] = 0
            return Spoken(signals, known.digits, known.speakers)
        hole = torch.zeros(64, 64, dtype=torch.bool)
        hole[:, first : last + 1] = True
        signals = torch.empty_like(known.signals)
        wishes = {
            "nothing": lambda _: {"model": self.model},
            "digit": lambda pair: {"condition": "digit", "target": DIGITS[pair // len(SPEAKERS)]},
            "both": lambda pair: {
                "condition": f"digit:{pair // len(SPEAKERS)} & speaker:{SPEAKERS[pair % len(SPEAKERS)]}"
            },
        }
        for pair in range(pairs):
            for row in range(pair, len(known), pairs):
                words = {"hole": hole, "model": self.model, "seeds": row, **self.settings, **wishes[how](pair)}
                (done,) = ppgn.inpaint(known.signals[row].expand(3, -1, -1), **words).images
                signals[row] = done[:1]
        return Spoken(signals, known.digits, known.speakers)


def main() -> None:
    words = argparse.ArgumentParser()
    words.add_argument("recordings", type=Path)
    words.add_argument("out", type=Path)
    words.add_argument("rows", nargs="*")
    words.add_argument("--model", default="digits")
    for name, default in (("seeds", 5), ("takes", 2)):
        words.add_argument(f"--{name}", type=int, default=default)
    for name in ("candidates", "variety"):
        words.add_argument(f"--{name}", type=float)
    given = words.parse_args()
    splits, kept = recordings(given.recordings), given.out / "judge.safetensors"
    judge = Judge().eval()
    if kept.is_file():
        judge.load_state_dict(files.load(kept, KIND)[0])
    else:
        judge = trained(splits["train"])
        files.save(kept, judge.state_dict(), KIND, settings={"steps": STEPS})
    settings = {key: value for key, value in vars(given).items() if key not in ("recordings", "out", "rows")}
    table = Table(
        {"what": "digits", "model": given.model, "data": str(given.recordings), "settings": settings}, given.out
    )
    exam = Exam(judge, splits, table)
    anchored: Any = {"_target_": "ppgn.samplers.anchored.Anchored", "variety": given.variety}
    fill: dict[str, Any] = {"context": {"candidates": given.candidates}}
    fill |= {"sampler": anchored} if given.variety else {}
    draw = Draw(ppgn.load(given.model), splits, given.seeds, given.takes, fill)
    train = splits["train"]
    rows: dict[str, Callable[[], Spoken]] = {
        "test": lambda: splits["test"],
        "train": lambda: train.of(torch.linspace(0, len(train) - 1, len(splits["test"])).long()),
        "reconstructions": draw.reconstructions,
        "digit": draw.digit,
        "pairs": draw.pairs,
    }
    for where in HOLES:
        for how in ("silence", "nothing", "digit", "both"):
            rows[f"{where} {how}"] = lambda where=where, how=how: draw.filled(where, how)  # type: ignore[misc]
    for name in given.rows or rows:
        exam.add(name, rows[name]())


if __name__ == "__main__":
    main()
