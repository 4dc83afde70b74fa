"""A residual up-convolutional generator whose every block reads the code."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ppgn.contracts import Shape
from ppgn.errors import InputError, check_known
from ppgn.media.medium import Pictures
from ppgn.media.sound import Sound
from ppgn.numerics.convolution import Conv2d, whole
from ppgn.numerics.linear import Linear

MEDIA = {"pictures": Pictures, "sound": Sound}


class ModulatedNorm(nn.Module):
    """Standardises each position over its channels, which the code then scales and shifts; rows stay apart."""

    def __init__(self, channels: int, code_dim: int) -> None:
        super().__init__()
        self.style = Linear(code_dim, 2 * channels)
        nn.init.normal_(self.style.weight, std=0.02)
        nn.init.zeros_(self.style.bias)

    def forward(self, x: Tensor, h: Tensor) -> Tensor:
        """(B, C, H, W), codes (B, D) -> (B, C, H, W)."""
        gain, shift = self.style(h)[:, :, None, None].chunk(2, dim=1)
        x = F.layer_norm(x.permute(0, 2, 3, 1), (x.shape[1],)).permute(0, 3, 1, 2)  # a view: memory is channels-last
        return torch.addcmul(shift, x, 1 + gain)


class Block(nn.Module):
    """A residual block, `channels` to `out_channels`, that doubles the resolution if `up`.

    Channels are changed before the resolution is: the 3x3 convolution and the shortcut's 1x1 run on the small map. The
    shortcut is enlarged bilinearly, what goes through the convolutions by repeating its pixels; if `smooth`, that too
    bilinearly, which leaves no checkerboards.
    """

    def __init__(self, channels: int, out_channels: int, code_dim: int, *, up: bool, smooth: bool = False) -> None:
        super().__init__()
        self.up = up
        self.mode = "bilinear" if smooth else None  # settings that are None are not counted by `ppgn.anchors.digest`
        self.norm1 = ModulatedNorm(channels, code_dim)
        self.conv1 = Conv2d(channels, out_channels, 3, padding=1)
        self.norm2 = ModulatedNorm(out_channels, code_dim)
        self.conv2 = Conv2d(out_channels, out_channels, 3, padding=1)
        for parameter in self.conv2.parameters():
            nn.init.zeros_(parameter)
        self.shortcut = Conv2d(channels, out_channels, 1) if channels != out_channels else nn.Identity()

    def forward(self, x: Tensor, h: Tensor) -> Tensor:
        """(B, C, H, W), codes (B, D) -> (B, C', H or 2H, W or 2W)."""
        y = self.conv1(F.leaky_relu(self.norm1(x, h), 0.2))
        x = self.shortcut(x)
        if self.up:
            x = F.interpolate(x, scale_factor=2.0, mode="bilinear")
            y = F.interpolate(y, scale_factor=2.0, mode=self.mode or "nearest")
        change: Tensor = self.conv2(F.leaky_relu(self.norm2(y, h), 0.2))
        return x + change


class ResNet(nn.Module):
    """Codes (B, D) -> images (B, C, S, S) in [0, 1], C = `channels`; what they are says `medium`, one of `MEDIA`.

    The code is mapped to a 4x4 grid of `widths[0]` channels; each further width adds a doubling block, preceded by
    `depths` plain blocks at the smaller resolution. S = 4 · 2^(len(widths) − 1). Layers follow the residual
    generators of the GAN literature, with the code entering every normalisation (Karras et al. 2019, style-based).
    The last `smooth` doubling blocks are smooth ones.
    """

    def __init__(
        self,
        code_dim: int = 512,
        widths: Sequence[int] = (384, 192, 96, 48, 32),
        depths: Sequence[int] = (0, 1, 1, 0, 0),
        channels: int = 3,
        medium: str = "pictures",
        smooth: int = 0,
    ) -> None:
        super().__init__()
        if len(depths) != len(widths):
            raise InputError(f"generator: {len(widths)} widths need as many depths, not {len(depths)}")
        check_known("medium", medium, MEDIA)
        self.code_shape: Shape = (code_dim,)
        size = 4 * 2 ** (len(widths) - 1)
        self.signal_shape: Shape = (channels, size, size)
        self.medium = MEDIA[medium]()
        self.widths = tuple(widths)
        self.stem = Linear(code_dim, 16 * widths[0])
        blocks: list[Block] = []
        for level, (width, depth) in enumerate(zip(widths, depths, strict=True)):
            blocks += [Block(width, width, code_dim, up=False) for _ in range(depth)]
            if level + 1 < len(widths):
                late = level + 1 >= len(widths) - smooth
                blocks.append(Block(width, widths[level + 1], code_dim, up=True, smooth=late))
        self.blocks = nn.ModuleList(blocks)
        self.norm = ModulatedNorm(widths[-1], code_dim)
        self.to_rgb = Conv2d(widths[-1], channels, 3, padding=1)
        self.to(memory_format=torch.channels_last)  # as what is convolved lies in memory: no weight is moved for it

    def forward(self, h: Tensor) -> Tensor:
        """Codes (B, D) -> images (B, C, S, S) in [0, 1]."""
        return torch.sigmoid(self._drawn(h) if torch.compiler.is_compiling() else whole(self._drawn, h))

    def _drawn(self, h: Tensor) -> Tensor:
        """The same, not yet squeezed into [0, 1]."""
        x = self.stem(h).view(-1, self.widths[0], 4, 4).contiguous(memory_format=torch.channels_last)
        for block in self.blocks:
            x = block(x, h)
        drawn: Tensor = self.to_rgb(F.leaky_relu(self.norm(x, h), 0.2))
        return drawn

    @torch.no_grad()
    def grow_from(self, smaller: ResNet) -> None:
        """Take the weights of a generator that lacks the last blocks: this one then draws its pictures, enlarged.

        Its new blocks change nothing as long as they have not learned. Raises `InputError` where `smaller` is no
        beginning of this one, or the new blocks are not as wide as its last.
        """
        own, given, new = self.state_dict(), smaller.state_dict(), self.blocks[len(smaller.blocks) :]
        fits = all(name in own and own[name].shape == value.shape for name, value in given.items())
        if not fits or not all(isinstance(block.shortcut, nn.Identity) for block in new):
            widths = f"widths {list(self.widths)} do not grow from {list(smaller.widths)}"
            raise InputError(f"generator: {widths}; give these, then {smaller.widths[-1]} for each doubling more")
        self.load_state_dict(given, strict=False)
