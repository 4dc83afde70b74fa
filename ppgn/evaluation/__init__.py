"""How good a model is: one function for each table of figures, with photographs and judges that took no part beside it.

All pictures are reduced to 64 px, or to what `reduce_to` says. Intervals are 95 % bootstrap ones.
"""

from ppgn.evaluation.captions import captions
from ppgn.evaluation.edits import edits
from ppgn.evaluation.inpainting import inpainting
from ppgn.evaluation.places import places
from ppgn.evaluation.reconstruction import reconstruction
from ppgn.evaluation.samples import samples, variants
from ppgn.evaluation.search import search
from ppgn.evaluation.table import Table
from ppgn.evaluation.units import units
from ppgn.evaluation.visualisations import visualisations

__all__ = [
    "Table",
    "captions",
    "edits",
    "inpainting",
    "places",
    "reconstruction",
    "samples",
    "search",
    "units",
    "variants",
    "visualisations",
]
