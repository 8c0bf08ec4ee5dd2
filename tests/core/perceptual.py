"""Weights of the networks that measure, made up: names and shapes as they were published, values from a fixed seed."""

from functools import cache
from itertools import pairwise

import numpy as np

ALEXNET = {0: (64, 3, 11, 11), 3: (192, 64, 5, 5), 6: (384, 192, 3, 3), 8: (256, 384, 3, 3), 10: (256, 256, 3, 3)}
VGG16 = {
    number: (c_out, c_in, 3, 3)
    for number, (c_in, c_out) in zip(
        (0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28),
        pairwise((3, 64, 64, 128, 128, 256, 256, 256, 512, 512, 512, 512, 512, 512)),
        strict=True,
    )
}
HEADS = {"alex": (64, 192, 384, 256, 256), "vgg": (64, 128, 256, 512, 512)}

STEM = {
    "Conv2d_1a_3x3": (32, 3, 3, 3),
    "Conv2d_2a_3x3": (32, 32, 3, 3),
    "Conv2d_2b_3x3": (64, 32, 3, 3),
    "Conv2d_3b_1x1": (80, 64, 1, 1),
    "Conv2d_4a_3x3": (192, 80, 3, 3),
}


@cache
def trunk(network):
    """Convolutions `features.{n}` of `alex` or `vgg`, whose outputs neither vanish nor explode."""
    rng = np.random.default_rng(0)
    state = {}
    for number, shape in (ALEXNET if network == "alex" else VGG16).items():
        spread = np.sqrt(2 / np.prod(shape[1:])).astype(np.float32)
        state[f"features.{number}.weight"] = rng.standard_normal(shape, np.float32) * spread
        state[f"features.{number}.bias"] = rng.standard_normal(shape[0], np.float32) * np.float32(0.1)
    return state


def lpips(network):
    """Of LPIPS with AlexNet or VGG16."""
    rng = np.random.default_rng(1)
    state = dict(trunk(network))
    for number, channels in enumerate(HEADS[network]):
        state[f"lin{number}.model.1.weight"] = rng.random((1, channels, 1, 1), np.float32)
    return state


def dists():
    """Of DISTS."""
    rng = np.random.default_rng(2)
    return trunk("vgg") | {name: rng.random((1, 1475, 1, 1), np.float32) for name in ("alpha", "beta")}


def inception_shapes():
    """Convolutions of Inception v3 before its classifier: name → shape of the weight, in torchvision's names."""
    shapes = dict(STEM)
    for block, c, pooled in (("5b", 192, 32), ("5c", 256, 64), ("5d", 288, 64)):
        shapes |= _block(block, f"1x1={c},64,1,1 5x5_1={c},48,1,1 5x5_2=48,64,5,5 _pool={c},{pooled},1,1")
        shapes |= _block(block, f"3x3dbl_1={c},64,1,1 3x3dbl_2=64,96,3,3 3x3dbl_3=96,96,3,3")
    shapes |= _block("6a", "3x3=288,384,3,3 3x3dbl_1=288,64,1,1 3x3dbl_2=64,96,3,3 3x3dbl_3=96,96,3,3")
    for block, w in (("6b", 128), ("6c", 160), ("6d", 160), ("6e", 192)):
        shapes |= _block(block, f"1x1=768,192,1,1 7x7_1=768,{w},1,1 7x7_2={w},{w},1,7 7x7_3={w},192,7,1")
        shapes |= _block(block, f"7x7dbl_1=768,{w},1,1 7x7dbl_2={w},{w},7,1 7x7dbl_3={w},{w},1,7")
        shapes |= _block(block, f"7x7dbl_4={w},{w},7,1 7x7dbl_5={w},192,1,7 _pool=768,192,1,1")
    shapes |= _block("7a", "3x3_1=768,192,1,1 3x3_2=192,320,3,3 7x7x3_1=768,192,1,1 7x7x3_2=192,192,1,7")
    shapes |= _block("7a", "7x7x3_3=192,192,7,1 7x7x3_4=192,192,3,3")
    for block, c in (("7b", 1280), ("7c", 2048)):
        shapes |= _block(block, f"1x1={c},320,1,1 3x3_1={c},384,1,1 3x3_2a=384,384,1,3 3x3_2b=384,384,3,1")
        shapes |= _block(block, f"3x3dbl_1={c},448,1,1 3x3dbl_2=448,384,3,3 3x3dbl_3a=384,384,1,3")
        shapes |= _block(block, f"3x3dbl_3b=384,384,3,1 _pool={c},192,1,1")
    return shapes


def _block(block, text):
    """`branch=c_in,c_out,rows,columns` of each convolution."""
    shapes = {}
    for word in text.split():
        name, numbers = word.split("=")
        c_in, c_out, rows, columns = map(int, numbers.split(","))
        shapes[f"Mixed_{block}.branch{name}"] = (c_out, c_in, rows, columns)
    return shapes


def inception():
    """Of the network whose features FID compares; a classifier comes along, as in published files."""
    rng = np.random.default_rng(3)
    state = {"fc.weight": np.zeros((1008, 2048), np.float32), "AuxLogits.fc.bias": np.zeros(1000, np.float32)}
    for name, shape in inception_shapes().items():
        spread = np.sqrt(2 / np.prod(shape[1:])).astype(np.float32)
        state[f"{name}.conv.weight"] = rng.standard_normal(shape, np.float32) * spread
        for part, low, high in (("weight", 0.8, 1.2), ("bias", -0.1, 0.3), ("running_mean", -0.1, 0.1)):
            state[f"{name}.bn.{part}"] = rng.uniform(low, high, shape[0]).astype(np.float32)
        state[f"{name}.bn.running_var"] = rng.uniform(0.5, 1.5, shape[0]).astype(np.float32)
    return state
