"""The classifier of spoken digits and speakers: outputs, and weights that come from a file."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

import ppgn
from ppgn.conditions import words
from ppgn.errors import InputError
from ppgn.media.sound import Sound
from ppgn.model import PPGN, load
from ppgn.networks import digits


@pytest.fixture
def spectrograms() -> torch.Tensor:
    return torch.rand(3, 1, 64, 64, generator=torch.Generator().manual_seed(0))


def test_one_network_names_digits_and_speakers(tmp_path: Path, spectrograms: torch.Tensor) -> None:
    torch.manual_seed(0)
    torch.save(digits.Spoken().state_dict(), tmp_path / "weights.pth")
    what, who = (digits.load(output, tmp_path / "weights.pth") for output in ("digit", "speaker"))
    assert what(spectrograms).shape == (3, 10)
    assert who(spectrograms).shape == (3, 6)
    assert what.labels is not None
    assert what.labels[7] == "seven"
    assert who.labels == tuple(digits.LABELS["speaker"])
    hidden = [network.features(spectrograms, ["hidden"])["hidden"] for network in (what, who)]
    assert torch.equal(*hidden)
    assert what.same_as(who)  # so that an encoder and both conditions look but once
    assert torch.equal(what(spectrograms.expand(-1, 3, -1, -1)), what(spectrograms))


def test_unknown_outputs_and_strange_weights_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="digit"):
        digits.load("digits")
    torch.save({"a": torch.zeros(1)}, tmp_path / "weights.pth")
    with pytest.raises(InputError, match="do not fit"):
        digits.load(weights=tmp_path / "weights.pth")


def test_a_checkpoint_holds_the_classifier(tmp_path: Path, spectrograms: torch.Tensor) -> None:
    torch.manual_seed(0)
    torch.save(digits.Spoken().state_dict(), tmp_path / "weights.pth")
    network = {"_target_": "ppgn.networks.digits.load", "weights": str(tmp_path / "weights.pth")}
    config = {
        "generator": {
            "_target_": "ppgn.generators.resnet.ResNet",
            "code_dim": 4,
            "widths": [4, 4, 4, 4, 4],
            "depths": [0, 0, 0, 0, 0],
            "channels": 1,
            "medium": "sound",
        },
        "encoder": {
            "_target_": "ppgn.encoders.features.FeatureEncoder",
            "network": network,
            "layers": ["hidden"],
            "dim": 4,
        },
    }
    model = PPGN.from_config(config)
    model.encoder.fit([torch.rand(30, 1, 64, 64)])
    model.save(tmp_path / "model.safetensors")
    (tmp_path / "weights.pth").unlink()
    again = load(tmp_path / "model.safetensors")
    assert torch.allclose(again.encode(spectrograms), model.encode(spectrograms), atol=0.05)
    assert again.generator.signal_shape == (1, 64, 64)


def test_conditions_are_named_in_words(spectrograms: torch.Tensor) -> None:
    settings = {"digit": {"network.weights": None}, "speaker": {"network.weights": None}}
    both = words.condition("digit:7 & speaker:theo", settings=settings)
    terms = [words.condition(name, target, settings[name]) for name, target in (("digit", "seven"), ("speaker", 4))]
    assert [term.name for term in terms] == ["seven", "theo"]
    assert both(spectrograms).shape == (3,)


def test_the_model_that_comes_along_says_seven(tmp_path: Path) -> None:
    run = ppgn.sample("seven", condition="digits", model="digits", seeds=[3], out=tmp_path / "o")
    assert (tmp_path / "o" / "sounds" / "seed00000003-0.wav").is_file()
    heard = Sound().restore(Sound().read(tmp_path / "o" / "sounds" / "seed00000003-0.wav")[None])
    assert float(words.condition("digit:7")(heard).exp()) > 0.5
    assert run.images.shape == (1, 3, 64, 64)
