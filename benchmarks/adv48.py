"""ADV48: a drifting field like turbulence, for comparing codecs. Made of noise, not measured, and always the same.

A frame is white noise with power k^(-8/3) at wave number k, rolled off beyond k = 80. From frame to frame each wave
moves on by the drift and is renewed in part, small waves more than large ones. Mean 0, standard deviation 1.
"""

import numpy as np
from numpy.typing import NDArray

DRIFT = (0.4, 0.7)
"""Pixels per frame along height and width."""

ROLL_OFF, WIDTH = 80, 15
RENEWAL = 0.002


def adv48(frames: int = 48, side: int = 256, seed: int = 0) -> NDArray[np.float32]:
    """The field, (frames, side, side)."""
    rng = np.random.default_rng(seed)
    waves = np.fft.fftfreq(side, 1 / side)
    k = np.hypot(waves[:, None], waves[None, :])
    k[0, 0] = 1
    power = k ** (-8 / 3) * np.exp(-2 * (np.maximum(k - ROLL_OFF, 0) / WIDTH) ** 2)
    power[0, 0] = 0
    kept = np.exp(-RENEWAL * k ** (2 / 3))
    moved = np.exp(-2j * np.pi * (waves[:, None] * DRIFT[0] + waves[None, :] * DRIFT[1]) / side)

    def noise() -> NDArray[np.complex128]:
        waves: NDArray[np.complex128] = np.sqrt(power) * np.fft.fft2(rng.standard_normal((side, side)))
        return waves

    spectrum = noise()
    field = np.empty((frames, side, side))
    for frame in field:
        frame[:] = np.fft.ifft2(spectrum).real
        spectrum = (kept * spectrum + np.sqrt(1 - kept**2) * noise()) * moved
    field -= field.mean()
    field /= field.std()
    return field.astype(np.float32)
