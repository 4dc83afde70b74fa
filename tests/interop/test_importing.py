"""Imported networks beside the authors' layer lists, run by OpenCV, and beside a plain LSTM."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

import ppgn
from ppgn import files
from ppgn.errors import InputError
from ppgn.generators import deepsim
from ppgn.generators.deepsim import DeePSiM
from ppgn.interop import importing
from ppgn.interop.importing import import_model, load_captioner, load_generator, load_network
from ppgn.networks import captioner as captioners
from ppgn.networks import imagenet, places
from tests.interop import written
from tests.interop.conftest import WIDTHS
from tests.interop.written import Layer, caffemodel

TOLERANCE = 1e-4  # of the root mean square
FIRST = {"fc6": ("defc7", 24), "fc8": ("defc7", 10), "pool5": ("Rconv6", 576)}
# Our layers, as the authors' list names what they give after rectification.
LAYERS = {"conv1": "relu1", "pool1": "pool1", "norm1": "norm1", "norm2": "norm2", "conv5": "relu5", "pool5": "pool5"}
LAYERS |= {"fc6": "relu6", "fc7": "relu7", "fc8": "fc8"}
GENERATIONS = ("V1", "V2")

pytestmark = pytest.mark.usefixtures("small")


@pytest.fixture(scope="module")
def opencv() -> Any:
    cv2 = pytest.importorskip("cv2")
    if not hasattr(cv2.dnn, "readNetFromCaffe") or int(cv2.__version__.partition(".")[0]) >= 5:
        pytest.skip("OpenCV 5 reads no files of Caffe; pip install 'opencv-python-headless>=4.8,<5'")
    return cv2


def error(ours: Tensor, theirs: Tensor) -> float:
    """The largest difference, of the root mean square."""
    return ((ours - theirs).abs().max() / theirs.square().mean().sqrt()).item()


def drawn_by_opencv(opencv: Any, folder: Path, layers: Sequence[Layer], layer: str, generation: str) -> tuple[Any, Any]:
    """The file of a generator, and what the authors' list draws with it: codes (B, D) -> (B, 3, 256, 256)."""
    first, dim = FIRST[layer]
    path = caffemodel(folder / "generator.caffemodel", layers, generation)
    (folder / "generator.prototxt").write_text(written.generator_list(16, dim, first))
    net = opencv.dnn.readNetFromCaffe(str(folder / "generator.prototxt"), str(path))

    def draw(codes: Tensor) -> Tensor:
        images = []
        for code in codes:
            net.setInput(code.view(1, 16, 6, 6).numpy() if layer == "pool5" else code[None].numpy())
            images.append(torch.from_numpy(net.forward("deconv0").copy()))
        return torch.cat(images)

    return path, draw


def uncoloured(made: DeePSiM, codes: Tensor) -> Tensor:
    """What the generator draws, mean-subtracted BGR in 0-255 as the authors have it."""
    return made(codes).flip(1) * 255 - made.mean


@pytest.mark.parametrize("generation", GENERATIONS)
@pytest.mark.parametrize("layer", FIRST)
def test_generators_draw_what_the_authors_lists_draw(opencv: Any, tmp_path: Path, layer: str, generation: str) -> None:
    first, dim = FIRST[layer]
    path, draw = drawn_by_opencv(opencv, tmp_path, written.generator(16, dim, first), layer, generation)
    codes = torch.randn(2, dim, generator=torch.Generator().manual_seed(1)).relu()
    theirs = draw(codes)
    for size, corner in ((227, 14), (224, 16), (256, 0)):
        made = load_generator(path, layer, size)
        there = theirs[..., corner : corner + size, corner : corner + size]
        assert error(uncoloured(made, codes), there) < TOLERANCE


def flipped(made: DeePSiM, _: pytest.MonkeyPatch) -> None:
    made.conv4_1.weight.data = made.conv4_1.weight.flip(2, 3)


def other_slope(_: DeePSiM, monkeypatch: pytest.MonkeyPatch) -> None:
    leaky = F.leaky_relu
    monkeypatch.setattr(deepsim.F, "leaky_relu", lambda x, slope: leaky(x, 0.2))


