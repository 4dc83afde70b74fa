"""Autoencoders of diffusers as generator and encoder, its UNets and transformers as prior.

They need pip install "ppgn[diffusers]". A model of such parts is saved by reference, a folder or a repository and its
commit; the weights are not copied.
Only safetensors are read, and no code comes with them.
"""

from __future__ import annotations

import importlib
import inspect
import json
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ppgn.contracts import Shape
from ppgn.errors import InputError, check_known, first_line
from ppgn.interop import conditioning
from ppgn.interop.repository import PREFIX, repository, snapshot
from ppgn.model import PPGN
from ppgn.numerics.linear import alike
from ppgn.priors.diffusion import Diffusion, Prediction

AUTOENCODERS = ("AutoencoderKL", "AutoencoderTiny", "AutoencoderRAE", "AutoencoderKLFlux2")
SIZE = 256  # of pictures where a configuration says none
ADVICE = "give a pipeline or an autoencoder of diffusers"
PRECISIONS = ("float32", "bfloat16", "float16")
CONFIGS = ("*.json", "*/*.json")
WEIGHTS = ("diffusion_pytorch_model.safetensors", "diffusion_pytorch_model-*-of-*.safetensors")


def load(
    source: str | Path,
    *,
    revision: str | None = None,
    size: int | None = None,
    prompt: str | None = None,
    negative: str = "",
    label: int | None = None,
    guidance: float = 1.0,
    precision: str = "float32",
) -> PPGN:
    """A model of an autoencoder of diffusers, encoder and generator, and with its UNet or DiT as prior "diffusion".

    source: a folder, or "USER/NAME" of the Hugging Face hub, from where what is missing is downloaded: a pipeline, or
        an autoencoder alone, which comes without the prior. Without an autoencoder codes are pixels in [−1, 1].
        Pipelines of DDPM, DiT, Stable Diffusion 1 to 3, SDXL, PixArt, FLUX.1 and FLUX.2 are known.
    revision: a branch, a tag or a commit; the commit is what the model keeps. size: of a picture's side, by default
        that of the training. prompt, negative, label: the text (for "" by default) or the class (none by default) that
        is fixed inside the prior. guidance: how much more than what the network says without them, or, where a network
        was trained to be told it, as FLUX.1 dev, that. precision: of the prior's network.

    Raises `InputError` without the package, and for what is no such model.
    """
    folder, commit = snapshot(source, CONFIGS, revision)
    named: dict[str, Any] = {
        "source": str(folder.resolve()) if commit is None else repository(source),
        "revision": commit,
    }
    sized: dict[str, Any] = {**named, "size": size}
    config: dict[str, Any] = {
        "generator": {"_target_": f"{__name__}.Decoder", **sized},
        "encoder": {"_target_": f"{__name__}.Encoder", **sized},
    }
    generator, encoder = Decoder(**sized), Encoder(**sized)
    priors: dict[str, nn.Module] = {}
    if "network" in _parts(folder):
        wish = {"prompt": prompt, "negative": negative, "label": label, "guidance": guidance}
        settings: dict[str, Any] = {**named, "code_shape": list(generator.code_shape), **wish, "precision": precision}
        priors["diffusion"] = diffusion(**settings)
        config["priors"] = {"diffusion": {"_target_": f"{__name__}.diffusion", **settings}}
    card = {"name": named["source"], "revision": commit, "weights": "named, not held, by this file"}
    model = PPGN(generator, encoder, priors, config=config, card=card).eval().requires_grad_(False)
    wishes = {"prompt": prompt, "negative": negative or None, "label": label, "guidance": guidance, "size": size}
    told = [f"{key}={value}" for key, value in wishes.items() if value is not None and (key, value) != ("guidance", 1)]
    model.name = " ".join([named["source"] if commit is None else f"{PREFIX}{named['source']}@{commit}", *told])
    return model


