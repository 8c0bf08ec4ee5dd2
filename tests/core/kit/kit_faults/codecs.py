"""A good codec of each sort, and codecs that differ from it by one fault."""

import os
import struct
import tempfile
import time
import zlib
from io import BytesIO
from pathlib import Path
from typing import Any, Self

import numpy as np
from PIL import Image
from pydantic import field_serializer

from codectk.arrays import Array, ArrayInfo
from codectk.checkpoint import Checkpoint
from codectk.codec import Codec, Encoded, FileCodec, symbol_check
from codectk.errors import ContainerError, InputError, WeightsError
from codectk.options import Options, option


class PlainBits(Options):
    """Of the good codec."""

    bits: int = option(0, ge=0, le=4, help="Low bits to drop.")


class PlainOptions:
    """No model of options."""


class HelplessOptions(PlainBits):
    """One of them lacks help."""

    effort: int = option(6, ge=0, le=9, help="")


class JsonOptions(PlainBits):
    """One that comes out of JSON as something else."""

    place: str = option("here", help="Where.")

    @field_serializer("place")
    def _shout(self, place: str) -> str:
        return f"{place}!"


class WordOptions(PlainBits):
    """One that cannot be said on the command line."""

    box: tuple[int, int] = option((0, 0), help="Row and column.")


class Good(Codec):
    """Low bits dropped, the rest packed by zlib, everything checked."""

    rate_points = (0, 4)

    @classmethod
    def load(cls, checkpoint: Checkpoint | None, device: str) -> Self:
        return cls()

    def encode(self, x: Array, info: ArrayInfo, options: Any) -> Encoded:
        bits = getattr(options, "bits", 0)
        symbols = self.forward(np.ascontiguousarray(x)) >> bits
        return Encoded({"bits": bits} if bits else {}, (zlib.compress(symbols.tobytes()),), symbol_check(symbols))

    def decode(self, encoded: Encoded, info: ArrayInfo, options: Any) -> Array:
        bits = encoded.params.get("bits", 0)
        if type(bits) is not int or not 0 <= bits <= 4:
            raise ContainerError(f"bits is {bits!r}.", "The file is damaged.")
        if len(encoded.segments) != 1:
            raise ContainerError(f"There are {len(encoded.segments)} segments.", "The file is damaged.")
        symbols = self.unpack(encoded.segments[0], info)
        encoded.verify(symbols)
        return self.backward(symbols << bits)

    def unpack(self, segment: bytes, info: ArrayInfo) -> Array:
        machine = zlib.decompressobj()
        raw = machine.decompress(segment, info.nbytes + 1)
        if len(raw) != info.nbytes or not machine.eof or machine.unused_data:
            raise ContainerError(f"{len(raw)} bytes do not make an array.", "The file is damaged.")
        return np.frombuffer(raw, info.dtype).reshape(info.shape)

    def forward(self, x: Array) -> Array:
        return x

    def backward(self, x: Array) -> Array:
        return x


class GoodLossless(Good):
    rate_points = ()


class DiffersFromItsTest(Good):
    """Its spec was changed after the test was written."""


class WithoutSummary(Good):
    """`codectk list` shows an empty line."""


class WithPlainDecodeOptions(Good):
    """Its decode options are no `Options`."""


class WithoutItsImporter(Good):
    """The importer that it names is not there."""


PICTURE = "no function"


class WithATextForAPicture(Good):
    """What it names for the picture of its weights cannot be called."""


class WithATextForDetails(Good):
    """What it names for the content of its files cannot be called."""


class WithPlainImportOptions(Good):
    """Its import options are no `Options`."""


class WithoutHelp(Good):
    """A flag without a sentence."""


class WithOptionsThatJsonChanges(Good):
    """A recipe gives other options than those that were stored."""


class WithOptionsThatTheCommandLineChanges(Good):
    """A pair of numbers without a way to write it as a flag."""


class WithoutItsRateOption(Good):
    """Its spec names a rate option that it has not."""


class RefusesItsSecondKind(Good):
    """Promises grey pictures and breaks on them."""

    def encode(self, x: Array, info: ArrayInfo, options: Any) -> Encoded:
        if info.shape[2] == 1 and options.bits:
            raise ValueError("three channels wanted")
        return super().encode(x, info, options)


