"""The authors' generators, classifiers and captioner, from the files in which they were published.

DeePSiM: Dosovitskiy & Brox 2016 (arXiv 1602.02644). PPGN: Nguyen et al. 2017 (arXiv 1612.00005). CaffeNet: Jia et al.
2014 (arXiv 1408.5093). Places: Zhou et al. 2014, 2017. LRCN: Donahue et al. 2015 (arXiv 1411.4389).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ppgn import files, folders, paths
from ppgn.contracts import Shape
from ppgn.encoders.features import FeatureEncoder
from ppgn.errors import InputError
from ppgn.generators import deepsim
from ppgn.generators.deepsim import CODE_LAYERS, DeePSiM
from ppgn.interop import caffe, torch_layouts
from ppgn.interop.source import Source
from ppgn.model import PPGN
from ppgn.networks import caffenet
from ppgn.networks import labels as class_names
from ppgn.networks.caffenet import CaffeNet
from ppgn.networks.captioner import LRCN
from ppgn.networks.network import Network

NETWORK_FORMAT = "ppgn-network-1"
LICENCES = {
    "generator": "The file carries no licence. DeePSiM's weights are for research only, commercial use needs the "
    "authors' consent; PPGN's came with an MIT-licensed repository.",
    "network": "The file carries no licence. BVLC released CaffeNet's weights for unrestricted use; for others ask "
    "their authors.",
    "captioner": "The file carries no licence. It came with PPGN's MIT-licensed repository.",
}
POOL5 = {"defc7": "Rconv6", "defc6": "Rconv7", "defc5": "Rconv8"}  # our layers, as the file names them
PLACE = r"^/\w/(\S+)\s+\d+$"  # how Places' files of categories write one
SAYS = {  # what tells a kind of file, and which key takes it
    "deconv0": "a generator: give generator=FILE",
    "lstm1": "a captioner: give captioner=FILE vocabulary=FILE",
    "fc8": "a classifier: give encoder=FILE or network=FILE",
}


def read(file: str | Path | Source) -> Source:
    """What a file of weights holds: Caffe's, or a state dict of PyTorch. Raises `InputError` for any other."""
    if isinstance(file, Source):
        return file
    path = Path(file).expanduser()
    try:
        with path.open("rb") as opened:
            head = opened.read(4)
    except OSError as error:
        raise InputError(f"'{path}': {error.strerror}; give the path of a .caffemodel or .pt file") from error
    pickled = head.startswith((b"PK\x03\x04", b"\x80\x02"))
    return torch_layouts.load(path) if pickled or path.suffix in (".pt", ".pth", ".safetensors") else caffe.load(path)


def load_generator(
    file: str | Path | Source, layer: str | None = None, size: int = 227, pictures: str = "mean"
) -> DeePSiM:
    """DeePSiM, or PPGN's generator, in evaluation mode, float32.

    layer: whose features it reads: fc6, fc7, fc8 or pool5; None is what the shapes tell. size, pictures: see `DeePSiM`.

    Raises `InputError` for a file of another network, for one of which nothing tells whether it reads fc6 or fc7, and
    where `layer` is another than the file's.
    """
    source = read(file)
    found = _layer_of(source)
    if layer is None and found == "fc6 or fc7":
        reads = f"reads {CODE_LAYERS['fc6']} features of {found}, and the file does not say of which"
        raise InputError(f"'{source.path}' {reads}; add layer=fc6, which PPGN's is, or layer=fc7")
    if layer is not None and layer not in found.split(" or "):
        raise InputError(f"'{source.path}' reads features of {found}, not of layer={layer}; leave it out or change it")
    chosen = layer or found
    with torch.device("meta"):
        made = DeePSiM(chosen, None, size, pictures)
    names = POOL5 if chosen == "pool5" else {}
    kinds = {name: "Deconvolution" for name, module in made.named_children() if isinstance(module, deepsim.UpConv)}
    kinds |= {names.get(name, name): "Convolution" if names else "InnerProduct" for name in POOL5}
    _assign(made, source, names, kinds, f"a generator from {chosen}")
    made.mean = torch.tensor(deepsim.MEAN).view(1, 3, 1, 1)
    return made.eval().requires_grad_(False)


