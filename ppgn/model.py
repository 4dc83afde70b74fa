"""PPGN: a generator, its encoder and the priors over its codes, in one file."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

from ppgn import anchors, building, files, paths
from ppgn.conditions.probe import probe
from ppgn.contracts import AnchoringPrior, Condition, Generator, Prior, Samples, Shape
from ppgn.errors import InputError, unknown
from ppgn.media import medium
from ppgn.networks import _weights
from ppgn.networks.network import Network
from ppgn.numerics.convolution import AlikeInAnyBatch
from ppgn.posterior import Posterior, Transform
from ppgn.priors.gaussian import Gaussian
from ppgn.priors.joint import Joint
from ppgn.samplers import chains
from ppgn.samplers.anchored import Anchored
from ppgn.samplers.sampler import Sampler

FORMAT = files.MODEL
BUILT_IN = ("gaussian", "joint")  # priors that need no training
# Whoever says nothing gets the first there is.
SUITED = ("diffusion", "unet", "image_unet", "mixture", "stationary", "gaussian")
KERNELS = ("anchored", "annealed")  # the samplers that whoever names none may get


class UntrainedError(InputError):
    """A prior that has to be trained first."""

    def __init__(self, lack: str, command: str, made: str) -> None:
        super().__init__(f"{lack}; train it, ppgn {command} data.root=DATA, and give model={made}")


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
        self.name: str | None = None  # by which it was loaded
        self.config = None if config is None else dict(config)
        self.card = dict(card or {})
        if encoder is not None and _code_shape(generator) != _code_shape(encoder):
            shapes = f"the generator reads codes {_code_shape(generator)}, the encoder writes {_code_shape(encoder)}"
            raise InputError(f"model: {shapes}; make them equal")
        for name, prior in (priors or {}).items():
            if not isinstance(prior, nn.Module) or not isinstance(prior, Prior):
                raise InputError(f"model: '{name}' among its priors is none; expected an nn.Module with `residual`")
            if name in BUILT_IN or not name.isidentifier() or hasattr(nn.ModuleDict, name):
                taken = ", ".join(BUILT_IN)
                raise InputError(f"model: a prior cannot be named '{name}'; choose another word, not {taken}")
            self.priors[name] = self._fitting(name, prior)

    def _fitting(self, name: str, prior: nn.Module) -> nn.Module:
        """The prior itself. Raises `InputError` where it is one of other codes."""
        own, given = _code_shape(self.generator), getattr(prior, "code_shape", None)
        if given is not None and tuple(given) != own:
            shapes = f"reads codes {tuple(given)}, the generator {own}"
            raise InputError(f"model: the prior '{name}' {shapes}; train one for this model")
        return prior

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
    def from_config(
        cls,
        config: Mapping[str, Any],
        card: Mapping[str, Any] | None = None,
        trust: str | Sequence[str] | None = None,
    ) -> PPGN:
        """Build a model with fresh weights from `{"generator": …, "encoder": …, "priors": {NAME: …}}`.

        Each part is a mapping with `_target_`; encoder and priors may be left out. `{"samplers": {"anchored": {"steps":
        25}}}` beside them are settings that suit this generator better than a sampler's own (`suited`). `trust` is that
        of `ppgn.building.build`: None for what you wrote, a sequence for what a file says. Raises `InputError` for what
        cannot be built.
        """
        _check_samplers(config.get("samplers") or {})
        parts = {name: building.build(config.get(name), trust=trust) for name in ("generator", "encoder")}
        for name, part in parts.items():
            if not isinstance(part, nn.Module) and (name == "generator" or part is not None):
                expected = f"expected {name}: {{_target_: ppgn.{name}s.…}}"
                raise InputError(f"model: its configuration names no {name}; {expected}")
        priors = building.build(config.get("priors") or {}, trust=trust)
        if not isinstance(priors, dict):
            raise InputError("model: its priors are no mapping; expected priors: {NAME: {_target_: ppgn.priors.…}}")
        return cls(parts["generator"], parts["encoder"], priors, config=config, card=card)

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
        with AlikeInAnyBatch():
            codes: Tensor = self.encoder(images.to(self._reference))
        return codes

    @torch.no_grad()
    def decode(self, codes: Tensor) -> Tensor:
        """Codes (B, *code_shape) -> images (B, 3, H, W) in [0, 1]."""
        with AlikeInAnyBatch():
            drawn: Tensor = self.generator(codes.to(self._reference))
        return drawn

    def posterior(
        self, condition: Condition, *, prior: str | Prior | None = None, transform: Transform | None = None
    ) -> Posterior:
        """p(h | y) with a prior as `choose_prior` takes it.

        The condition sees what `transform` makes of a signal, unless it is `in_place` or the generator's medium knows
        no views. Raises `InputError` for a prior that is none.
        """
        if getattr(condition, "in_place", False) or not medium.of(cast(Generator, self.generator)).views:
            transform = None
        chosen = self.choose_prior(prior)
        return Posterior(cast(Generator, self.generator), chosen, condition, transform, find_anchors=anchors.find)

    def choose_prior(self, prior: Any = None, sampler: Any = None) -> Prior:
        """The prior of a name, "module:Class", mapping or object; for None the first of this model's that suits.

        What suits is what `sampler.priors` says, best first; without a sampler that is the first of `SUITED`.
        Raises `UntrainedError` for a prior that the model could be given, `InputError` for any other unknown name and
        for an object that is no prior of such codes.
        """
        if prior is None:
            suited = (*getattr(sampler, "priors", SUITED), "gaussian")
            prior = next(name for name in suited if name in self.priors)
        if isinstance(prior, str) and prior in self.priors:
            return cast(Prior, self.priors[prior])
        called = str(prior) if isinstance(prior, str) else type(prior).__name__
        if isinstance(prior, str) and ":" not in prior:
            raise self._lack(prior)
        if isinstance(prior, str | Mapping):
            node = building.node("prior", prior)
            if "code_shape" not in node and "code_shape" in building.parameters(node["_target_"]):
                node["code_shape"] = list(_code_shape(self.generator))
            prior = building.build(node)
            if isinstance(prior, nn.Module):
                prior = prior.to(self.device, self.dtype).eval().requires_grad_(False)
        if not isinstance(prior, Prior):
            raise InputError(f"prior '{called}' is none: expected residual(h, x) -> R(h) − h; see ppgn.contracts.Prior")
        return cast(Prior, self._fitting(called, cast(nn.Module, prior)))

    def suited(
        self, sampler: Any = None, prior: Any = None, conditions: Iterable[Condition] = (), *, own: bool = True
    ) -> Any:
        """The sampler itself; where none is named (`named`) "anchored", or "annealed" if that suits better.

        It does where the prior has no anchors, and for conditions one of which is `rare`. own: with the settings that
        the model's configuration has for it, below those given. Raises `InputError` as `named` and `choose_prior` do.
        """
        anchoring = isinstance(self.choose_prior(prior, Anchored()), AnchoringPrior)
        rare = any(getattr(condition, "rare", False) for condition in conditions)
        name = "anchored" if anchoring and not rare else "annealed"
        brought = (self.config or {}).get("samplers", {}).get(name, {}) if own else {}
        if brought and (sampler is None or (isinstance(sampler, Mapping) and "_target_" not in sampler)):
            sampler = {**brought, **(sampler or {})}
        return named(sampler, name)

    def _lack(self, prior: str) -> InputError:
        """What to say of the name of a prior that is not here."""
        if prior not in paths.options("prior"):
            return unknown("prior", prior, self.priors.keys(), "or give module:Class or file.py:Class")
        named = self.name or "MODEL"
        command = f"train prior prior={prior} model={'null' if self.encoder is None else named}"
        made = f"runs/prior/{'pixels' if self.encoder is None else Path(named).stem}.safetensors"
        return UntrainedError(f"model {named} has no prior '{prior}'", command, made)

    def name_of(self, prior: Prior) -> str:
        """The name by which a prior stands in `priors`, else that of its class."""
        return next((name for name, own in self.priors.items() if own is prior), type(prior).__name__)

    def targets(self, conditions: Sequence[Condition], sampler: Sampler, prior: Any = None) -> list[Posterior]:
        """What chains of `sampler` walk on, one for each condition; the arguments are those of `sample`.

        The conditions get the sampler's `class_gradient` and are probed, as `ppgn.conditions.probe.probe` does.
        """
        chosen = self.choose_prior(prior, sampler)
        targets = []
        for condition in conditions:
            if sampler.class_gradient != "full" and hasattr(condition, "with_gradient"):
                condition = condition.with_gradient(sampler.class_gradient)
            probe(condition, cast(Generator, self.generator).signal_shape, self.device, self.dtype)
            targets.append(self.posterior(condition, prior=chosen, transform=sampler.transform))
        return targets

    def sample(
        self,
        condition: Condition | Sequence[Condition],
        seeds: Iterable[int] = range(16),
        *,
        sampler: Any = "annealed",
        prior: Any = None,
        steps: int | None = None,
        **options: Any,
    ) -> Samples:
        """Draw one chain per seed from p(h | y) -> `Samples`; several conditions are walked through in turn.

        sampler: a name in conf/sampler, "module:Class", a mapping or a kernel. steps: how many under each condition,
            by default the sampler's. prior: what `choose_prior` takes.
        options: of `ppgn.samplers.chains.sample`: init, burn_in, thin, batch_size, callback, checkpoint, ...

        A seed gives the same sample in any batch (compiled, or on a GPU, up to rounding, which a long chain amplifies).
        Raises `InputError` for settings that cannot be.
        """
        conditions = condition if isinstance(condition, Sequence) else [condition]
        walker = Sampler.of(building.part("sampler", sampler))
        targets = self.targets(conditions, walker, prior)
        options.setdefault("device", self.device)
        options.setdefault("dtype", self.dtype)
        return chains.sample(targets, walker, list(seeds), steps=walker.steps if steps is None else steps, **options)

    def save(self, path: str | Path, *, card: Mapping[str, Any] | None = None, base: str | None = None) -> None:
        """Write one safetensors file, weights in half precision, from whose metadata `load` rebuilds the model.

        Weights that are there wherever the package is (the encoder's frozen network) are named, not copied. Those read
        from a file are copied, and the file is needed no more. base: a shipped model; what equals its tensors of the
        same names is left out, and read from there again.
        """
        if self.config is None:
            raise InputError("model: put together by hand, so a checkpoint could not say how; use PPGN.from_config")
        tensors = {n: value.half() if value.is_floating_point() else value for n, value in self._stored().items()}
        config, described = _self_contained(self.config, self), {**self.card, **(card or {})}
        shapes = {"code": _code_shape(self.generator), "signal": self.generator.signal_shape}
        more = {}
        if base is not None:
            held = files.load(files.find("model", base, FORMAT), FORMAT)[0]
            same = {n: v for n, v in held.items() if n in tensors and torch.equal(v, tensors[n].cpu())}
            tensors = {name: value for name, value in tensors.items() if name not in same}
            more["base"] = {"name": base, "digest": files.digest(same)}
        files.save(path, tensors, FORMAT, config=config, card=described, shapes=shapes, **more)

    @classmethod
    def from_pretrained(cls, name: str | Path, **options: Any) -> PPGN:
        """The model in a folder, or of "USER/NAME" on the Hugging Face hub: see `ppgn.interop.hub.load`."""
        loaded: PPGN = building.locate("ppgn.interop.hub.load")(name, **options)
        return loaded

    def save_pretrained(self, folder: str | Path, **options: Any) -> None:
        """Write the model into a folder, with a README.md: see `ppgn.interop.hub.save`."""
        building.locate("ppgn.interop.hub.save")(self, folder, **options)

    def push_to_hub(self, name: str, **options: Any) -> str:
        """Upload the model to "USER/NAME" -> "hf:USER/NAME@COMMIT": see `ppgn.interop.hub.push`."""
        place: str = building.locate("ppgn.interop.hub.push")(self, name, **options)
        return place

    def _stored(self) -> dict[str, Tensor]:
        """The tensors that make up a checkpoint, by name: none that a package brings along."""
        brought = tuple(f"{n}." for n, m in self.named_modules() if getattr(m, "restorable", False))
        state = self.state_dict(keep_vars=True)
        return {name: value for name, value in state.items() if not name.startswith(brought)}


def named(sampler: Any, name: str) -> Any:
    """The sampler as it is, but None and a mapping of settings alone, without `_target_`, are the one of that name.

    Raises `InputError` for a setting that this one does not have.
    """
    if sampler is None:
        return name
    if not isinstance(sampler, Mapping) or "_target_" in sampler:
        return sampler
    node = building.node("sampler", name)
    known = building.parameters(node["_target_"])
    for key in sampler:
        if key not in known:
            advice = f"what suits is {name}; name another by sampler=NAME"
            raise unknown("key", f"sampler.{key}", [f"sampler.{own}" for own in known], advice)
    return {**node, **sampler}


def _check_samplers(given: Any) -> None:
    """Raise `InputError` but for `{NAME: {KEY: VALUE}}`: plain values for samplers that `suited` may choose."""
    for name, own in given.items() if isinstance(given, Mapping) else [(None, given)]:
        plain = isinstance(own, Mapping) and all(isinstance(value, int | float | str) for value in own.values())
        if name not in KERNELS or not plain or "_target_" in own:
            raise InputError(f"model: samplers={given} cannot be used; expected as {{anchored: {{steps: 25}}}}")
        building.build(named(own, name))  # refuses what cannot be


def _self_contained(config: Mapping[str, Any], module: nn.Module | None) -> dict[str, Any]:
    """The configuration of a module, in which networks whose weights a checkpoint holds name no file of them."""
    values = {
        key: _self_contained(value, getattr(module, key, None)) if isinstance(value, Mapping) else value
        for key, value in config.items()
    }
    return values | module.rebuilt_with if isinstance(module, Network) else values


def _code_shape(part: nn.Module) -> Shape:
    shape = getattr(part, "code_shape", None)
    if shape is None:
        raise InputError(f"model: {type(part).__name__} has no code_shape; give it one, as (512,)")
    return tuple(shape)


def load(
    name: str | Path | Mapping[str, Any] | PPGN = "natural64",
    device: str | torch.device = "cpu",
    trust: str | Sequence[str] = (),
) -> PPGN:
    """Load a shipped model by name, or any PPGN checkpoint by path; float32, frozen, in evaluation mode.

    Nothing is unpickled, no file and no address that the checkpoint names is opened, and nothing is built but parts of
    this package, and of the modules and files in `trust` ("mine", "mine.py"). "module:Class" or "file.py:Class" of a
    generator makes a model with random weights; a folder, and "hf:USER/NAME" of the Hugging Face hub, is what
    `ppgn.interop.hub.load` takes; a mapping with `_target_` is built, whatever it names; a model itself is moved to the
    device.

    Raises `InputError` for an unknown name, and for a file that is no PPGN checkpoint, is damaged or was written by
    another version.
    """
    if isinstance(name, PPGN):
        return name.to(device)
    if not isinstance(name, str | Path | Mapping):
        raise InputError(f"model={'null' if name is None else name} cannot be used; give a name or a file")
    if isinstance(name, Mapping):
        made = building.build(name)
        return (made if isinstance(made, PPGN) else PPGN(made)).to(device).eval().requires_grad_(False)
    if str(name).startswith("hf:") or (name not in files.shipped(FORMAT) and Path(name).expanduser().is_dir()):
        return PPGN.from_pretrained(name, device=device, trust=trust)
    if ":" in str(name) and not str(name).endswith(".safetensors"):
        made = building.build({"_target_": str(name)})
        made = made if isinstance(made, PPGN) else PPGN(made)
        made.name = str(name)
        return made.to(device).eval().requires_grad_(False)
    path = files.find("model", name, FORMAT)
    tensors, metadata = files.load(path, FORMAT)
    config, card = _described(path, metadata)
    try:
        model = PPGN.from_config(config, card, (trust,) if isinstance(trust, str) else trust)
    except InputError as error:
        raise InputError(f"'{path}': {error}") from error
    expected = model._stored()
    if "base" in metadata:
        tensors |= _borrowed(path, metadata["base"], expected.keys() - tensors.keys())
    _weights.fill(expected, tensors, f"'{path}' does not fit the model that it names; it is damaged or too old")
    model.name = str(name)
    return model.to(device).eval().requires_grad_(False)


def _borrowed(path: Path, base: Any, names: Iterable[str]) -> dict[str, Tensor]:
    """The tensors that a file leaves to the shipped model that it is based on."""
    ours, named = files.shipped(FORMAT), base.get("name") if isinstance(base, dict) else None
    if not isinstance(named, str) or named not in ours:
        raise InputError(f"'{path}' is based on a model that does not come along; get one that is whole")
    held = files.load(ours[named], FORMAT)[0]
    found = {name: held[name] for name in names if name in held}
    if files.digest(found) != base.get("digest"):
        raise InputError(f"'{path}' is based on another version of '{named}'; get the one for this version of ppgn")
    return found


def _described(path: Path, metadata: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """The configuration and the card in a checkpoint's metadata."""
    config, card = metadata["config"], metadata["card"]
    if not isinstance(config, dict) or not isinstance(card, dict) or "generator" not in config:
        raise InputError(f"'{path}' is damaged: its metadata describe no generator; get it anew")
    return config, card