class _Codes(nn.Module):
    """What encoder and decoder share: codes h = (z − mean) / std of latents z, whose patches are channels.

    Scaling and shift are those of the configuration; FLUX.2's are the statistics of its batch normalisation.
    """

    restorable = True
    unused: str  # the half of an autoencoder that is not kept
    vae: Any
    mean: Tensor  # (C, 1, 1), or (1, 1, 1)
    std: Tensor

    def __init__(self, source: str, revision: str | None = None, size: int | None = None) -> None:
        super().__init__()
        folder, _ = snapshot(source, CONFIGS, revision)
        parts = _parts(folder)
        self.vae = _component(source, revision, parts["vae"], AUTOENCODERS) if "vae" in parts else None
        trained = _config(folder, parts["network"]).get("sample_size") if "network" in parts else None
        kind, (mean, std) = type(self.vae).__name__, _statistics(self.vae)
        self.centred = kind != "AutoencoderRAE"  # pixels are in [−1, 1]
        self.patch = 2 if kind == "AutoencoderKLFlux2" else 1
        if self.vae is None:
            channels, factor = 3, 1
        elif kind == "AutoencoderRAE":
            config = self.vae.config
            channels, trained = config.encoder_hidden_size, config.encoder_input_size // config.encoder_patch_size
            factor = self.vae.decoder_image_size // trained
        else:
            config = self.vae.config
            widths = getattr(config, "decoder_block_out_channels", None) or config.block_out_channels
            channels, factor = config.latent_channels, 2 ** (len(widths) - 1) * self.patch
        if trained is None:
            trained = getattr(self.vae.config, "sample_size", SIZE) // factor
        side = trained * factor if size is None else size
        fixed = kind == "AutoencoderRAE" and side != trained * factor
        if side < factor or side % factor or fixed:
            expected = f"{trained * factor}" if fixed else f"a multiple of {factor}"
            raise InputError(f"size={size} of '{source}'; expected {expected}")
        for name, value in (("mean", mean), ("std", std)):
            self.register_buffer(name, value.float().view(-1, 1, 1), persistent=False)
        self.code_shape: Shape = (channels * self.patch**2, side // factor, side // factor)
        self.signal_shape: Shape = (3, side, side)
        if self.vae is not None:
            delattr(self.vae, self.unused)


class Decoder(_Codes):
    """Codes (B, C, H, W) -> images (B, 3, size, size), of about [0, 1]: the decoder of an autoencoder of diffusers.

    Without an autoencoder, as in a pipeline of pixels, codes are images in [−1, 1].
    """

    unused = "encoder"

    def forward(self, h: Tensor) -> Tensor:
        """(B, *code_shape) -> (B, *signal_shape)."""
        z = h * self.std + self.mean
        z = F.pixel_shuffle(z, self.patch) if self.patch > 1 else z
        x: Tensor = z if self.vae is None else self.vae.decode(z, return_dict=False)[0]
        return x / 2 + 0.5 if self.centred else x


class Encoder(_Codes):
    """Images (B, 3, size, size) in [0, 1] -> codes (B, C, H, W), the mode where the encoder gives a distribution."""

    unused = "decoder"

    def forward(self, x: Tensor) -> Tensor:
        """(B, *signal_shape) -> (B, *code_shape)."""
        x = 2 * x - 1 if self.centred else x
        z = x if self.vae is None else self.vae.encode(x, return_dict=False)[0]
        z = z.mode() if hasattr(z, "mode") and not isinstance(z, Tensor) else z
        z = F.pixel_unshuffle(z, self.patch) if self.patch > 1 else z
        codes: Tensor = (z - self.mean) / self.std
        return codes


def diffusion(
    source: str,
    code_shape: Sequence[int],
    *,
    revision: str | None = None,
    prompt: str | None = None,
    negative: str = "",
    label: int | None = None,
    guidance: float = 1.0,
    precision: str = "float32",
) -> Diffusion:
    """The UNet or transformer of a pipeline as prior of codes (C, H, W); the other arguments are those of `load`."""
    check_known("precision", precision, PRECISIONS)
    folder, _ = snapshot(source, CONFIGS, revision)
    parts = _parts(folder)
    if "network" not in parts:
        raise InputError(f"'{source}' has no UNet and no transformer; give the folder or the name of a pipeline")
    kinds = (*conditioning.TEXTLESS, *conditioning.WITH_TEXT)
    network = _component(source, revision, parts["network"], kinds, getattr(torch, precision))
    kind, config, shape = type(network).__name__, network.config, tuple(code_shape)
    added = getattr(config, "addition_embed_type", None)
    if added not in (None, "text_time") or getattr(config, "encoder_hid_dim_type", None) not in (None, "text_proj"):
        raise InputError(f"'{source}': its network wants more than a text ({added}), as pictures; take another")
    trained = (conditioning.channels(network), *[getattr(config, "sample_size", None)] * 2)
    rigid = kind == "DiTTransformer2DModel"
    if shape != trained if rigid else shape[0] != trained[0]:
        expected = f"{trained}" if rigid else f"{trained[0]} channels"
        raise InputError(f"'{source}': its network takes codes of {expected}, not {shape}; set size, or take another")
    prediction, alphas = _schedule(folder)
    reads = kind in conditioning.WITH_TEXT
    if (label is not None and reads) or (prompt is not None and not reads):
        wanted = "reads texts, not classes: use prompt" if reads else "reads no texts: use label, or nothing"
        raise InputError(f"'{source}' {wanted}")
    if reads:
        size = tuple(side * _factor(folder) for side in shape[1:])
        reader = _reader(source, revision)
        setattr(reader, parts["network"], network)  # of which some ask for a width
        given, blank = conditioning.texts(reader, network, prompt or "", negative, guidance, size)
    else:
        given, blank = conditioning.labels(network, label)
    whole = conditioning.Tokens(network) if kind in conditioning.PATCHES else network
    return Diffusion(whole, shape, prediction, alphas, given=given, blank=blank, guidance=guidance)


def _package() -> ModuleType:
    try:
        return importlib.import_module("diffusers")
    except ImportError as error:
        raise InputError('a model of diffusers needs another package: pip install "ppgn[diffusers]"') from error


def _config(folder: Path, part: str, name: str = "config.json") -> dict[str, Any]:
    path = folder / part / name
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"'{path}' cannot be read ({error}); {ADVICE}") from error
    if not isinstance(found, dict):
        raise InputError(f"'{path}' is no configuration; {ADVICE}")
    return found


