"""Holes in photographs of any size, filled: `inpaint` does it all, the modules are its parts."""

from ppgn.inpainting.filling import Completed, inpaint

__all__ = ["Completed", "inpaint"]
