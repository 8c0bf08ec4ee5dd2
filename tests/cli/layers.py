"""A progressive codec for tests: one segment per bit plane, the highest first. It tells the times of its stages."""

LAYERS = """
import zlib
import numpy as np
from codectk.codec import Codec, Encoded, symbol_check
from codectk.errors import ContainerError, InputError
from codectk.hookspecs import hookimpl
from codectk.options import Options, option
from codectk.specs import CodecSpec

CODECTK_API = 1


class LayersOptions(Options):
    planes: int = option(8, ge=1, le=8, help="Bit planes to keep.")
    threads: int = option(0, ge=0, help="Threads; 0 for all.")


class Layers(Codec):
    rate_points = (2, 8)
    calls = 0

    @classmethod
    def load(cls, checkpoint, device):
        return cls()

    def encode(self, x, info, options):
        Layers.calls += 1
        if x.shape[0] == 13:
            raise InputError("13 rows bring bad luck.", "Add one.")
        kept = x >> 8 - options.planes << 8 - options.planes
        planes = [np.packbits(kept >> 7 - i & 1) for i in range(options.planes)]
        segments = tuple(zlib.compress(plane.tobytes()) for plane in planes)
        notes = {"analysis_seconds": 0.25, "entropy_coding_seconds": 0.5, "bits": 8.0, "calls": float(Layers.calls),
                 "threads": float(options.threads)}
        return Encoded({} if options.planes == 8 else {"n": options.planes}, segments, symbol_check(kept), notes)

    def decode(self, encoded, info, options):
        if not 1 <= len(encoded.segments) <= encoded.params.get("n", 8):
            raise ContainerError("The number of segments is wrong.", "Compress the original again.")
        x_hat = np.zeros(info.shape, np.uint8)
        for i, segment in enumerate(encoded.segments):
            raw = zlib.decompressobj().decompress(segment, info.nbytes)
            bits = np.unpackbits(np.frombuffer(raw, np.uint8), count=info.nbytes)
            x_hat |= bits.reshape(info.shape) << 7 - i
        encoded.verify(x_hat)
        return x_hat


@hookimpl
def codectk_codecs():
    here = {"summary": "bit planes", "target": f"{__name__}:Layers", "encode_options": f"{__name__}:LayersOptions"}
    kinds = ("image/rgb8", "image/gray8")
    return [CodecSpec(name="layers", kinds=kinds, rate_option="planes", progressive=True, **here),
            CodecSpec(name="whole", kinds=kinds, **here)]
"""
