from __future__ import annotations

import pytest

from ppgn.posterior import Posterior
from ppgn.priors.joint import Joint
from ppgn.samplers.views import Jitter
from tests.tiny import TinyCondition, TinyEncoder, TinyGenerator


@pytest.fixture
def posterior() -> Posterior:
    """A target with every source of randomness: joint prior, full gradient, two random views."""
    return Posterior(TinyGenerator(), Joint(TinyEncoder()), TinyCondition(1), Jitter(views=2, shift=0.1, zoom=1.2))