class WantsEvenSides(Good):
    """Halves the width and loses the last column."""

    def encode(self, x: Array, info: ArrayInfo, options: Any) -> Encoded:
        if info.shape[1] % 2 and info.shape[:2] not in ((1, 1), (19, 29)):  # the last is that of golden files
            raise ValueError("odd width")
        return super().encode(x, info, options)


class BreaksAtOnePixel(Good):
    """Needs a neighbour."""

    def encode(self, x: Array, info: ArrayInfo, options: Any) -> Encoded:
        if info.shape[:2] == (1, 1):
            raise IndexError("no neighbour")
        return super().encode(x, info, options)


class DividesByTheSpread(Good):
    """A flat picture has none."""

    def encode(self, x: Array, info: ArrayInfo, options: Any) -> Encoded:
        if x.shape[0] > 1 and int(x.max()) - int(x.min()) == 0:
            raise ZeroDivisionError("spread")
        return super().encode(x, info, options)


class TurnsUpsideDown(Good):
    """Something comes back, but not what went in."""

    def backward(self, x: Array) -> Array:
        return np.ascontiguousarray(x[::-1])


class DropsABit(GoodLossless):
    """Calls itself lossless."""

    def forward(self, x: Array) -> Array:
        return x & 0xFE


class StampsTheTime(Good):
    """Stores when the program was started."""

    def __init__(self) -> None:
        self.started = time.time_ns()

    def encode(self, x: Array, info: ArrayInfo, options: Any) -> Encoded:
        made = super().encode(x, info, options)
        return Encoded({**made.params, "made": self.started}, made.segments, made.symbol_check)


class ReadsMemoryAsItLies(Good):
    """Takes the bytes of an array in their order in memory."""

    def encode(self, x: Array, info: ArrayInfo, options: Any) -> Encoded:
        as_it_lies = np.frombuffer(x.tobytes(order="A"), x.dtype).reshape(x.shape)
        return super().encode(as_it_lies, info, options)


class WritesIntoItsInput(Good):
    """Marks the first pixel."""

    def encode(self, x: Array, info: ArrayInfo, options: Any) -> Encoded:
        made = super().encode(x, info, options)
        if x.flags.writeable:
            x[0, 0, 0] ^= 1
        return made


class ReturnsTheSameArray(Good):
    """Keeps what it decoded and hands it out again."""

    def __init__(self) -> None:
        self.kept: dict[tuple[bytes, ...], Array] = {}

    def decode(self, encoded: Encoded, info: ArrayInfo, options: Any) -> Array:
        key = (*encoded.segments, repr((encoded.params, encoded.symbol_check, info)).encode())
        if key not in self.kept:
            self.kept[key] = super().decode(encoded, info, options)
        return self.kept[key]


class SeedsNumpy(Good):
    """Wants the same random numbers each time."""

    def encode(self, x: Array, info: ArrayInfo, options: Any) -> Encoded:
        np.random.seed(0)
        return super().encode(x, info, options)


class SeedsTorch(Good):
    """The same, of torch."""

    def decode(self, encoded: Encoded, info: ArrayInfo, options: Any) -> Array:
        import torch

        torch.manual_seed(int(time.time()))
        return super().decode(encoded, info, options)


class SetsThreads(Good):
    """Wants the machine for itself."""

    @classmethod
    def load(cls, checkpoint: Checkpoint | None, device: str) -> Self:
        import torch

        torch.set_num_threads(torch.get_num_threads() + 1)
        return cls()


class SetsAVariable(Good):
    """Tells others through the environment."""

    def decode(self, encoded: Encoded, info: ArrayInfo, options: Any) -> Array:
        os.environ["KIT_DECODED"] = str(time.time_ns())
        return super().decode(encoded, info, options)


class HidesDataInAFile(Good):
    """Stores pictures in the temporary folder and their check sum in the file."""

    def encode(self, x: Array, info: ArrayInfo, options: Any) -> Encoded:
        made = super().encode(x, info, options)
        key = struct.pack("<I", zlib.crc32(made.segments[0]))
        (Path(tempfile.gettempdir()) / f"kit-{key.hex()}").write_bytes(made.segments[0])
        return Encoded(made.params, (key,), made.symbol_check)

    def decode(self, encoded: Encoded, info: ArrayInfo, options: Any) -> Array:
        hidden = tuple((Path(tempfile.gettempdir()) / f"kit-{s.hex()[:64]}").read_bytes() for s in encoded.segments)
        return super().decode(Encoded(encoded.params, hidden, encoded.symbol_check), info, options)