def _parts(folder: Path) -> dict[str, str]:
    """The subfolders of "vae" and "network", as far as they are there; an autoencoder alone is the folder itself."""
    if not (folder / "model_index.json").is_file():
        return {"vae": ""}
    index = _config(folder, "", "model_index.json")
    there = {name for name, value in index.items() if isinstance(value, list) and value and value[0] is not None}
    network = next((name for name in ("unet", "transformer") if name in there), None)
    return ({"vae": "vae"} if "vae" in there else {}) | ({"network": network} if network else {})


def _factor(folder: Path) -> int:
    """How many pixels of a pipeline's pictures make a code's side longer by one."""
    config = _config(folder, "vae") if "vae" in _parts(folder) else {}
    widths = config.get("decoder_block_out_channels") or config.get("block_out_channels") or [0]
    factor: int = 2 ** (len(widths) - 1)
    return factor * (2 if config.get("_class_name") == "AutoencoderKLFlux2" else 1)


def _reader(source: str, revision: str | None) -> Any:
    """A pipeline with nothing in it but what reads texts."""
    try:
        importlib.import_module("transformers")
    except ImportError as error:
        raise InputError(f"'{source}' reads texts, which takes another package: pip install transformers") from error
    texts = ["tokenizer*/*", "text_encoder*/*.json", "text_encoder*/model*.safetensors"]
    folder, _ = snapshot(source, [*CONFIGS, *texts], revision)
    index = _config(folder, "", "model_index.json")
    wanted = ("tokenizer", "text_encoder")
    unneeded = [k for k, v in index.items() if isinstance(v, list) and not (v[0] and k.startswith(wanted))]
    return _package().DiffusionPipeline.from_pretrained(
        str(folder), local_files_only=True, use_safetensors=True, low_cpu_mem_usage=False, **dict.fromkeys(unneeded)
    )


def _component(
    source: str, revision: str | None, part: str, kinds: Sequence[str], precision: torch.dtype = torch.float32
) -> Any:
    """A network of a pipeline, frozen. Raises `InputError` where its class is none of `kinds`."""
    prefix = f"{part}/" if part else ""
    folder, _ = snapshot(source, [*CONFIGS, *(prefix + name for name in WEIGHTS)], revision)
    kind = str(_config(folder, part).get("_class_name", "no network"))
    if kind not in kinds:
        raise InputError(f"'{source}' has {kind} in '{part or '.'}'; expected {', '.join(kinds)}")
    made = getattr(_package(), kind)
    try:
        network = made.from_pretrained(
            str(folder / part),
            torch_dtype=precision,
            use_safetensors=True,
            local_files_only=True,
            low_cpu_mem_usage=False,
        )
    except (OSError, ValueError, RuntimeError, TypeError) as error:
        reason = first_line(error)
        raise InputError(f"cannot read '{part or '.'}' of '{source}' ({reason}); only safetensors are read") from error
    return alike(network).eval().requires_grad_(False)


def _statistics(vae: Any) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of latents, which codes are without."""
    if vae is None or type(vae).__name__ == "AutoencoderRAE":  # which does it inside
        return torch.zeros(1), torch.ones(1)
    if hasattr(vae, "bn"):
        return vae.bn.running_mean, (vae.bn.running_var + vae.config.batch_norm_eps).sqrt()
    config = vae.config
    scale = torch.tensor(float(getattr(config, "scaling_factor", None) or 1.0))
    if getattr(config, "latents_mean", None) is not None:
        return torch.tensor(config.latents_mean), torch.tensor(config.latents_std) / scale
    return torch.tensor(float(getattr(config, "shift_factor", None) or 0.0)), 1 / scale


def _schedule(folder: Path) -> tuple[Prediction, Tensor | None]:
    """What the network predicts, and ᾱ_t by timestep, as the scheduler of a pipeline says."""
    config = _config(folder, "scheduler", "scheduler_config.json")
    if str(config.get("_class_name", "")).startswith("FlowMatch") or config.get("use_flow_sigmas"):
        return "flow", None
    known = {name: value for name, value in config.items() if not name.startswith("_")}
    prediction = known.get("prediction_type", "epsilon")
    if prediction not in ("epsilon", "v_prediction", "sample") or "beta_schedule" not in known:
        expected = "expected epsilon, v_prediction, sample, or flow matching"
        given = f"{config.get('_class_name')} with prediction {prediction}"
        raise InputError(f"'{folder}': its scheduler is {given}; {expected}")
    taken = inspect.signature(_package().DDPMScheduler.__init__).parameters
    scheduler = _package().DDPMScheduler(**{name: value for name, value in known.items() if name in taken})
    return prediction, scheduler.alphas_cumprod