def other_crop(made: DeePSiM, _: pytest.MonkeyPatch) -> None:
    made.offset = 15


def swapped(made: DeePSiM, _: pytest.MonkeyPatch) -> None:
    made.conv4_1.weight.data = made.conv4_1.weight.transpose(0, 1).contiguous()


def no_biases(made: DeePSiM, _: pytest.MonkeyPatch) -> None:
    made.deconv3.bias.zero_()


@pytest.mark.parametrize("harm", [flipped, other_slope, other_crop, swapped, no_biases])
def test_the_comparison_notices_what_is_wrong(
    opencv: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, harm: Callable[..., None]
) -> None:
    path, draw = drawn_by_opencv(opencv, tmp_path, written.generator(16, 24), "fc6", "V2")
    codes = torch.randn(1, 24, generator=torch.Generator().manual_seed(1)).relu()
    made, theirs = load_generator(path, "fc6"), draw(codes)[..., 14:241, 14:241]
    harm(made, monkeypatch)
    assert error(uncoloured(made, codes), theirs) > 100 * TOLERANCE


@pytest.mark.parametrize("generation", GENERATIONS)
@pytest.mark.parametrize("classes", [205, 365])
def test_caffenet_sees_what_the_authors_list_sees(opencv: Any, tmp_path: Path, generation: str, classes: int) -> None:
    path = caffemodel(tmp_path / "net.caffemodel", written.caffenet(WIDTHS, classes), generation)
    (tmp_path / "net.prototxt").write_text(written.caffenet_list(WIDTHS, classes))
    net = opencv.dnn.readNetFromCaffe(str(tmp_path / "net.prototxt"), str(path))
    network = load_network(path)
    x = torch.rand(1, 3, 227, 227, generator=torch.Generator().manual_seed(2))
    assert network.classes == classes
    ours = network.features(x, list(LAYERS))
    for layer, name in LAYERS.items():
        net.setInput(network.preprocessing(x).numpy())
        assert error(ours[layer], torch.from_numpy(net.forward(name).copy())) < TOLERANCE, layer


@pytest.mark.parametrize("generation", ["V0", "V1", "V2"])
def test_all_generations_give_the_same_networks(tmp_path: Path, generation: str) -> None:
    layers = written.caffenet(WIDTHS, 7)
    state = load_network(caffemodel(tmp_path / "net.caffemodel", layers, generation)).body.state_dict()
    for name, _, _, values in layers:
        for kind, value in zip(("weight", "bias"), values, strict=False):
            assert torch.equal(state[f"{name}.{kind}"], value)


def test_the_layer_is_guessed_from_shapes_or_asked_for(tmp_path: Path) -> None:
    for layer, (first, dim) in FIRST.items():
        path = caffemodel(tmp_path / "g.caffemodel", written.generator(16, dim, first))
        if layer == "fc6":
            with pytest.raises(InputError, match=r"reads 24 features of fc6 or fc7.*add layer=fc6.*or layer=fc7"):
                load_generator(path)
            assert load_generator(path, "fc7").code_layer == "fc7"
        else:
            assert load_generator(path).code_layer == layer
        with pytest.raises(InputError, match=f"reads features of {layer}.*, not of layer=conv4; leave it out"):
            load_generator(path, "conv4")


def without(layers: Sequence[Layer], *names: str) -> list[Layer]:
    return [layer for layer in layers if layer[0] not in names]


