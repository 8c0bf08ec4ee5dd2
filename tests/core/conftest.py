"""What the tests of the core share: distributions made on the spot, and a tiny honest codec."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from importlib.metadata import Distribution, EntryPoint
from pathlib import Path

import numpy as np
import pytest

from codectk import ArrayInfo
from codectk.arrays import KINDS, Array
from codectk.compression import LoadedCodec, load_codec
from codectk.registry import Registry

TINY = '''
"""A codec that drops low bits and leaves the rest to zlib."""

import zlib
import numpy as np
from codectk.codec import Codec, Encoded, symbol_check
from codectk.errors import ContainerError
from codectk.hookspecs import hookimpl
from codectk.options import Options, option
from codectk.specs import CodecSpec

CODECTK_API = 1


class TinyOptions(Options):
    bits: int = option(0, ge=0, le=7, help="Low bits to drop.")


class TinyCodec(Codec):
    multiple_of = 8

    @classmethod
    def load(cls, checkpoint, device):
        return cls()

    def encode(self, x, info, options):
        symbols = x >> options.bits if info.is_image else x
        params = {"bits": options.bits} if options.bits else {}
        return Encoded(params, (zlib.compress(symbols.tobytes()),), symbol_check(symbols), {"symbols": symbols.size})

    def decode(self, encoded, info, options):
        raw = zlib.decompressobj().decompress(encoded.segments[0], info.nbytes)
        if len(raw) != info.nbytes:
            raise ContainerError(f"{len(raw)} bytes do not make an array.", "Compress the original again.")
        symbols = np.frombuffer(raw, info.dtype).reshape(info.shape)
        encoded.verify(symbols)
        return symbols << encoded.params.get("bits", 0) if info.is_image else symbols


@hookimpl
def codectk_codecs():
    kinds = ("image/rgb8", "image/gray16", "field/f32", "field/f64", "field/i16", "field/u64")
    options = f"{__name__}:TinyOptions"
    return [CodecSpec(name="tiny", summary="low bits and zlib", target=f"{__name__}:TinyCodec", kinds=kinds,
                      encode_options=options, rate_option="bits")]
'''


class Site:
    """Importable modules in one folder and, in another, the metadata of the distributions that hold them.

    They are apart so that this process can import the modules without `entry_points()` finding the distributions: what
    a test makes up must not reach the registry that other tests share.
    """

    def __init__(self, folder: Path) -> None:
        self.code, self.metadata = folder / "code", folder / "metadata"
        self.code.mkdir()
        self.metadata.mkdir()

    def add(self, distribution: str, source: str, module: str = "", metadata: bool = True) -> str:
        """Write a distribution with one module and one entry point; returns the module's name."""
        module = module or distribution.replace("-", "_")
        (self.code / f"{module}.py").write_text(source, encoding="utf-8")
        info = self.metadata / f"{distribution.replace('-', '_')}-1.5.dist-info"
        info.mkdir()
        if metadata:
            text = f"Metadata-Version: 2.1\nName: {distribution}\nVersion: 1.5\n"
            (info / "METADATA").write_text(text, encoding="utf-8")
        (info / "entry_points.txt").write_text(f"[codectk]\nplugin = {module}\n", encoding="utf-8")
        return module

    def points(self) -> list[EntryPoint]:
        """The entry points of all distributions made so far."""
        folders = sorted(self.metadata.glob("*.dist-info"))
        return [point for folder in folders for point in Distribution.at(folder).entry_points]

    def registry(self, strict: bool | None = False) -> Registry:
        """A registry of these distributions alone."""
        return Registry(self.points(), strict)

    def run(self, source: str, *arguments: str, timeout: float = 120) -> subprocess.CompletedProcess[str]:
        """Run a script in a fresh process in which these distributions are installed."""
        paths = os.pathsep.join([str(self.code), str(self.metadata)])
        environment = {k: v for k, v in os.environ.items() if k != "CODECTK_STRICT"} | {"PYTHONPATH": paths}
        command = [sys.executable, "-c", source, *arguments]
        return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=timeout, check=False)


@pytest.fixture
def site(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    made = Site(tmp_path_factory.mktemp("site"))
    monkeypatch.syspath_prepend(made.code)
    yield made
    for name, module in list(sys.modules.items()):
        if str(made.code) in str(getattr(module, "__file__", "")):
            del sys.modules[name]


@pytest.fixture
def tiny(site: Site) -> LoadedCodec:
    """The tiny codec, loaded through its entry point."""
    site.add("codectk-tiny", TINY, "tiny_plugin")
    return load_codec("tiny", registry=site.registry(strict=True))


@pytest.fixture
def make_array() -> Callable[..., tuple[Array, ArrayInfo]]:
    """`make_array(kind, shape)` gives random values over the whole range of a kind, and their info."""

    def make(kind: str = "image/rgb8", shape: tuple[int, ...] = (12, 17, 3)) -> tuple[Array, ArrayInfo]:
        random = np.random.default_rng(shape[0])
        if KINDS[kind].value_range is None:
            x: Array = random.normal(size=shape).astype(KINDS[kind].dtype)
            return x, ArrayInfo(kind, shape, (float(x.min()), float(x.max())))
        return random.integers(0, int(KINDS[kind].value_range[1]) + 1, shape, KINDS[kind].dtype), ArrayInfo(kind, shape)

    return make


@pytest.fixture
def tiny_source() -> str:
    """Source of a module that holds the tiny codec."""
    return TINY
