"""What the entropy coder is told about the latents of some weights, counted on training pictures."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from codectk.arrays import Array
from codectk_frappe.analysis import Int8
from codectk_frappe.coder import (
    CONTEXTS,
    MAX_PREDICT,
    MAX_WEIGHT,
    MIXERS,
    PATTERNS,
    Coder,
    cold_tables,
    helpers_of,
    planes_of,
)
from codectk_frappe.options import ModelOptions

PREDICT = 0.4
"""A channel is predicted if that explains more than this part of its variance. Channels that are mostly zero are coded
better, and faster, by the signs and magnitudes around."""
START_MIX = (45000, 25000)
"""Weights of context and pattern from which the mixers start to learn."""


def fit(options: ModelOptions, pictures: Sequence[Sequence[Int8]]) -> dict[str, Array]:
    """The `coder.…` tensors for latents like these, without that prefix.

    Args:
        options: patch sizes.
        pictures: latents of training pictures, (n_s, h, w) per scale group.
    """
    all_planes = [planes_of(groups) for groups in pictures]
    count = len(options.ps)
    tensors = cold_tables(options)
    models, sources = tensors["models"], tensors["sources"]
    sources[:] = 0
    for i in range(count):
        models[i, :4] = _fit_prediction([planes[i] for planes in all_planes])
    for i in range(count):
        coder = Coder(options, tensors)
        magnitudes = [coder.magnitudes(planes) for planes in all_planes]
        helpers = helpers_of(options, i)
        weights = _fit_activity(i, helpers, options, magnitudes)
        models[i, 4:] = weights[:6]
        for place, j in enumerate(helpers):
            sources[i, j] = weights[6 + 2 * place : 8 + 2 * place]
    tensors["patterns"] = np.full((count, PATTERNS), 1 << 15, np.uint16)
    tensors["mixers"] = np.tile(np.array(START_MIX, np.int32), (count, MIXERS, 1))
    for _ in range(2):  # the second count sees probabilities that adapt from a good start
        coder = Coder(options, tensors)
        counts = np.zeros((count, CONTEXTS + PATTERNS, 2), np.uint32)
        for planes in all_planes:
            coder.encode(planes, counts=counts)
        ones, total = counts[..., 1].astype(float), counts.sum(2).astype(float)
        chances = np.clip(np.rint(65536 * (ones + 0.4) / (total + 0.8)), 256, 65536 - 256).astype(np.uint16)
        tensors["tables"], tensors["patterns"] = chances[:, :CONTEXTS].copy(), chances[:, CONTEXTS:].copy()
        tensors["mixers"] = np.asarray(coder.mixers)
    return tensors


def _fit_prediction(planes: Sequence[Int8]) -> Array:
    """Least-squares weights of W, N, NW, NE in 1/256, or zeros where they explain little."""
    columns, targets = [], []
    for plane in planes:
        z = plane.astype(np.float64)
        if min(z.shape) < 3:
            continue
        columns.append(np.stack([z[1:, :-2], z[:-1, 1:-1], z[:-1, :-2], z[:-1, 2:]], -1).reshape(-1, 4))
        targets.append(z[1:, 1:-1].ravel())
    if not columns:
        return np.zeros(4, np.int16)
    a, b = np.concatenate(columns), np.concatenate(targets)
    energy = np.square(b).sum()
    weights = np.linalg.solve(a.T @ a + 1e-9 * np.eye(4), a.T @ b)
    if not energy or 1 - np.square(b - a @ weights).sum() / energy < PREDICT:
        return np.zeros(4, np.int16)
    quantised: Array = np.clip(np.rint(256 * weights), -MAX_PREDICT, MAX_PREDICT).astype(np.int16)
    return quantised


def _fit_activity(i: int, helpers: list[int], options: ModelOptions, pictures: list[list[Any]]) -> Array:
    """Non-negative weights whose sum with magnitudes around is nearest to the magnitude, relative to its size."""
    from scipy.optimize import nnls

    columns, targets = [], []
    rng = np.random.default_rng(0)
    for magnitudes in pictures:
        m = np.pad(magnitudes[i].astype(np.float32), 2)
        h, w = magnitudes[i].shape

        def shifted(a: Any, dy: int, dx: int, h: int = h, w: int = w) -> Any:
            return a[2 + dy : 2 + dy + h, 2 + dx : 2 + dx + w].ravel()

        features = [shifted(m, *d) for d in ((0, -1), (-1, 0), (-1, -1), (-1, 1), (0, -2), (-2, 0))]
        for j in helpers:
            factor = options.ps[j] // options.ps[i]
            other = np.pad(magnitudes[j].astype(np.float32), 1)
            around = other[:-2, 1:-1] + other[2:, 1:-1] + other[1:-1, :-2] + other[1:-1, 2:]
            for part in (other[1:-1, 1:-1], around):
                features.append(part.repeat(factor, 0).repeat(factor, 1).ravel())
        chosen = rng.integers(h * w, size=min(h * w, 2000))
        columns.append(np.stack(features, 1)[chosen])
        targets.append(magnitudes[i].ravel()[chosen].astype(np.float32))
    a, b = np.concatenate(columns).astype(np.float64), np.concatenate(targets).astype(np.float64)
    weights = np.full(a.shape[1], 1 / a.shape[1])
    for _ in range(3):
        scale = 1 / (a @ weights + 0.05)
        weights = nnls(a * scale[:, None], b * scale)[0]
    whole = np.minimum(np.rint(64 * weights), 200)
    heavy = np.ones(len(whole))
    heavy[7::2] = 4
    excess = (whole * heavy).sum() / MAX_WEIGHT
    quantised: Array = np.floor(whole / excess if excess > 1 else whole).astype(np.int16)
    return quantised