def test_files_of_other_networks_are_refused_with_what_to_give(tmp_path: Path) -> None:
    def refused(load: Callable[..., Any], layers: Sequence[Layer], *args: Any, net: str = "") -> str:
        with pytest.raises(InputError) as caught:
            load(caffemodel(tmp_path / "x.caffemodel", layers, net=net), *args)
        assert "\n" not in str(caught.value)
        return str(caught.value)

    drawing, seeing = written.generator(16, 24), written.caffenet(WIDTHS, 7)
    assert "it looks like a generator: give generator=FILE" in refused(load_network, drawing)
    said = refused(load_generator, seeing)
    assert "is no generator: it has conv1, conv2" in said
    assert "give encoder=FILE or network=FILE" in said
    assert "from norm1, norm2, conv3 and conv4 are other networks" in refused(load_generator, drawing[3:])
    assert "no layer 'conv4_1'" in refused(load_generator, without(drawing, "conv4_1"), "fc6")
    as_convolution = [(n, "Convolution" if n == "conv4_1" else k, b, v) for n, k, b, v in drawing]
    assert "'conv4_1' is of type Convolution, expected Deconv" in refused(load_generator, as_convolution, "fc6")
    wide = [(n, k, b, [*v, v[0]] if n == "deconv1" else v) for n, k, b, v in drawing]
    assert "'deconv1.2' is one too many" in refused(load_generator, wide, "fc6")
    assert "'defc6.weight' has shape (512, 512), expected (256, 256)" in refused(
        load_generator, [*drawing[:1], *written.generator(32, 24)[1:2], *drawing[2:]], "fc6"
    )
    alexnet = [(n, k, "conv1" if n == "norm1" else b, v) for n, k, b, v in seeing]
    assert "is BVLC's AlexNet, which normalises before it pools" in refused(load_network, alexnet)
    assert "is BVLC's AlexNet" in refused(load_network, seeing, net="AlexNet")
    google: list[Layer] = [("conv1/7x7_s2", "Convolution", "data", [torch.zeros(4, 3, 7, 7)])]
    google += [(f"inception_{i}/1x1", "Convolution", "data", [torch.zeros(4, 3, 1, 1)]) for i in range(9)]
    assert "GoogLeNet is none of ours; give bvlc_reference_caffenet" in refused(load_network, google)
    assert "is no captioner: it has conv1" in refused(load_captioner, seeing, ["<unk>", "dog"])


def test_damaged_files_are_refused_or_read_but_never_break(tmp_path: Path) -> None:
    rng, path, outcomes = random.Random(0), tmp_path / "x.caffemodel", set()
    for _ in range(150):
        layers = [(n, k, b, list(v)) for n, k, b, v in lrcn(6, 5)]
        for _, _, _, values in rng.sample([layer for layer in layers if layer[3]], 2):
            place = rng.randrange(len(values))
            wrong = [values[place].flatten(), values[place][:0], torch.tensor(1.0), values[place][..., None]]
            values[place] = rng.choice(wrong)
        caffemodel(path, layers, rng.choice(("V0", "V2")))
        load: Callable[..., Any] = rng.choice([load_network, load_captioner, load_generator])
        try:
            load(path, *([["<unk>", "a", "dog", "runs"]] if load is load_captioner else []))
            outcomes.add("read")
        except InputError:
            outcomes.add("refused")
    assert outcomes == {"read", "refused"}


def lrcn(width: int, tokens: int) -> list[Layer]:
    def some(seed: int, *shape: int) -> Tensor:
        return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)) / 2

    square, gates = (4 * width, width), (4 * width,)
    return [
        *written.caffenet(WIDTHS, width),
        ("embedding", "Embed", "input", [some(1, tokens, width)]),
        ("lstm1", "LSTM", "embedding", [some(2, *square), some(3, *gates), some(4, *square)]),
        ("lstm2", "LSTM", "lstm1", [some(5, *square), some(6, *gates), some(7, *square), some(8, *square)]),
        ("predict", "InnerProduct", "lstm2", [some(9, tokens, width), some(10, tokens)]),
    ]


def plain_lstm(inputs: np.ndarray, recurrent: np.ndarray, bias: np.ndarray) -> np.ndarray:
    """Inputs already weighed (T, 4H) -> outputs (T, H), with the gates in Caffe's order i, f, o, g."""
    width = recurrent.shape[1]
    h, c, out = np.zeros(width), np.zeros(width), []
    for x in inputs:
        i, f, o, g = (x + recurrent @ h + bias).reshape(4, width)
        i, f, o = (1 / (1 + np.exp(-gate)) for gate in (i, f, o))
        c = f * c + i * np.tanh(g)
        h = o * np.tanh(c)
        out.append(h)
    return np.array(out)


