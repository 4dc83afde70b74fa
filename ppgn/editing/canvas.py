"""The part of a photograph that is edited: what a generator sees of it, and the way back at full size."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from scipy import ndimage
from torch import Tensor
from torch.nn import functional as F

from ppgn.errors import InputError
from ppgn.inpainting.problem import Region, resize
from ppgn.media import images

FEATHER = 1 / 16  # of the square's side: over so much a change fades towards what may not change


@dataclass(frozen=True)
class Canvas:
    """A square of a photo, uint8 (3, H, W), and how much each of its pixels may change.

    `box` are the square's rows and columns, `share` (h, w) the part of a change that a pixel takes, 0 to 1. `image`
    (3, S, S') in [0, 1] and `small` (1, S, S') are the square and its shares at a generator's size.
    """

    photo: Tensor
    box: tuple[slice, slice]
    share: Tensor
    image: Tensor
    small: Tensor

    @staticmethod
    def of(photo: Tensor, mask: Tensor | None, size: Sequence[int]) -> Canvas:
        """The largest square in the middle, or the one twice as wide as a mask (H, W), bool, True where it may change.

        A change fades towards pixels of the photo that may not change, so that no seam is seen. Raises `InputError` for
        a mask of another size, and for one that lets nothing change.
        """
        shape = tuple(photo.shape[-2:])
        if mask is not None and tuple(mask.shape) != shape:
            sizes = f"the mask has {mask.shape[-1]}x{mask.shape[0]} pixels, the image {shape[1]}x{shape[0]}"
            raise InputError(f"{sizes}; give a mask of the image's size")
        if mask is not None and not bool(mask.any()):
            raise InputError("the mask lets nothing change; paint what may change white")
        side = min(shape)
        whole = Region((shape[0] - side) // 2, (shape[1] - side) // 2, side)
        region = whole if mask is None else Region.around(mask)
        box = region.box(shape)
        free = torch.zeros(shape, dtype=torch.bool)
        free[box] = True if mask is None else mask[box]
        share = free[box].float()
        if not bool(free.all()):
            around = tuple(slice(max(0, p.start - 1), p.stop + 1) for p in box)  # what lies beyond is not free either
            depth = torch.from_numpy(ndimage.distance_transform_edt(free[around].numpy())).float()
            inner = tuple(slice(p.start - a.start, p.stop - a.start) for p, a in zip(box, around, strict=True))
            share = (depth[inner] / max(1.0, FEATHER * region.side)).clamp_max(1)
        part = photo[:, box[0], box[1]].float() / 255
        small, image = (resize(one, size).clamp(0, 1) for one in (share[None], part))
        return Canvas(photo, box, share, image, small)

    def cut(self, picture: Tensor) -> Tensor:
        """The square of a picture (3, H, W), (3, h, w)."""
        return picture[:, self.box[0], self.box[1]]

    def changed(self, change: Tensor) -> Tensor:
        """The photo with a change (3, S, S') of what the generator sees, enlarged; uint8 (3, H, W).

        Pixels whose share is 0 stay as they are.
        """
        large = F.interpolate(change[None].float().cpu(), self.share.shape, mode="bicubic")[0]
        edited = self.photo.clone()
        within = self.cut(edited)
        within.copy_(images.to_uint8(within.float() / 255 + self.share * large))
        return edited
