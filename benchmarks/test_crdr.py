"""How fast crdr decodes a photo of 768 x 512 pixels, beside the full published model as its authors run it.

The peer has the full model's networks in plain float32, slice after slice, on the symbols of the same picture, and
leaves its entropy coder out. Weights are random: speed does not depend on what they have learned. One thread.
"""

import os
import time
from collections.abc import Callable
from functools import cache

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from codectk.arrays import ArrayInfo
from codectk.checkpoint import Checkpoint
from codectk.compression import LoadedCodec, load_codec
from codectk.container import unpack
from codectk.dataset import sample_photos
from codectk.images import read_image
from codectk.options import Options, RunOptions
from codectk.recipes import combine, read_recipe
from codectk_crdr.export import as_tensor, checkpoint
from codectk_crdr.model import CompressionModel
from codectk_crdr.options import ModelOptions
from codectk_crdr.quantise import calibrate, integer_arrays
from codectk_crdr.train_options import TrainOptions

RUNS = int(os.environ.get("CODECTK_RUNS", "3"))


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


@cache
def photo() -> np.ndarray:
    x = read_image(sample_photos("val")[0]).x
    return np.ascontiguousarray(np.tile(x, (3, 3, 1))[:512, :768])


@cache
def random_model(options: Options) -> CompressionModel:
    torch.manual_seed(0)
    model = CompressionModel(ModelOptions.parse(options.changed())).eval()
    with torch.no_grad():
        model.encoder.conv4.weight.mul_(200)  # latents of a few units, as at a usual rate
    return model


def exported(options: ModelOptions) -> Checkpoint:
    model = random_model(options)
    knob = torch.tensor([2.0])
    return checkpoint(model, {}, integer_arrays(model, calibrate(model, [(as_tensor(photo()), knob)])))


def seconds(work: Callable[[], object]) -> list[float]:
    work()
    times = []
    for _ in range(RUNS):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return times


@cache
def peer() -> tuple[float, ...]:
    """The full model in plain float32, from z on."""
    model = random_model(ModelOptions())
    for module in model.modules():
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
            module.weight.data = module.weight.data.contiguous()
    knob = torch.tensor([2.0])
    with torch.inference_mode():
        y = model.encoder(as_tensor(photo()), knob)
        z_hat = model.hyperencoder(y).round()

        def decode() -> Tensor:
            hyper = model.hyperdecoder(z_hat)
            y_hat = model.context_model(hyper, lambda part, means, _: (part.take(y) - means).round() + means)
            return model.decoder(y_hat, knob, torch.tensor([2.56]))

        return tuple(seconds(decode))


def of_recipe(name: str) -> ModelOptions:
    options, _ = combine([TrainOptions, RunOptions], read_recipe("codectk_crdr:recipes", name))
    assert isinstance(options, TrainOptions)
    return options.architecture()


def decoding(loaded: LoadedCodec, quality: float) -> Callable[[], object]:
    info = ArrayInfo("image/rgb8", photo().shape)
    file = unpack(loaded.compress(photo(), info, loaded.encode_options({"quality": quality})).data)
    return lambda: loaded.decompress(file)


@pytest.mark.parametrize("name", ["full model", "crdr_lite", "default weights"])
def test_decode_beside_the_full_model_in_floats(ratio: Callable[..., float], name: str) -> None:
    if name == "default weights":
        loaded = load_codec("crdr")
    else:
        loaded = load_codec("crdr", exported(ModelOptions() if name == "full model" else of_recipe("crdr_lite")))
    mine = seconds(decoding(loaded, 2))
    theirs = list(peer())
    ratio(f"decode, {name}", mine, "the full model in floats", theirs)
