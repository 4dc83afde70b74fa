"""Train a decoder: the features of any layer back to the images.

    ppgn train decoder encoder.layers=[blocks.4] data.root=DATA

A generator's training by the image loss alone, whose code is what the layer gives (Dosovitskiy & Brox 2016, arXiv
1506.02753).
"""

from __future__ import annotations

from collections.abc import Mapping
from math import isqrt

from omegaconf import DictConfig

from ppgn.encoders.features import FeatureEncoder
from train import generator
from train.command import build


def run(cfg: DictConfig, options: Mapping[str, str] | None = None) -> generator.GeneratorTraining:
    """Train a decoder of the encoder's layer and return the trained module; see `train.generator.run`.

    Raises `InputError` for bad settings.
    """
    encoder: FeatureEncoder = build(cfg.encoder)
    (dim,), (channels, *places) = encoder.code_shape, encoder.network.layer_shapes()[encoder.layers[0]]
    side = isqrt(dim // channels) if len(places) == 2 else 1
    whole = encoder.dim is None and len(encoder.layers) == 1 and side > 1 and channels * side**2 == dim
    cfg.generator.code = cfg.model.generator.code = [channels, side, side] if whole else [dim]
    return generator.run(cfg, options)