class RemembersTheLastPicture(Good):
    """Adds the mean of what it encoded last, less the mean in the file."""

    last = None

    def encode(self, x: Array, info: ArrayInfo, options: Any) -> Encoded:
        self.last = zlib.crc32(np.ascontiguousarray(x >> options.bits))
        return super().encode(x, info, options)

    def decode(self, encoded: Encoded, info: ArrayInfo, options: Any) -> Array:
        x_hat = super().decode(encoded, info, options)
        if x_hat.shape == (40, 56, 3) and self.last not in (None, encoded.symbol_check):
            x_hat ^= 1
        return x_hat


class ReportsAPart(Good):
    """Counts its own bytes and leaves the header out."""

    def encode(self, x: Array, info: ArrayInfo, options: Any) -> Encoded:
        made = super().encode(x, info, options)
        return Encoded(made.params, made.segments, made.symbol_check, {"bytes": len(made.segments[0])})


class ChangedItsBytes(Good):
    """Inverts pictures since its last release, under the same version."""

    def forward(self, x: Array) -> Array:
        return x if "KIT_GOLDEN" in os.environ else x ^ 0xFF

    backward = forward


class ReadsAVersionOnPaper(Good):
    """Says that it reads version 1; nothing shows it."""


class FillsUpWhatIsMissing(Good):
    """Missing values are zero."""

    def decode(self, encoded: Encoded, info: ArrayInfo, options: Any) -> Array:
        if len(encoded.segments) == 1 and _is_cut(encoded.segments[0], info):
            return np.zeros(info.shape, info.dtype)
        return super().decode(encoded, info, options)


def _is_cut(segment: bytes, info: ArrayInfo) -> bool:
    machine = zlib.decompressobj()
    try:
        machine.decompress(segment, info.nbytes + 1)
    except zlib.error:
        return False
    return not machine.eof and len(segment) > 0


class ReadsFromTheEnd(Good):
    """Takes the last byte for its number of bits, whatever stands before."""

    def encode(self, x: Array, info: ArrayInfo, options: Any) -> Encoded:
        made = super().encode(x, info, options)
        return Encoded(made.params, (made.segments[0] + b"\x03",), made.symbol_check)

    def decode(self, encoded: Encoded, info: ArrayInfo, options: Any) -> Array:
        segment = encoded.segments[0] if len(encoded.segments) == 1 else b""
        if segment.endswith(b"\x03\x00"):
            return super().decode(Encoded(encoded.params, (segment[:-2],)), info, options) ^ 0xFF
        inner = Encoded(encoded.params, (segment[:-1],), encoded.symbol_check)
        if not segment.endswith(b"\x03") or len(encoded.segments) != 1:
            raise ContainerError("The last byte is missing.", "The file is damaged.")
        return super().decode(inner, info, options)


class IgnoresSegments(Good):
    """Looks at the first alone."""

    def decode(self, encoded: Encoded, info: ArrayInfo, options: Any) -> Array:
        return super().decode(Encoded(encoded.params, encoded.segments[:1], encoded.symbol_check), info, options)


class ExitsOnDamage(Good):
    """Ends the program where zlib complains."""

    def unpack(self, segment: bytes, info: ArrayInfo) -> Array:
        try:
            zlib.decompressobj().decompress(segment, info.nbytes + 1)
        except zlib.error as error:
            if "incorrect data check" in str(error):
                raise SystemExit(1) from None
            raise
        return super().unpack(segment, info)


class NeverVerifies(Good):
    """Leaves the check of its symbols to others."""

    def decode(self, encoded: Encoded, info: ArrayInfo, options: Any) -> Array:
        return super().decode(Encoded(encoded.params, encoded.segments), info, options)


class BelievesItsParams(Good):
    """Makes room for as much as a file asks for."""

    def decode(self, encoded: Encoded, info: ArrayInfo, options: Any) -> Array:
        bits = encoded.params.get("bits", 0)
        if isinstance(bits, int) and 0 < bits <= 1 << 28:
            np.zeros(bits, np.uint8)
        return super().decode(encoded, info, options)


class UnpacksWithoutALimit(Good):
    """Unpacks all that a segment holds, then looks at the length."""

    def unpack(self, segment: bytes, info: ArrayInfo) -> Array:
        zlib.decompressobj().decompress(segment)
        return super().unpack(segment, info)


