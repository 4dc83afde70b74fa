"""A function as the library has them, for tests of what reads it; it is read, not imported."""

from collections.abc import Mapping
from typing import Any

SYSTEMS = (*("default",), "other")


def draw(
    # -- what to draw --
    target: Any = None,  # what to ask of the condition
    seeds: Any = "0-7",  # the chains: 0-15, [1,4,9] or 3
    *,
    # the network that is asked, by a name that is long enough
    # for two lines
    condition: Any = "imagenet",
    hole: Any = "center",  # where it is drawn
    # -- how they walk --
    sampler: Any = "annealed",  # the kernel and its settings
    prior: Any = None,  # what keeps it natural
    model: Any = "natural64",  # the generator
    steps: int | None = None,  # of a chain
    systems: Any = SYSTEMS,  # what is compared
    share: float = 0.5,  # of something
    labels: bool = False,  # whether to write them
    context: Mapping[str, Any] | None = None,  # settings of another part
    unsaid=3,
) -> None:
    """Draw something."""