def test_the_captioner_speaks_as_a_plain_lstm_does(tmp_path: Path) -> None:
    words = ["<unk>", "a", "dog", "runs"]
    layers = lrcn(6, 5)
    path = caffemodel(tmp_path / "lrcn.caffemodel", layers)
    (tmp_path / "vocabulary.txt").write_text("\n".join(words) + "\n")
    made = load_captioner(path, tmp_path / "vocabulary.txt")
    x = torch.rand(2, 3, 227, 227)
    tokens = made.encode("A dog runs")
    assert tokens.tolist() == [2, 3, 4, 0]
    assert made.read("a cat") == [2, made.unknown, 0]
    assert torch.equal(made.embedding.weight[made.unknown], made.embedding.weight[1])
    blob = {name: [value.double().numpy() for value in values] for name, _, _, values in layers}
    features = made.network(x).double().numpy()  # fc8, not rectified
    expected = []
    for image in features:
        embedded = blob["embedding"][0][[0, 2, 3, 4]]
        weigh, bias, recurrent = blob["lstm1"]
        heard = plain_lstm(embedded @ weigh.T, recurrent, bias)
        weigh, bias, static, recurrent = blob["lstm2"]
        logits = plain_lstm(heard @ weigh.T + static @ image, recurrent, bias) @ blob["predict"][0].T
        logits += blob["predict"][1]
        log_p = logits - np.log(np.exp(logits).sum(1, keepdims=True))
        expected.append(log_p[range(4), tokens.numpy()])
    assert np.abs(made.log_probs(x, tokens).numpy() - np.array(expected)).max() < 1e-5
    done = import_model(captioner=path, vocabulary=words, out=tmp_path / "lrcn.safetensors")
    assert done.card["licence"]
    again = captioners.load(done.path)
    assert (again.log_probs(x, tokens) - made.log_probs(x, tokens)).abs().max() < 0.01  # half precision
    with pytest.raises(InputError, match="3 words for a captioner of 4 and the end; give the vocabulary"):
        load_captioner(path, words[1:])
    short = caffemodel(path, [(n, k, b, v[:3]) if n == "lstm2" else (n, k, b, v) for n, k, b, v in layers])
    with pytest.raises(InputError, match=r"'lstm2.3' is missing, expected \(24, 6\)"):
        load_captioner(short, words)


@pytest.fixture
def released(tmp_path: Path) -> Path:
    """generator.caffemodel and caffenet.caffemodel, and a model of both."""
    caffemodel(tmp_path / "generator.caffemodel", written.generator(16, 24, scale=0.01))
    caffemodel(
        tmp_path / "caffenet.caffemodel", [*written.caffenet(WIDTHS, 1000), ("more", "Embed", "", [torch.ones(2)])]
    )
    import_model(
        generator=tmp_path / "generator.caffemodel",
        encoder=tmp_path / "caffenet.caffemodel",
        layer="fc6",
        out=tmp_path / "released.safetensors",
    )
    return tmp_path


def test_a_model_says_where_its_weights_come_from_and_loads_again(released: Path) -> None:
    model = ppgn.load(released / "released.safetensors")
    first, second = model.card["sources"]
    assert first["file"] == "generator.caffemodel"
    assert first["sha256"] == hashlib.sha256((released / "generator.caffemodel").read_bytes()).hexdigest()
    assert (first["ignored"], second["ignored"]) == ([], ["more"])
    assert "research only" in model.card["licence"]
    assert "BVLC" in model.card["licence"]
    made = load_generator(released / "generator.caffemodel", "fc6")
    codes = torch.rand(2, 24)
    assert (model.decode(codes) - made(codes)).abs().max() < 0.002  # half precision
    seen = load_network(released / "caffenet.caffemodel").features(made(codes).clamp(0, 1), ["fc6"])["fc6"]
    assert error(model.encode(made(codes).clamp(0, 1)), seen) < 0.01


