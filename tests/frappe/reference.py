"""The published method in plain numpy, float64 and on purpose without this project's networks: what they must give."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from codectk_frappe.options import ModelOptions

Tensors = Mapping[str, np.ndarray]


class Part:
    """The tensors below a prefix, as float64."""

    def __init__(self, tensors: Tensors, prefix: str) -> None:
        self.tensors, self.prefix = tensors, prefix

    def __getitem__(self, name: str) -> np.ndarray:
        return self.tensors[self.prefix + name].astype(np.float64)

    def __contains__(self, name: str) -> bool:
        return self.prefix + name in self.tensors

    def of(self, prefix: str) -> "Part":
        return Part(self.tensors, f"{self.prefix}{prefix}.")


def convolve(x: np.ndarray, part: Part, stride: int = 1, mode: str = "constant", depthwise: bool = False) -> np.ndarray:
    """(C, H, W) → (O, h, w); size-preserving where the stride is 1."""
    weight = part["weight"]
    pad = weight.shape[-1] // 2 if stride == 1 else 0
    padded = np.pad(x, [(0, 0), (pad, pad), (pad, pad)], mode=mode)  # type: ignore[call-overload]
    windows = sliding_window_view(padded, weight.shape[2:], axis=(1, 2))[:, ::stride, ::stride]
    if depthwise:
        y = np.einsum("chwkl,ckl->chw", windows, weight[:, 0])
    else:
        y = np.einsum("chwkl,ockl->ohw", windows, weight, optimize=True)
    return y + part["bias"][:, None, None] if "bias" in part else y


def normalise(x: np.ndarray, part: Part) -> np.ndarray:
    centred = x - x.mean(axis=0)
    y = centred / np.sqrt((centred**2).mean(axis=0) + 1e-6)
    return y * part["weight"][:, None, None] + part["bias"][:, None, None]


def gelu(x: np.ndarray) -> np.ndarray:
    return 0.5 * x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3)))


def conv_block(x: np.ndarray, part: Part) -> np.ndarray:
    main = part.of("main")
    y = normalise(convolve(x, main.of("0"), depthwise=True), main.of("1"))
    y = convolve(gelu(convolve(y, main.of("2"))), main.of("4"))
    return x + (part["scale.γ"][:, None, None] * y if "scale.γ" in part else y)


def attend(x: np.ndarray, part: Part) -> np.ndarray:
    _, height, width = x.shape
    q, k, v = convolve(x, part.of("qkv")).reshape(3, 8, 32, height * width)
    scores = np.einsum("hdi,hdj->hij", q, k) / np.sqrt(32)
    scores = np.exp(scores - scores.max(axis=-1, keepdims=True))
    scores /= scores.sum(axis=-1, keepdims=True)
    return convolve(np.einsum("hij,hdj->hdi", scores, v).reshape(256, height, width), part.of("proj"))


def transformer_block(x: np.ndarray, part: Part) -> np.ndarray:
    _, height, width = x.shape
    rows, columns = np.mgrid[0:height, 0:width].astype(np.float64)
    y = np.concatenate([x, [rows - (height - 1) / 2, columns - (width - 1) / 2]])
    y = y + attend(normalise(y, part.of("norm1")), part.of("attn"))
    mlp = part.of("mlp")
    hidden = convolve(convolve(normalise(y, part.of("norm2")), mlp.of("0")), mlp.of("1"), depthwise=True)
    return (y + convolve(gelu(hidden), mlp.of("3")))[:-2]


def companded(tensors: Tensors, options: ModelOptions, picture: np.ndarray, n: int) -> list[np.ndarray]:
    """Latents of each scale group before rounding, (n_s, H/p, W/p), of a picture (H, W, 3) uint8."""
    x = picture.transpose(2, 0, 1) / 127.5 - 1
    if options.linear_input:
        t = x / 2 + 0.5
        x = 2 * np.where(t <= 0.04045, t / 12.92, ((t + 0.055) / 1.055) ** 2.4) - 1
    latents = []
    for s, group in enumerate(options.groups(n)):
        part = Part(tensors, f"merged.{n}.encoders.{s}.")
        u = convolve(x, part.of("0"), stride=group.ps)
        if options.encoder_arch == "LF8":
            sigma = np.maximum(part["1.compand.sigma"], 1e-6)[:, None, None]
            latents.append(127 * np.sign(u) * (1 - np.exp(-np.abs(u) / sigma)))
        else:
            sigma = np.abs(part["1.0._σ"])[:, None, None] + 1e-6
            latents.append(part["1.2.γ"][:, None, None] * 127 * u / (sigma + np.abs(u)))
    return latents


def reconstruction(tensors: Tensors, options: ModelOptions, latents: list[np.ndarray], n: int) -> np.ndarray:
    """Decoder output (3, H, W) in [-1, 1] for integer latents."""
    pitch, adapted = options.pitch, []
    for latent, group in zip(latents, options.groups(n), strict=True):
        if group.ps >= pitch:
            adapted.append(latent.repeat(group.ps // pitch, axis=1).repeat(group.ps // pitch, axis=2))
        else:
            f = pitch // group.ps
            adapted += [channel[r::f, k::f][None] for channel in latent for r in range(f) for k in range(f)]
    part = Part(tensors, f"merged.{n}.decoder.")
    y = convolve(np.concatenate(adapted).astype(np.float64), part.of("0"), mode="reflect")
    blocks: dict[str, Any] = {"C": conv_block, "T": transformer_block}
    for number, letter in enumerate(options.decoder_arch.upper(), start=1):
        y = blocks[letter](y, part.of(str(number)))
    last = len(options.decoder_arch) + 1
    y = convolve(y, part.of(str(last)))
    head = part.of(str(last + 1))
    tiles = np.einsum("dij,dcrk->cirjk", y, head["weight"], optimize=True)
    out = tiles.reshape(3, y.shape[1] * pitch, y.shape[2] * pitch) + head["bias"][:, None, None]
    return out.clip(-1, 1)