class BelievesALength(Good):
    """Makes room for the length that a segment starts with."""

    def encode(self, x: Array, info: ArrayInfo, options: Any) -> Encoded:
        made = super().encode(x, info, options)
        length = struct.pack("<I", info.nbytes)
        return Encoded(made.params, (length + made.segments[0],), made.symbol_check)

    def unpack(self, segment: bytes, info: ArrayInfo) -> Array:
        (length,) = struct.unpack_from("<I", segment)
        np.zeros(length, np.uint8)
        if length != info.nbytes:
            raise ContainerError(f"{length} bytes are announced.", "The file is damaged.")
        return super().unpack(segment[4:], info)


class GoodWeighted(Good):
    """Adds a learned offset to each channel."""

    def __init__(self, offset: Array) -> None:
        self.offset = offset

    @classmethod
    def load(cls, checkpoint: Checkpoint | None, device: str) -> Self:
        if checkpoint is None or checkpoint.tensors.get("offset", np.zeros(0)).shape != (1,):
            raise WeightsError("There is no offset among the weights.", "Give others with -w.")
        return cls(checkpoint.tensors["offset"].astype(np.uint8))

    def forward(self, x: Array) -> Array:
        return x + self.offset

    def backward(self, x: Array) -> Array:
        return x - self.offset


class ForgesTheDigest(GoodWeighted):
    """Makes all weights look like the first, so that old files open with new ones."""

    first = ""

    @classmethod
    def load(cls, checkpoint: Checkpoint | None, device: str) -> Self:
        codec = super().load(checkpoint, device)
        cls.first = cls.first or checkpoint.digest
        vars(checkpoint)["digest"] = cls.first
        return codec


class FillsInMissingWeights(GoodWeighted):
    """Goes on with an offset of zero."""

    @classmethod
    def load(cls, checkpoint: Checkpoint | None, device: str) -> Self:
        if checkpoint is None:
            raise WeightsError("It needs weights.", "Give them with -w.")
        return cls(checkpoint.tensors.get("offset", np.zeros(1)).astype(np.uint8))


class BoundOptions(Options):
    """Of the codec of fields."""

    abs_error: float | None = option(None, gt=0, help="Largest error of any value.")


class GoodBounded(Codec):
    """Multiples of twice the bound where that holds it, else the values themselves."""

    @classmethod
    def load(cls, checkpoint: Checkpoint | None, device: str) -> Self:
        return cls()

    def encode(self, x: Array, info: ArrayInfo, options: Any) -> Encoded:
        prepared = self.prepare(x, options.abs_error)
        raw = np.ascontiguousarray(prepared)
        step = options.abs_error
        if step:
            with np.errstate(all="ignore"):
                multiples = np.round(raw / (2 * step)).astype(np.int64)
                rounded = (multiples * (2 * step)).astype(np.float32)
                holds = bool(np.all(np.abs(rounded.astype(float) - raw.astype(float)) <= step))
            raw = rounded if holds else raw
        return Encoded({}, (zlib.compress(raw.tobytes()),), symbol_check(raw))

    def decode(self, encoded: Encoded, info: ArrayInfo, options: Any) -> Array:
        if len(encoded.segments) != 1:
            raise ContainerError("There is one segment.", "The file is damaged.")
        values = Good.unpack(self, encoded.segments[0], info)  # type: ignore[arg-type]
        encoded.verify(values)
        return values.copy()

    def prepare(self, x: Array, bound: float | None) -> Array:
        return x


class ForgetsTheMean(GoodBounded):
    """Takes the mean of a flat field away, and does not put it back."""

    def prepare(self, x: Array, bound: float | None) -> Array:
        return x - x.mean() if bound and np.ptp(x) == 0 else x


class HasASmallestStep(GoodBounded):
    """Nobody needs steps below 1e-20."""

    def prepare(self, x: Array, bound: float | None) -> Array:
        return np.zeros_like(x) if bound and bound < 1e-20 else x


class ClipsLargeValues(GoodBounded):
    """Nobody has values above 1e20."""

    def prepare(self, x: Array, bound: float | None) -> Array:
        return np.where(np.isfinite(x), np.clip(x, -1e20, 1e20), x).astype(x.dtype)


