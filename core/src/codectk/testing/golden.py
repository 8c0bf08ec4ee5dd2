"""Golden files: what a release wrote, and what it decoded from it, kept so that no later release reads it otherwise.

`KIND-vVERSION-N.ctk` with `KIND-vVERSION-N.npy`, and the weights as `DIGEST.safetensors`. Files that are there are
never written again: a new bitstream version adds its own.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from codectk.arrays import Array
from codectk.checkpoint import Checkpoint, read_about
from codectk.compression import LoadedCodec
from codectk.container import DIGEST_BYTES, Container, unpack
from codectk.files import atomic_output, read_bytes, write_bytes
from codectk.options import packaged
from codectk.specs import CodecSpec
from codectk.testing import samples

SIZE = {"image": (19, 29), "field": (2, 9, 13)}


def write_golden(
    loaded: LoadedCodec,
    folder: Path,
    settings: Sequence[Mapping[str, Any]] = ({},),
    weights: Checkpoint | None = None,
) -> list[Path]:
    """Write golden files of the codec's present bitstream version: each kind at each setting.

    Args:
        loaded: the codec.
        folder: where to; made if it is not there.
        settings: encode options.
        weights: those that `loaded` has; they are stored beside the files.

    Returns:
        The `.ctk` files.

    Raises:
        OutputError: a file is there already.
    """
    spec, written = loaded.spec, []
    for kind in spec.kinds:
        x, info = samples.array(kind, SIZE[samples.family(kind)])
        for number, values in enumerate(settings):
            data = loaded.compress(x, info, loaded.encode_options(values)).data
            path = folder / f"{kind.replace('/', '-')}-v{spec.bitstream_version}-{number}.ctk"
            write_bytes(path, data)
            with atomic_output(path.with_suffix(".npy"), force=False) as temporary:
                np.save(temporary, loaded.decompress(unpack(data)), allow_pickle=False)
            written.append(path)
    if weights is not None:
        store = folder / f"{weights.digest[: 2 * DIGEST_BYTES]}.safetensors"
        if not store.exists():
            weights.save(store)
    return written


def golden_files(folder: Path) -> list[tuple[Path, Container]]:
    """All golden files in a folder."""
    return [(path, unpack(read_bytes(path), str(path))) for path in sorted(folder.glob("*.ctk"))]


def expected(path: Path) -> Array:
    """What a golden file decoded to when it was written."""
    array: Array = np.load(path.with_suffix(".npy"), allow_pickle=False)
    return array


def golden_weights(folder: Path, digest: bytes | None) -> Checkpoint | None:
    """The weights beside golden files that have this digest, or None."""
    if digest is None:
        return None
    found = (path for path in folder.glob("*.safetensors") if read_about(path)["digest"].startswith(digest.hex()))
    path = next(found, None)
    return Checkpoint.open(path) if path else None


def default_weights(spec: CodecSpec) -> Checkpoint | None:
    """The weights that ship with a codec, if it has any."""
    return Checkpoint.open(packaged(spec.default_weights)) if spec.default_weights else None
