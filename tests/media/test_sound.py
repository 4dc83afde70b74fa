"""Spectrograms of sounds, the way to a .wav file and back."""

from __future__ import annotations

import wave
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from ppgn.contracts import Medium
from ppgn.errors import InputError
from ppgn.media.sound import Sound

SAMPLES = 63 * 128 + 256


def chirp() -> Tensor:
    """A rising tone with an overtone in the middle of silence, (1, SAMPLES)."""
    time = torch.arange(4000) / 8000
    phase = 2 * torch.pi * (300 * time + 800 * time.square())
    wave = torch.sin(phase) + 0.3 * torch.sin(3 * phase)
    return torch.nn.functional.pad(0.5 * wave * torch.hann_window(4000), (2000, SAMPLES - 6000))[None]


def write_wav(path: Path, samples: Tensor, rate: int = 8000, channels: int = 1) -> Path:
    with wave.open(str(path), "wb") as file:
        file.setnchannels(channels)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes((samples * 32767).round().numpy().astype("<i2").repeat(channels).tobytes())
    return path


def test_a_tone_lies_in_its_band_the_high_ones_above() -> None:
    sound, time = Sound(), torch.arange(SAMPLES) / 8000
    low, high = (sound.spectrograms(torch.sin(2 * torch.pi * f * time)[None])[0, 0] for f in (300, 3000))
    assert low.shape == (64, 64)
    for x, hertz in ((low, 300), (high, 3000)):
        mel, top = (2595 * np.log10(1 + f / 700) for f in (hertz, 4000))
        assert 63 - int(x[:, 30].argmax()) == pytest.approx(mel / top * 65 - 1, abs=1)
        assert float(x.max()) == 1
    assert not sound.spectrograms(torch.zeros(1, SAMPLES)).any()


def test_ten_decibels_are_an_eighth_of_eighty() -> None:
    loud = chirp()
    both = torch.cat([loud, loud * 10**-0.5], dim=1)
    x = Sound().spectrograms(both)[0, 0]
    assert float(x[:, :64].max() - x[:, 65:].max()) == pytest.approx(1 / 8, abs=1e-3)


def test_a_spectrogram_that_became_a_sound_has_the_same_spectrogram() -> None:
    sound = Sound()
    x = sound.spectrograms(chirp())
    again = sound.spectrograms(sound.waveforms(x))
    loud = x > 0.5
    assert float((again - x)[loud].abs().mean()) * 80 < 1.5  # decibels
    blind = sound.spectrograms(Sound(rounds=0).waveforms(x))
    assert float((again - x)[loud].abs().mean()) < 0.5 * float((blind - x)[loud].abs().mean())


def test_a_file_is_written_and_read(tmp_path: Path) -> None:
    sound: Medium = Sound()
    stored = sound.store(Sound().spectrograms(chirp()))
    assert (stored.dtype, stored.shape) == (torch.uint8, (1, 1, 64, 64))
    path = sound.write(tmp_path / "seed-0.5", stored[0])
    assert path == tmp_path / "seed-0.5.wav"
    with wave.open(str(path)) as file:
        assert (file.getframerate(), file.getnframes(), file.getnchannels()) == (8000, SAMPLES, 1)
        samples = np.frombuffer(file.readframes(SAMPLES), "<i2")
    assert int(np.abs(samples).max()) == pytest.approx(0.9 * 32767, abs=1)
    again = Sound().read(path)
    assert (again.dtype, again.shape) == (torch.uint8, (1, 64, 64))
    loud = stored[0] > 128
    assert float((again.float() - stored[0])[loud].abs().mean()) < 5
    assert sound.show(stored).shape == (1, 3, 64, 64)
    assert not sound.views


def test_silence_is_silent(tmp_path: Path) -> None:
    waves = Sound().waveforms(torch.zeros(2, 1, 64, 64))
    assert waves.shape == (2, SAMPLES)
    assert not waves.any()


def test_a_short_recording_lies_in_the_middle_and_of_a_long_one_the_middle_counts(tmp_path: Path) -> None:
    sound, middle = Sound(), chirp()[0, 1000:7000]
    x = sound.read(write_wav(tmp_path / "short.wav", middle))
    assert not x[..., :5].any()
    assert not x[..., -5:].any()
    around = torch.nn.functional.pad(middle, (3000, 3000))
    assert int((sound.read(write_wav(tmp_path / "long.wav", around)).int() - x).abs().max()) <= 1
    assert torch.equal(sound.read(write_wav(tmp_path / "stereo.wav", middle, channels=2)), x)


def test_what_is_no_such_sound_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="8000"):
        Sound().read(write_wav(tmp_path / "fast.wav", chirp()[0], rate=16000))
    (tmp_path / "text.wav").write_text("no sound")
    for name in ("text.wav", "none.wav"):
        with pytest.raises(InputError, match=name):
            Sound().read(tmp_path / name)