class ClipsSpikes(GoodBounded):
    """Takes values that stand out for errors."""

    def prepare(self, x: Array, bound: float | None) -> Array:
        middle = np.median(np.abs(x))
        return np.clip(x, -100 * middle, 100 * middle) if np.abs(x).max() > 1000 * middle > 0 else x


class ZeroesNaN(GoodBounded):
    """Puts zero for what is no number."""

    def prepare(self, x: Array, bound: float | None) -> Array:
        return np.where(np.isnan(x), 0, x).astype(x.dtype)


class GoodProgressive(Good):
    """High halves of bytes first, then low halves."""

    def encode(self, x: Array, info: ArrayInfo, options: Any) -> Encoded:
        symbols = np.ascontiguousarray(x) >> options.bits
        halves = self.halves(symbols)
        params = {"bits": options.bits} if options.bits else {}
        return Encoded(params, tuple(zlib.compress(h.tobytes()) for h in halves), symbol_check(*halves))

    def decode(self, encoded: Encoded, info: ArrayInfo, options: Any) -> Array:
        bits = encoded.params.get("bits", 0)
        if type(bits) is not int or not 0 <= bits <= 4 or not 1 <= len(encoded.segments) <= 2:
            raise ContainerError("The parameters make no sense.", "The file is damaged.")
        halves = [self.unpack(segment, info) for segment in encoded.segments]
        encoded.verify(*halves)
        return self.joined(halves) << bits

    def halves(self, symbols: Array) -> list[Array]:
        return [symbols & 0xF0, symbols & 0x0F]

    def joined(self, halves: list[Array]) -> Array:
        return halves[0] | halves[1] if len(halves) == 2 else halves[0].copy()


class NeedsAllSegments(GoodProgressive):
    """Claims to be progressive."""

    def joined(self, halves: list[Array]) -> Array:
        if len(halves) < 2:
            raise ContainerError("A segment is missing.", "Copy the file again.")
        return super().joined(halves)


class GetsWorse(GoodProgressive):
    """Has all in its first segment, and noise in the second."""

    def halves(self, symbols: Array) -> list[Array]:
        return [symbols, (symbols.astype(int) * 37 % 5).astype(np.uint8)]

    def joined(self, halves: list[Array]) -> Array:
        return halves[0] ^ halves[1] if len(halves) == 2 else halves[0].copy()


class GoodFiles(Good, FileCodec):
    """Keeps PNG files as they are."""

    def encode_file(self, data: bytes, info: ArrayInfo, options: Any) -> Encoded:
        if not np.array_equal(_shown(data).shape, info.shape):
            raise InputError("The file shows another picture.", "Copy it again.")
        return Encoded({"file": 1}, (data,))

    def decode(self, encoded: Encoded, info: ArrayInfo, options: Any) -> Array:
        return _shown(encoded.segments[0]) if "file" in encoded.params else super().decode(encoded, info, options)

    def decode_file(self, encoded: Encoded, info: ArrayInfo, options: Any) -> bytes:
        if "file" in encoded.params:
            return encoded.segments[0]
        return _png(self.decode(encoded, info, options))


class WritesANegative(GoodFiles):
    """Writes another picture than it decodes to."""

    def decode_file(self, encoded: Encoded, info: ArrayInfo, options: Any) -> bytes:
        data = super().decode_file(encoded, info, options)
        return _png(255 - _shown(data)) if "file" in encoded.params else data


class KeepsToItsFiles(GoodFiles):
    """Writes files of what was a file alone."""

    def decode_file(self, encoded: Encoded, info: ArrayInfo, options: Any) -> bytes:
        if "file" not in encoded.params:
            raise ContainerError("It was no file.", "Decode it to an array.")
        return super().decode_file(encoded, info, options)


class TakesAnyFile(GoodFiles):
    """Does not look into what it keeps."""

    def encode_file(self, data: bytes, info: ArrayInfo, options: Any) -> Encoded:
        return Encoded({"file": 1}, (data,))


def _shown(data: bytes) -> Array:
    try:
        return np.array(Image.open(BytesIO(data)))
    except (OSError, SyntaxError) as error:
        raise InputError(f"This is no PNG file: {error}.", "Copy it again.") from error


def _png(x: Array) -> bytes:
    stream = BytesIO()
    Image.fromarray(x).save(stream, "PNG")
    return stream.getvalue()
