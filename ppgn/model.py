"""PPGN: a generator, its encoder and the priors over its codes, in one file."""

from __future__ import annotations

import contextlib
import importlib
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any, cast

import safetensors.torch
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from ppgn import paths
from ppgn.contracts import Condition, Generator, Prior, Samples, Shape
from ppgn.errors import InputError, unknown
from ppgn.networks import captioner
from ppgn.networks.network import Network
from ppgn.posterior import Posterior, Transform
from ppgn.priors.gaussian import Gaussian
from ppgn.priors.joint import Joint
from ppgn.samplers import chains
from ppgn.samplers.annealed import Annealed
from ppgn.samplers.sampler import Sampler

FORMAT = "ppgn-1"
BUILT_IN = ("gaussian", "joint")  # priors that need no training
ROOMS = ("ppgn.generators.", "ppgn.encoders.", "ppgn.priors.", "ppgn.networks.")


def build(config: Any) -> Any:
    """Build an object from a nested mapping with `_target_`, as Hydra would, but only from this package's rooms.

    A checkpoint can name nothing else: loading one never runs code that it brings along.
    """
    if isinstance(config, Mapping):
        values = {key: build(value) for key, value in config.items() if key != "_target_"}
        target = config.get("_target_")
        if target is None:
            return values
        made, module = None, ""
        if isinstance(target, str) and target.startswith(ROOMS):
            module, _, name = target.rpartition(".")
            with contextlib.suppress(ImportError):
                made = getattr(importlib.import_module(module), name, None)
        if made is None or getattr(made, "__module__", None) != module:
            raise InputError(f"checkpoint: refuses to build '{target}', which is not a part of ppgn")
        try:
            return made(**values)
        except InputError:
            raise
        except (TypeError, ValueError, RuntimeError) as error:
            reason = str(error).strip().split("\n")[0]
            raise InputError(
                f"cannot build '{target}': it was written by another version, or misspelled ({reason})"
            ) from error
    if isinstance(config, list):
        return [build(value) for value in config]
    return config