def test_encoder_and_condition_share_caffenet_by_words(released: Path) -> None:
    file = released / "released.safetensors"
    model = ppgn.load(file)
    condition = ppgn.condition("imagenet", "junco", {"network.name": "caffenet", "network.weights": str(file)})
    assert model.encoder.network.same_as(condition.network)  # type: ignore[attr-defined]
    run = ppgn.sample(
        "junco",
        condition={"expression": "imagenet", "network.name": "caffenet", "network.weights": str(file)},
        model=file,
        sampler="released",
        prior="joint",
        seeds=[0],
        steps=2,
    )
    assert run.images.shape == (1, 3, 227, 227)


def test_a_network_alone_carries_its_class_names(tmp_path: Path) -> None:
    path = caffemodel(tmp_path / "places.caffemodel", written.caffenet(WIDTHS, 3), "V0")
    (tmp_path / "index.txt").write_text("/a/abbey 0\n/a/airport_terminal 1\n/a/apartment_building/outdoor 2\n")
    done = import_model(network=path, labels=tmp_path / "index.txt", out=tmp_path / "p.safetensors")
    for load in (imagenet.load, places.load):
        assert load("caffenet", weights=done.path).labels == ("abbey", "airport_terminal", "apartment_building/outdoor")
    assert load_network(path, ["class 1", "class 2", "class 3"]).labels == ("class 1", "class 2", "class 3")
    synsets = ["n01440764 tench, Tinca tinca", "n01443537 goldfish", "n01484850 shark"]
    assert load_network(path, synsets).labels == ("tench, Tinca tinca", "goldfish", "shark")
    caffemodel(path, written.caffenet(WIDTHS, 365))
    import_model(network=path, out=done.path, overwrite=True)
    assert (places.load("caffenet", weights=done.path).labels or ())[0] == "airfield"
    with pytest.raises(InputError, match="are Caffe's; type ppgn import network="):
        imagenet.load("caffenet", weights=path)


def test_a_generator_alone_keeps_its_size_and_pictures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    caffemodel(tmp_path / "g.caffemodel", written.generator(16, 10))
    done = import_model(generator="g.caffemodel", size=224, pictures="released")
    assert done.path == Path("g.safetensors")
    assert done.summary().startswith("DeePSiM from fc8 -> g.safetensors (")
    model: Any = ppgn.load(tmp_path / "g.safetensors")
    assert (model.generator.signal_shape, model.generator.offset) == ((3, 224, 224), 16)
    assert isinstance(model.generator.medium, deepsim.ReleasedPictures)
    assert model.encoder is None


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({}, "nothing to import; give generator=FILE"),
        ({"generator": "a", "network": "b"}, "generator and network at once; give generator=FILE"),
        ({"network": "a", "layer": "fc6"}, "layer=fc6 goes with generator=FILE, not with network=FILE"),
        ({"network": "a", "encoder": "b"}, "encoder=b goes with generator=FILE"),
        ({"captioner": "a"}, "add vocabulary=FILE"),
        ({"generator": "a", "encoder": "b", "size": 224}, "size=224 is not what the encoder reads"),
        ({"generator": "none"}, "No such file"),
        ({"generator": "here", "out": "x.pt"}, "ends in .safetensors"),
    ],
)
def test_what_cannot_be_imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, given: Any, said: str) -> None:
    monkeypatch.chdir(tmp_path)
    caffemodel(tmp_path / "here", written.generator(16, 10))
    with pytest.raises(InputError, match=said):
        import_model(**given)
    assert not list(tmp_path.glob("*.safetensors"))


def test_a_licence_of_one_s_own(tmp_path: Path) -> None:
    path = caffemodel(tmp_path / "n.caffemodel", written.caffenet(WIDTHS, 3))
    done = import_model(network=path, licence="mine alone", out=tmp_path / "n.safetensors")
    with pytest.raises(InputError, match="overwrite=true"):
        import_model(network=path, out=done.path)
    assert files.head(done.path, importing.NETWORK_FORMAT)["card"]["licence"] == "mine alone"
