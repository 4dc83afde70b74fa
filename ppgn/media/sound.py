"""Sound: log-mel spectrograms that are written as .wav files, the phase found anew."""

from __future__ import annotations

import io
import math
import wave
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ppgn import paths
from ppgn.errors import InputError
from ppgn.media.medium import Pictures

PEAK = 0.9  # of a sound that is written
MOMENTUM = 0.99  # of phases, from one round to the next


class Sound(Pictures):
    """Log-mel spectrograms (N, 1, mels, frames) in [0, 1], high tones above, kept as uint8, written as mono .wav files.

    1 is the loudest of a recording, 0 lies `span` decibels below. Frames are `window` samples long, `hop` apart, with a
    Hann window, without padding; bands of equal width in mel (O'Shaughnessy 1987) reach from 0 to half the `rate`.
    Written sounds have the phases of `rounds` of the algorithm of Griffin & Lim (1984) with momentum (Perraudin,
    Balazs & Søndergaard 2013), and one peak: the loudness is not kept.
    """

    name = "sounds"
    views = False
    heard = True

    def __init__(
        self, rate: int = 8000, window: int = 256, hop: int = 128, mels: int = 64, span: float = 80.0, rounds: int = 64
    ) -> None:
        self.rate, self.window, self.hop, self.mels, self.span, self.rounds = rate, window, hop, mels, span, rounds
        self.bands = _bands(mels, window // 2 + 1, rate)

    def write(self, path: Path, stored: Tensor) -> Path:
        """Write one spectrogram to `path`.wav, 16 bits."""
        path, buffer = path.with_name(f"{path.name}.wav"), io.BytesIO()
        samples = self.waveforms(self.restore(stored)[None])[0]
        with wave.open(buffer, "wb") as file:
            file.setnchannels(1)
            file.setsampwidth(2)
            file.setframerate(self.rate)
            file.writeframes((samples * 32767).round().numpy().astype("<i2").tobytes())
        paths.write(path, buffer.getvalue())
        return path

    def read(self, path: str | Path, frames: int = 64) -> Tensor:
        """The spectrogram of a .wav file of 16 bits, its middle `frames`, silence around what is shorter, uint8
        (1, mels, frames).

        Several channels become their mean. Raises `InputError` for another rate and for what cannot be read.
        """
        try:
            with wave.open(str(path), "rb") as file:
                rate, width, channels = file.getframerate(), file.getsampwidth(), file.getnchannels()
                data = file.readframes(file.getnframes())
        except (OSError, EOFError, wave.Error) as error:
            raise InputError(f"cannot read the sound '{path}' ({error}); give a .wav file") from error
        if (rate, width) != (self.rate, 2):
            given = f"'{path}' has {rate} samples a second of {8 * width} bits"
            raise InputError(f"{given}; convert it to {self.rate} of 16 bits")
        samples = torch.from_numpy(np.frombuffer(data, "<i2").astype(np.float32).reshape(-1, channels).mean(1) / 32768)
        length = (frames - 1) * self.hop + self.window
        lack = length - len(samples)
        middle = torch.nn.functional.pad(samples, (lack // 2, lack - lack // 2))  # cuts where the lack is negative
        return self.store(self.spectrograms(middle[None]))[0]

    def spectrograms(self, waveforms: Tensor) -> Tensor:
        """Waveforms (N, samples) -> spectrograms (N, 1, mels, frames) in [0, 1]; of silence, 0."""
        power = self._short(waveforms.float()).abs().square()
        level = 10 * torch.log10((self.bands @ power).clamp_min(1e-10))
        loudest = level.amax((1, 2), keepdim=True)
        return ((level - loudest) / self.span + 1).clamp(0, 1).flip(1)[:, None] * (loudest > -100)[:, None]

    def waveforms(self, spectrograms: Tensor) -> Tensor:
        """Spectrograms (N, 1, mels, frames) in [0, 1] -> waveforms (N, samples), in [-0.9, 0.9]."""
        x = spectrograms[:, 0].flip(1).float().clamp(0, 1)
        power = 10 ** ((x - 1) * self.span / 10) * (x > 0)
        size = self._magnitude(power)
        phase = torch.Generator().manual_seed(0)
        turned = torch.polar(torch.ones_like(size), 2 * math.pi * torch.rand(size.shape, generator=phase))
        before = torch.zeros_like(turned)
        for _ in range(self.rounds):
            found = self._short(self._long(size * turned))
            ahead = found - MOMENTUM / (1 + MOMENTUM) * before
            turned, before = ahead / ahead.abs().clamp_min(1e-12), found
        samples = self._long(size * turned)
        return PEAK * samples / samples.abs().amax(1, keepdim=True).clamp_min(1e-12)

    def _magnitude(self, power: Tensor) -> Tensor:
        """Power of bands (N, mels, frames) -> magnitudes of frequencies, none negative (Lee & Seung 2001)."""
        share = self.bands.T @ power
        inner, found = self.bands.T @ self.bands, share
        for _ in range(100):
            found = found * share / (inner @ found).clamp_min(1e-12)
        return found.clamp_min(0).sqrt()

    def _short(self, waveforms: Tensor) -> Tensor:
        """The short-time Fourier transform, (N, samples) -> complex (N, frequencies, frames)."""
        hann = torch.hann_window(self.window)
        return torch.stft(waveforms, self.window, self.hop, window=hann, center=False, return_complex=True)

    def _long(self, spectra: Tensor) -> Tensor:
        """The waveforms whose transform lies nearest, complex (N, frequencies, frames) -> (N, samples)."""
        hann = torch.hann_window(self.window)
        parts = torch.fft.irfft(spectra, self.window, dim=1) * hann[:, None]
        weights = (hann**2)[:, None].expand(-1, spectra.shape[-1])
        length = (spectra.shape[-1] - 1) * self.hop + self.window
        summed, weight = (
            torch.nn.functional.fold(each, (1, length), (1, self.window), stride=(1, self.hop))[:, 0, 0]
            for each in (parts, weights[None])
        )
        return summed / weight.clamp_min(1e-3)


def _bands(mels: int, frequencies: int, rate: int) -> Tensor:
    """Triangles over the frequencies from 0 to rate / 2, one for each band, (mels, frequencies), each at most 1."""
    top = 2595 * math.log10(1 + rate / 2 / 700)
    edges = 700 * (10 ** (torch.linspace(0, top, mels + 2, dtype=torch.float64) / 2595) - 1)
    places = torch.linspace(0, rate / 2, frequencies, dtype=torch.float64)
    rising = (places - edges[:-2, None]) / (edges[1:-1] - edges[:-2])[:, None]
    falling = (edges[2:, None] - places) / (edges[2:] - edges[1:-1])[:, None]
    return rising.minimum(falling).clamp_min(0).float()
