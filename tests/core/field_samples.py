"""Fields and metadata that several tests write to files."""

import numpy as np

from codectk.fields.metadata import Coordinate, Metadata

ENDINGS = [".nc", ".h5", ".zarr", ".npz"]
WITH_METADATA = [".nc", ".h5", ".zarr"]


def field(dtype="float32", shape=(3, 4, 5)):
    """Values over much of the type's range, with a missing sample where the type has one."""
    random = np.random.default_rng(1)
    if np.dtype(dtype).kind == "f":
        x = random.normal(size=shape).astype(dtype)
        x.flat[1], x.flat[2] = np.nan, -np.inf
        return x
    limits = np.iinfo(dtype)
    return random.integers(limits.min, limits.max, shape, dtype, endpoint=True)


def labels(**changes):
    """Metadata with values of many types."""
    attributes = {"units": "K", "scale_factor": np.float64(0.1), "valid_range": np.array([-5, 5], "i2")}
    coordinates = {
        "lat": Coordinate(np.linspace(-1, 1, 4).astype("f4"), {"units": "degrees_north"}),
        "time": Coordinate(np.array([1, 2, 2**53 + 1])),
    }
    values = {"name": "t2m", "dims": ("time", "lat", "lon"), "attributes": attributes, "coordinates": coordinates}
    return Metadata(**values | changes)


def same(a, b):
    """Whether two values of an attribute are equal bit for bit, with their types."""
    x, y = np.asarray(a), np.asarray(b)
    return x.dtype == y.dtype and x.shape == y.shape and x.tobytes() == y.tobytes()