def _layer_of(source: Source) -> str:
    """The layer whose features a generator reads. Raises `InputError` where it is none of ours."""
    if "Rconv6.weight" in source.blobs:
        return "pool5"
    first = source.blobs.get("defc7.weight")
    if first is not None:
        return "fc8" if first.shape[-1:] == (CODE_LAYERS["fc8"],) else "fc6 or fc7"
    if "deconv0.weight" in source.blobs:
        reason = "neither defc7 nor Rconv6 is in it; those from norm1, norm2, conv3 and conv4 are other networks"
        raise InputError(f"'{source.path}' is no generator from fc6, fc7, fc8 or pool5: {reason}; give one of these")
    raise InputError(f"'{source.path}' is no generator: it has {_shown(source.layers)}; {_advice(source)}")


def load_network(file: str | Path | Source, labels: str | Path | Sequence[str] | None = None) -> Network:
    """CaffeNet, or a body like it of any number of classes (Places205, Places365), float32.

    labels: K names, or a file of them, in which "/a/abbey 0" and "n01440764 tench" are read as "abbey" and "tench";
    None is ImageNet's for 1000 classes. Raises `InputError` for a file of another network, as BVLC's AlexNet.
    """
    source = read(file)
    _refuse_alexnet(source)
    last = source.blobs["fc8.bias"].shape if "fc8.bias" in source.blobs else ()
    with torch.device("meta"):
        body = CaffeNet((last[-1] if last else 0) or 1000)
    kinds = {key.partition(".")[0]: "Convolution" if "conv" in key else "InnerProduct" for key in body.state_dict()}
    _assign(body, source, {}, kinds, "CaffeNet")
    if labels is not None:
        labels = [re.sub(r"^n\d{8}\s+", "", re.sub(PLACE, r"\1", name)) for name in class_names.read(labels)]
    return caffenet.wrap(body, labels, {"classes": body.fc8.out_features})


def _refuse_alexnet(source: Source) -> None:
    """BVLC's AlexNet has CaffeNet's shapes, but normalises before it pools."""
    if source.inputs.get("norm1") == ("conv1",) or source.net == "AlexNet":
        advice = "give bvlc_reference_caffenet, places205CNN or alexnet_places365"
        raise InputError(f"'{source.path}' is BVLC's AlexNet, which normalises before it pools, not CaffeNet; {advice}")


def load_captioner(file: str | Path | Source, vocabulary: str | Path | Sequence[str]) -> LRCN:
    """PPGN's LRCN with the CaffeNet that it looks through, which the same file holds, in evaluation mode, float32.

    vocabulary: its words in order, "<unk>" first, or a file with one a line. Raises `InputError` for a file of another
    network, and for more or fewer words than it has.
    """
    source, words = read(file), class_names.read(vocabulary)
    seen = load_network(source)
    table = source.blobs["embedding.weight"].shape if "embedding.weight" in source.blobs else ()
    if len(table) < 2:
        raise InputError(f"'{source.path}' is no captioner: it has {_shown(source.layers)}; {_advice(source)}")
    tokens, width = table[-2:]
    if tokens != len(words) + 1:
        counted = f"{len(words)} words for a captioner of {tokens - 1} and the end"
        raise InputError(f"vocabulary: {counted}; give the vocabulary.txt that came with '{source.path}'")
    if seen.classes != width:
        raise InputError(f"'{source.path}' is not LRCN: its CaffeNet gives {seen.classes} features, expected {width}")
    words_in_out = {"embedding.weight": (tokens, width), "predict.weight": (tokens, width), "predict.bias": (tokens,)}
    maps = ("lstm1.weight", "lstm1.2", "lstm2.weight", "lstm2.2", "lstm2.3")
    shapes: dict[str, Shape] = words_in_out | {f"lstm{i}.bias": (4 * width,) for i in (1, 2)}
    shapes |= dict.fromkeys(maps, (4 * width, width))
    source.check(shapes, {"predict": "InnerProduct"}, "LRCN", _advice(source))
    made = LRCN(seen, words, layer="fc8", features=width, width=width, tied=False)

    def blob(name: str) -> Tensor:
        return source.blobs[name].read().view(shapes[name])

    def gates(name: str) -> Tensor:
        """Rows of the gates i, f, o, g, as Caffe has them, in PyTorch's order i, f, g, o."""
        read, forget, output, new = blob(name).chunk(4)
        return torch.cat([read, forget, new, output])

    embedding = blob("embedding.weight")
    state = {
        "embedding.weight": torch.cat([embedding, embedding[1:2]]),  # a word that is unknown is read as <unk>
        "reader.weight_ih": gates("lstm1.weight"),
        "reader.weight_hh": gates("lstm1.2"),
        "reader.bias_ih": gates("lstm1.bias"),
        "writer.weight_ih": torch.cat([gates("lstm2.weight"), gates("lstm2.2")], dim=1),
        "writer.weight_hh": gates("lstm2.3"),
        "writer.bias_ih": gates("lstm2.bias"),
        "reader.bias_hh": torch.zeros(4 * width),
        "writer.bias_hh": torch.zeros(4 * width),
        "project.weight": torch.eye(width),
        "project.bias": torch.zeros(width),
        "output.weight": blob("predict.weight"),
        "bias": blob("predict.bias"),
    }
    made.load_state_dict(state | {f"network.{k}": v for k, v in seen.state_dict().items()})
    return made.eval().requires_grad_(False)


