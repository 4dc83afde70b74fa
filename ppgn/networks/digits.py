"""A classifier of spoken digits and of who speaks, on log-mel spectrograms."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path

from torch import Tensor, nn

from ppgn import files
from ppgn.errors import check_known
from ppgn.networks import _weights
from ppgn.networks.network import Network, Preprocessing

LABELS: Mapping[str, Sequence[str]] = {
    "digit": ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"),
    "speaker": ("george", "jackson", "lucas", "nicolas", "theo", "yweweler"),
}
OWN = "digits"  # the model that comes along, whose encoder looks through this classifier
WIDTHS = (1, 32, 64, 96, 128)
INSIDE = "encoder.network.body."


class Spoken(nn.Module):
    """Normalised spectrograms (B, 1, 64, 64) -> logits of the digit (B, 10) or of the speaker (B, 6).

    Four convolutions of stride 2, 32 channels of the last, and a hidden layer of 128 that both outputs read.
    """

    def __init__(self, output: str = "digit") -> None:
        super().__init__()
        self.output = output
        self.blocks = nn.Sequential(
            *(
                nn.Sequential(nn.Conv2d(before, after, 3, stride=2, padding=1), nn.BatchNorm2d(after), nn.SiLU())
                for before, after in pairwise(WIDTHS)
            )
        )
        self.squeeze = nn.Sequential(nn.Conv2d(WIDTHS[-1], 32, 1), nn.SiLU(), nn.Flatten())
        self.hidden = nn.Sequential(nn.Linear(512, 128), nn.SiLU())
        self.digit, self.speaker = (nn.Linear(128, len(labels)) for labels in LABELS.values())

    def forward(self, x: Tensor) -> Tensor:
        """(B, 1, 64, 64) -> (B, K)."""
        logits: Tensor = getattr(self, self.output)(self.hidden(self.squeeze(self.blocks(x))))
        return logits


def load(
    output: str = "digit",  # or speaker
    weights: str | Path | None = "default",  # those in the model digits; or the path of a state dict; null: random
) -> Network:
    """Load the classifier, grey pictures (B, 1, 64, 64) of spectrograms in [0, 1] -> logits (B, 10) or (B, 6).

    A spectrogram is one of `ppgn.media.sound.Sound` with its defaults. Raises `InputError` for another output, and for
    weights that are missing or do not fit.
    """
    check_known("output", output, LABELS)
    body = Spoken(output)
    if weights == "default":
        tensors, _ = files.load(files.find("model", OWN, "ppgn-1"), "ppgn-1")
        state = {name.removeprefix(INSIDE): value for name, value in tensors.items() if name.startswith(INSIDE)}
        _weights.assign(body, state, f"the model '{OWN}' does not fit")
    elif weights is not None:
        _weights.assign(body, _weights.read(weights), f"weights '{weights}' do not fit")
    preprocessing = Preprocessing(64, (0.18,), (0.25,), channels="gray")
    again = {"weights": None}
    name = "spoken digits"
    return Network(
        body, preprocessing, name=name, labels=LABELS[output], restorable=False, rebuilt_with=again, copy=False
    )
