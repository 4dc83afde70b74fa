"""Whether judges that took no part find what was asked for: classifiers the class, captioners the sentence."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ppgn import building
from ppgn.errors import InputError, library
from ppgn.metrics.look import look
from ppgn.networks import imagenet
from ppgn.networks.captioner import SentenceNetwork

NETWORK, SIZE = "efficientnet_lite2", 160
STRENGTH = 0.01  # C of scikit-learn's LogisticRegression: the data's weight against the penalty ½‖W‖²


class Judge(nn.Module):
    """Pictures (N, 3, H, W), uint8 or float in [0, 1], -> logits (N, K) float32 on the CPU.

    `network` is the name of an ImageNet classifier, which then sees 160 px, or a module: images (B, 3, H, W) in [0, 1]
    -> logits (B, K). `labels` are its classes in order, None if untold. Float pictures are rounded first.
    """

    def __init__(self, network: str | nn.Module = NETWORK, batch_size: int = 50) -> None:
        super().__init__()
        self.network = imagenet.load(network, size=SIZE) if isinstance(network, str) else network
        labels = getattr(self.network, "labels", None)
        self.labels = None if labels is None else tuple(labels)
        self.batch_size = batch_size
        self.register_buffer("place", torch.zeros(()), persistent=False)
        self.eval()

    @classmethod
    def of(cls, given: Any, batch_size: int = 50) -> Judge:
        """A judge by the name of an ImageNet classifier, "module:Class", a mapping, or the module itself."""
        named = isinstance(given, str) and ":" not in given
        return cls(given if named else building.part("judge", given), batch_size)

    def forward(self, pictures: Tensor) -> Tensor:
        """(N, 3, H, W) -> (N, K)."""
        return look(self.network, pictures, self.get_buffer("place"), self.batch_size).float()


def check_library() -> None:
    """Raise `InputError` unless a `Probe` can be fitted."""
    library("sklearn", "a linear probe needs scikit-learn", "facets")


class Probe:
    """A judge of one's own making: logistic regression on standardised features, (N, D) -> log p (N, K), float32, CPU.

    Fitted to features (N, D) of class `labels` 0 to K − 1, each of which must occur. Raises `InputError` where it does
    not, and where scikit-learn is not installed. Source of linear probes: Alain & Bengio 2016 (arXiv 1610.01644).
    """

    def __init__(self, features: Tensor, labels: Sequence[int] | Tensor, strength: float = STRENGTH) -> None:
        check_library()
        from sklearn.linear_model import LogisticRegression
        from sklearn.pipeline import make_pipeline
        from sklearn.preprocessing import StandardScaler

        index = torch.as_tensor(labels)
        classes = int(index.max()) + 1 if len(index) else 0
        found = len(index.unique())
        if len(features) != len(index) or classes < 2 or found < classes:
            given = f"{len(features)} rows of features, {len(index)} labels of {found} classes"
            raise InputError(f"linear probe: {given}; expected a label a row, and two classes or more from 0 on")
        self._pipeline: Any = make_pipeline(StandardScaler(), LogisticRegression(C=strength, max_iter=1000))
        self._pipeline.fit(features.double().cpu().numpy(), index.cpu().numpy())

    def __call__(self, features: Tensor) -> Tensor:
        """(N, D) -> (N, K)."""
        return torch.from_numpy(self._pipeline.predict_log_proba(features.double().cpu().numpy())).float()


def top_k(logits: Tensor, classes: Sequence[int] | Tensor, k: int) -> Tensor:
    """Whether the class asked for is among the `k` highest of logits (N, K), bool (N,). A tie counts against it."""
    return ranks(logits, classes) <= k


def ranks(scores: Tensor, asked: Sequence[int] | Tensor) -> Tensor:
    """Scores (B, S) and places in a row (B,) -> the rank there, (B,) int64, 1 the best. A tie counts against it."""
    return (scores >= scores.gather(1, torch.as_tensor(asked)[:, None])).sum(1)


def log_probs(captioner: SentenceNetwork, pictures: Tensor, sentences: Sequence[str], batch_size: int = 50) -> Tensor:
    """log p(sentence | x) of every picture (B, 3, H, W), uint8 or float in [0, 1], and sentence, (B, S), on the CPU.

    Float pictures are rounded first. Raises `InputError` for a sentence that the captioner cannot read.
    """
    like = torch.zeros((), device=next(captioner.parameters(), pictures).device)
    tokens = [captioner.encode(sentence).to(like.device) for sentence in sentences]
    return look(lambda x: captioner.compare(x, tokens), pictures, like, batch_size)


def marginal(log_p: Tensor) -> Tensor:
    """log p(sentence), (S,), averaged over the pictures of log p(sentence | x), (N, S).

    What is left of log p(sentence | x) without it does not favour short and common sentences: Mao et al. 2015
    (arXiv 1412.6632, section 5).
    """
    return log_p.logsumexp(0) - math.log(len(log_p))