def _assign(module: nn.Module, source: Source, names: Mapping[str, str], kinds: Mapping[str, str], what: str) -> None:
    """Put a file's numbers into a module on the meta device, whose layers have other `names` there."""
    shapes = {key: tuple(value.shape) for key, value in module.state_dict().items()}
    parts = {key: key.partition(".") for key in shapes}
    inside = {key: f"{names.get(layer, layer)}.{rest}" for key, (layer, _, rest) in parts.items()}
    source.check({inside[key]: shape for key, shape in shapes.items()}, kinds, what, _advice(source))
    state = {key: source.blobs[inside[key]].read().view(shape) for key, shape in shapes.items()}
    module.load_state_dict(state, assign=True)


def _advice(source: Source) -> str:
    """What to do with a file that is something else."""
    if any(layer.startswith("inception") for layer in source.layers):
        return "GoogLeNet is none of ours; give bvlc_reference_caffenet, places205CNN or alexnet_places365"
    says = next((said for layer, said in SAYS.items() if f"{layer}.weight" in source.blobs), None)
    return f"it looks like {says}" if says else "give the file of the network that is meant"


def _shown(layers: Sequence[str]) -> str:
    return f"{', '.join(layers[:8])}{f' and {len(layers) - 8} layers more' if len(layers) > 8 else ''}"


@dataclass(frozen=True)
class Imported:
    """A file that was written: where, what it holds, and its card."""

    path: Path
    what: str
    card: Mapping[str, Any]

    def summary(self) -> str:
        """One line for the person who waits, with what was left out."""
        ignored = [layer for source in self.card["sources"] for layer in source["ignored"]]
        left = f", without {_shown(ignored)}" if ignored else ""
        return f"{self.what}{left} -> {self.path} ({self.path.stat().st_size / 1e6:.1f} MB)"


