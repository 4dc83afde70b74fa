"""A judge of one's own making: a linear classifier on features of real pictures."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from ppgn.errors import InputError

STRENGTH = 0.01  # C of scikit-learn's LogisticRegression: the data's weight against the penalty ½‖W‖²


class Probe:
    """Multinomial logistic regression on standardised features: (N, D) -> log-probabilities (N, K), float32, CPU.

    Fitted to features (N, D) of class `labels` 0 to K − 1, each of which must occur. Raises `InputError` where it does
    not, and where scikit-learn is not installed. Source of linear probes: Alain & Bengio 2016 (arXiv 1610.01644).
    """

    def __init__(self, features: Tensor, labels: Sequence[int] | Tensor, strength: float = STRENGTH) -> None:
        try:
            from sklearn.linear_model import LogisticRegression
            from sklearn.pipeline import make_pipeline
            from sklearn.preprocessing import StandardScaler
        except ImportError as error:
            raise InputError("a linear probe needs scikit-learn: pip install 'ppgn[facets]'") from error
        index = torch.as_tensor(labels)
        self.classes = int(index.max()) + 1 if len(index) else 0
        found = len(index.unique())
        if len(features) != len(index) or self.classes < 2 or found < self.classes:
            given = f"{len(features)} rows of features, {len(index)} labels of {found} classes"
            raise InputError(f"linear probe: {given}; expected a label a row, and two classes or more from 0 on")
        self._pipeline: Any = make_pipeline(StandardScaler(), LogisticRegression(C=strength, max_iter=1000))
        self._pipeline.fit(features.double().cpu().numpy(), index.cpu().numpy())

    def __call__(self, features: Tensor) -> Tensor:
        """(N, D) -> (N, K)."""
        log_p = self._pipeline.predict_log_proba(features.double().cpu().numpy())
        return torch.from_numpy(log_p).float()
