"""`ppgn evaluate`: from a checked command line to a table of figures.

Each thing that can be measured is a function of the request and a report, which it gives a row of figures as soon as
the row is measured.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ppgn import paths
from ppgn.cli.evaluation.captions import captions
from ppgn.cli.evaluation.inpainting import filling
from ppgn.cli.evaluation.places import places
from ppgn.cli.evaluation.reconstruction import reconstruction
from ppgn.cli.evaluation.report import Report
from ppgn.cli.evaluation.request import Request
from ppgn.cli.evaluation.samples import samples
from ppgn.cli.evaluation.units import units
from ppgn.cli.evaluation.variants import variants
from ppgn.cli.sample import enough_memory

MEASURE: dict[str, Callable[[Request, Report], None]] = {
    "reconstruction": reconstruction,
    "samples": samples,
    "variants": variants,
    "inpainting": filling,
    "places": places,
    "captions": captions,
    "units": units,
}


def main(words: Sequence[str]) -> int:
    """Run `ppgn evaluate` with `words`, key=value each -> exit status 0. What can be refused is refused at once."""
    request = Request.read(words)
    report = Report(request)
    paths.check_writable(request.out, 50_000_000)
    with enough_memory(request.device, request.batch_size):
        MEASURE[request.what](request, report)
    print(f"{report}\n-> {request.out}")
    return 0