def import_model(
    # -- whose files: a generator, perhaps with its encoder, or a network, or a captioner --
    # DeePSiM's or PPGN's: a .caffemodel, or the .pt of upconvGAN, circuit_toolkit or XDream
    generator: str | Path | None = None,
    encoder: str | Path | None = None,  # CaffeNet, whose features the generator reads; null: a model that cannot encode
    # CaffeNet or a body like it, Places205 or Places365: for condition.network.weights=FILE
    network: str | Path | None = None,
    captioner: str | Path | None = None,  # PPGN's LRCN, for condition.captioner.name=FILE
    vocabulary: str | Path | None = None,  # the captioner's words, one a line
    *,
    # -- what the files do not say --
    layer: str | None = None,  # whose features the generator reads: fc6, fc7, fc8, pool5; null is what its shapes tell
    # the network's class names, one a line, or a .json list; null is ImageNet's for 1000 classes
    labels: str | Path | Sequence[str] | None = None,
    licence: str | None = None,  # what the weights may be used for; null is what is known of such files
    # -- how the generator's pictures come --
    size: int = 227,  # pixels of the centre of 256 that is kept; 227 is what the encoder reads
    pictures: str = "mean",  # stored with the mean colour added, or released: as the authors' code draws them
    # -- what comes out --
    # a .safetensors file, weights in half precision; null is named after the source, in this folder
    out: str | Path | None = None,
    overwrite: bool = False,  # true replaces the file `out`
) -> Imported:
    """Turn published weights into one safetensors file of this package -> `Imported`.

    A generator becomes a model for `ppgn.sample` and `ppgn.inpaint`, a network or a captioner what conditions look
    through. Every parameter is checked; nothing is unpickled. The card names the sources, their sha256 and licence.

    Raises `InputError` for a file that is not what it was given as, and for what cannot be written.
    """
    given: dict[str, Any] = {"generator": generator, "network": network, "captioner": captioner}
    named = [key for key, file in given.items() if file is not None]
    if len(named) != 1:
        what = f"{' and '.join(named)} at once" if named else "nothing to import"
        raise InputError(f"{what}; give generator=FILE, perhaps with encoder=FILE, or network=FILE, or captioner=FILE")
    (kind,) = named
    for key, value, owner in (
        ("encoder", encoder, "generator"),
        ("layer", layer, "generator"),
        ("labels", labels, "network"),
        ("vocabulary", vocabulary, "captioner"),
    ):
        if value is not None and kind != owner:
            raise InputError(f"{key}={value} goes with {owner}=FILE, not with {kind}=FILE; leave it out")
    if kind == "captioner" and vocabulary is None:
        raise InputError("vocabulary is missing: add vocabulary=FILE, the vocabulary.txt that came with the captioner")
    if encoder is not None and size != caffenet.SIDE:
        raise InputError(f"size={size} is not what the encoder reads; leave size or encoder out")
    source = read(given[kind])
    path = Path(f"{source.path.stem}.safetensors" if out is None else out).expanduser()
    if path.suffix != ".safetensors":
        raise InputError(f"out={path} cannot be used; expected a name that ends in .safetensors")
    paths.check_writable(path.parent, source.path.stat().st_size)
    if path.exists() and not overwrite:
        raise InputError(f"'{path}' exists already; give overwrite=true to replace it, or another out=FILE")
    sources = [source] if encoder is None else [source, read(encoder)]
    if kind == "generator":
        made: Any = _model(sources, layer, size, pictures)
    else:
        made = load_network(source, labels) if kind == "network" else load_captioner(source, vocabulary or ())
    card = {
        "description": f"{_called(made)} of {' and '.join(each.path.name for each in sources)}",
        "sources": [{"file": s.path.name, "sha256": folders.digest(s.path), "ignored": s.ignored} for s in sources],
        "licence": licence or " ".join(LICENCES[key] for key in (kind, "network")[: len(sources)]),
    }
    made.half()  # now, so that the numbers are not held twice
    if isinstance(made, Network):
        files.save(path, made.body.state_dict(), NETWORK_FORMAT, labels=made.labels, card=card)
    elif isinstance(made, LRCN):
        made.card = card
        made.save(path)
    else:
        made.save(path, card=card)
    return Imported(path, _called(made), card)


def _model(sources: Sequence[Source], layer: str | None, size: int, pictures: str) -> PPGN:
    made = load_generator(sources[0], layer, size, pictures)
    generator = {"_target_": "ppgn.generators.deepsim.DeePSiM", "code_layer": made.code_layer}
    described: dict[str, Any] = {"generator": {**generator, "size": size, "pictures": pictures}}
    if len(sources) == 1:
        return PPGN(made, config=described)
    encoder = FeatureEncoder(load_network(sources[1]), [made.code_layer], pool=0)
    described["encoder"] = {"_target_": "ppgn.encoders.features.FeatureEncoder"}
    described["encoder"] |= {"network": {"_target_": "ppgn.networks.caffenet.load"}}
    described["encoder"] |= {"layers": [made.code_layer], "pool": 0}
    return PPGN(made, encoder, config=described)


def _called(made: Any) -> str:
    if isinstance(made, Network):
        return f"CaffeNet of {made.classes} classes"
    if isinstance(made, LRCN):
        return f"LRCN of {len(made.words)} words"
    with_encoder = "" if made.encoder is None else ", with CaffeNet as its encoder"
    return f"DeePSiM from {made.generator.code_layer}{with_encoder}"