class PPGN(nn.Module):
    """A Plug & Play Generative Network without its condition: generator G, encoder E, priors over codes.

    `priors` are the trained ones by name; "gaussian" and, where there is an encoder, "joint" stand beside them unasked.
    A model without an encoder, as one of pixels is, cannot encode. `config` is what `from_config` rebuilds the parts
    from; a model put together by hand has none and cannot be saved. `card` holds facts about the weights: name,
    description, data, licence. Raises `InputError` for parts whose codes differ, and for a prior's name already taken.
    """

    encoder: Any  # an nn.Module (contracts.Encoder), or None

    def __init__(
        self,
        generator: nn.Module,
        encoder: nn.Module | None = None,
        priors: Mapping[str, nn.Module] | None = None,
        *,
        config: Mapping[str, Any] | None = None,
        card: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__()
        self.generator, self.encoder = generator, encoder
        self.priors = nn.ModuleDict(
            {"gaussian": Gaussian()} if encoder is None else {"gaussian": Gaussian(), "joint": Joint(encoder)}
        )
        self.register_buffer("_place", torch.empty(0), persistent=False)  # moves along where a model has no weights
        self.config = None if config is None else dict(config)
        self.card = dict(card or {})
        if encoder is not None and _code_shape(generator) != _code_shape(encoder):
            shapes = f"the generator reads codes {_code_shape(generator)}, the encoder writes {_code_shape(encoder)}"
            raise InputError(f"model: {shapes}; make them equal")
        for name, prior in (priors or {}).items():
            self._add(name, prior)

    def _add(self, name: str, prior: nn.Module) -> None:
        """Put a trained prior beside the others."""
        if name in BUILT_IN or not name.isidentifier() or hasattr(nn.ModuleDict, name):
            raise InputError(f"model: a prior cannot be named '{name}'; choose another word, not {', '.join(BUILT_IN)}")
        if _code_shape(prior) != _code_shape(self.generator):
            shapes = f"reads codes {_code_shape(prior)}, the generator {_code_shape(self.generator)}"
            raise InputError(f"model: the prior '{name}' {shapes}; train one for this model")
        self.priors[name] = prior

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self._reference.device

    @property
    def dtype(self) -> torch.dtype:
        """The precision of the weights, and of the codes that `sample` walks through."""
        return self._reference.dtype

    @property
    def _reference(self) -> Tensor:
        return next(chain(self.parameters(), self.buffers()))

    @classmethod
    def from_config(cls, config: Mapping[str, Any], card: Mapping[str, Any] | None = None) -> PPGN:
        """Build a model with fresh weights from `{"generator": …, "encoder": …, "priors": {NAME: …}}`.

        Each part is a mapping with `_target_`; encoder and priors may be left out. Raises `InputError` for what cannot
        be built.
        """
        generator, encoder = build(config.get("generator")), build(config.get("encoder"))
        for name, part in (("generator", generator), ("encoder", encoder)):
            if not isinstance(part, nn.Module) and (name == "generator" or part is not None):
                raise InputError(
                    f"model: its configuration names no {name}; expected {name}: {{_target_: ppgn.{name}s.…}}"
                )
        priors = build(config.get("priors") or {})
        if not isinstance(priors, dict):
            raise InputError("model: its priors are no mapping; expected priors: {NAME: {_target_: ppgn.priors.…}}")
        for name, prior in priors.items():
            if not isinstance(prior, nn.Module) or not isinstance(prior, Prior):
                raise InputError(f"model: '{name}' among its priors is none; expected {{_target_: ppgn.priors.…}}")
        return cls(generator, encoder, priors, config=config, card=card)

    def with_prior(self, name: str, prior: nn.Module, config: Mapping[str, Any]) -> PPGN:
        """This model with a trained prior more, or with another one of that `name`; the parts are shared, not copied.

        `config` is the mapping with `_target_` that builds the prior with fresh weights. Raises `InputError` for a
        name that cannot be, and for a prior of other codes.
        """
        trained = {key: value for key, value in self.priors.items() if key not in BUILT_IN} | {name: prior}
        described = None
        if self.config is not None:
            described = {**self.config, "priors": {**(self.config.get("priors") or {}), name: dict(config)}}
        return PPGN(self.generator, self.encoder, trained, config=described, card=self.card)

    @torch.no_grad()
    def encode(self, images: Tensor) -> Tensor:
        """Images (B, 3, H, W) in [0, 1] -> codes (B, *code_shape). Raises `InputError` where there is no encoder."""
        if self.encoder is None:
            raise InputError("model: it has no encoder, so images cannot be encoded; start from random codes instead")
        codes: Tensor = self.encoder(images.to(self._reference))
        return codes

    @torch.no_grad()
    def decode(self, codes: Tensor) -> Tensor:
        """Codes (B, *code_shape) -> images (B, 3, H, W) in [0, 1]."""
        drawn: Tensor = self.generator(codes.to(self._reference))
        return drawn

    def posterior(
        self, condition: Condition, *, prior: str | None = None, transform: Transform | None = None
    ) -> Posterior:
        """p(h | y) with one of `priors` by name, by default "joint" where there is one, else "gaussian".

        The condition sees what `transform` makes of an image, unless it is `in_place`. Raises `InputError` for an
        unknown name.
        """
        if getattr(condition, "in_place", False):
            transform = None
        if prior is None:
            prior = "joint" if "joint" in self.priors else "gaussian"
        if prior not in self.priors:
            raise unknown("prior", prior, self.priors.keys())
        generator, keeps = cast(Generator, self.generator), cast(Prior, self.priors[prior])
        return Posterior(generator, keeps, condition, transform)

    def choose_prior(self, name: str | None, sampler: Sampler) -> str:
        """`name`, if there is such a prior; of those that suit `sampler` the first there is, if `name` is None.

        Raises `InputError` for an unknown name.
        """
        if name is None:
            return next(suited for suited in (*sampler.priors, "gaussian") if suited in self.priors)
        if name not in self.priors:
            raise unknown("prior", name, self.priors.keys())
        return name

    def targets(self, conditions: Sequence[Condition], sampler: Sampler, prior: str | None) -> list[Posterior]:
        """What chains of `sampler` walk on, one for each condition; the arguments are those of `sample`."""
        prior = self.choose_prior(prior, sampler)
        targets = [self.posterior(c, prior=prior, transform=sampler.transform) for c in conditions]
        return targets

    def sample(
        self,
        condition: Condition | Sequence[Condition],
        seeds: Iterable[int] = range(16),
        *,
        sampler: Sampler | None = None,
        prior: str | None = None,
        steps: int | None = None,
        **options: Any,
    ) -> Samples:
        """Draw one chain per seed from p(h | y) -> `Samples`; several conditions are walked through in turn.

        `sampler` is by default `Annealed()`, `steps` overrides its number of steps per condition, `prior` is by default
        the one that suits the sampler best. `options` are those of `ppgn.samplers.chains.sample`: init, burn_in, thin,
        batch_size, callback, on_batch, checkpoint, ... A seed gives the same sample in any batch (compiled, or on a
        GPU, up to rounding, which a long chain amplifies). Raises `InputError` for settings that cannot be.
        """
        conditions = condition if isinstance(condition, Sequence) else [condition]
        sampler = sampler or Annealed()
        targets = self.targets(conditions, sampler, prior)
        options.setdefault("device", self.device)
        options.setdefault("dtype", self.dtype)
        steps = sampler.steps if steps is None else steps
        return chains.sample(targets, sampler, list(seeds), steps=steps, **options)

    def save(self, path: str | Path, *, card: Mapping[str, Any] | None = None) -> None:
        """Write one safetensors file, weights in half precision, from whose metadata `load` rebuilds the model.

        Weights that are there wherever the package is (the encoder's frozen network) are named, not copied. Those read
        from a file are copied, and the file is needed no more.
        """
        if self.config is None:
            raise InputError("model: put together by hand, so a checkpoint could not say how; use PPGN.from_config")
        tensors = {
            name: (value.half() if value.is_floating_point() else value).detach().cpu().contiguous()
            for name, value in self._stored().items()
        }
        metadata = {
            "format": FORMAT,
            "config": json.dumps(_self_contained(self.config, self)),
            "card": json.dumps({**self.card, **(card or {})}),
        }
        paths.write(Path(path), safetensors.torch.save(tensors, metadata=metadata))

    def _stored(self) -> dict[str, Tensor]:
        """The tensors that make up a checkpoint, by name: each once, and none that a package brings along."""
        networks = [m for m in self.modules() if isinstance(m, Network) and m.restorable]
        brought = {id(t) for network in networks for t in (*network.parameters(), *network.buffers())}
        stored: dict[str, Tensor] = {}
        for name, value in self.state_dict(keep_vars=True).items():
            if id(value) not in brought:
                brought.add(id(value))
                stored[name] = value
        return stored


def _self_contained(config: Mapping[str, Any], module: nn.Module | None) -> dict[str, Any]:
    """The configuration of a module, in which networks whose weights a checkpoint holds name no file of them."""
    values = {
        key: _self_contained(value, getattr(module, key, None)) if isinstance(value, Mapping) else value
        for key, value in config.items()
    }
    return values | module.rebuilt_with if isinstance(module, Network) else values


def _code_shape(part: nn.Module) -> Shape:
    return tuple(cast(Generator, part).code_shape)


def find(name: str | Path) -> Path:
    """The file of a shipped checkpoint's name or of a path. Raises `InputError` naming the nearest names."""
    text = str(name)
    if text.endswith(".safetensors") or os.sep in text:
        path = Path(text).expanduser()
        if not path.is_file():
            raise InputError(f"no checkpoint file '{path}'; give a .safetensors file or one of: {_shipped()}")
        return path
    path = paths.checkpoints() / f"{text}.safetensors"
    if not path.is_file():
        raise unknown("model", text, _shipped(), hint="or give the path of a .safetensors file")
    return path


def _shipped() -> list[str]:
    return sorted(path.stem for path in paths.checkpoints().glob("*.safetensors") if not _is_captioner(path))


def _is_captioner(path: Path) -> bool:
    """Whether a file is of the other kind that is shipped; one that cannot be read is for `load` to complain about."""
    with contextlib.suppress(SafetensorError, OSError), safe_open(path, "pt") as file:
        return (file.metadata() or {}).get("format") == captioner.FORMAT
    return False


def _metadata(path: Path) -> dict[str, Any]:
    """The configuration and card of a checkpoint file."""
    try:
        with safe_open(path, "pt") as file:
            metadata = file.metadata() or {}
    except (SafetensorError, OSError) as error:
        raise InputError(f"'{path}' is not a safetensors file ({error}); give a checkpoint written by ppgn") from error
    if metadata.get("format") != FORMAT:
        raise InputError(f"'{path}' has format '{metadata.get('format')}', not '{FORMAT}'; give one that ppgn wrote")
    try:
        found = {name: json.loads(metadata[name]) for name in ("config", "card")}
    except (KeyError, json.JSONDecodeError) as error:
        raise InputError(f"'{path}' is damaged: its metadata cannot be read; get it anew") from error
    if not all(isinstance(value, dict) for value in found.values()) or "generator" not in found["config"]:
        raise InputError(f"'{path}' is damaged: its metadata describe no generator; get it anew")
    return found


def load(name: str | Path = "natural64", device: str | torch.device = "cpu") -> PPGN:
    """Load a shipped model by name, or any PPGN checkpoint by path; float32, frozen, in evaluation mode.

    Nothing is unpickled and nothing is built but parts of this package. Raises `InputError` for an unknown name, and
    for a file that is no PPGN checkpoint, is damaged or was written by another version.
    """
    path = find(name)
    metadata = _metadata(path)
    model = PPGN.from_config(metadata["config"], metadata["card"])
    tensors = safetensors.torch.load_file(path)
    stored = model._stored()
    wrong = sorted(stored.keys() ^ tensors.keys()) or [k for k in stored if stored[k].shape != tensors[k].shape]
    if wrong:
        raise InputError(f"'{path}' does not fit the model that it names, at '{wrong[0]}'; it is damaged or too old")
    with torch.no_grad():
        for key, value in stored.items():
            value.copy_(tensors[key])
    return model.to(device).eval().requires_grad_(False)


def available() -> list[dict[str, Any]]:
    """The shipped checkpoints: name, path, size in bytes, configuration and card."""
    files = [find(name) for name in _shipped()]
    return [{"name": f.stem, "path": f, "bytes": f.stat().st_size, **_metadata(f)} for f in files]
