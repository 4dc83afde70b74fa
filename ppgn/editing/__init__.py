"""Photographs edited towards a target: `edit` does it all, the modules are its parts."""

from ppgn.editing.editing import Edited, edit

__all__ = ["Edited", "edit"]
