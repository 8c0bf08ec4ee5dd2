"""How codec, padding, weights and container together turn arrays into the bytes of a file and back.

x ─ to_kind ─ pad ─ Codec.encode ─ segments ─ container.pack ─> bytes
bytes ─> container.unpack ─ Codec.decode ─ crop ─ from_kind ─ x_hat
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from types import MappingProxyType
from typing import Any, cast

from codectk import arrays, container
from codectk.arrays import Array, ArrayInfo
from codectk.checkpoint import Checkpoint
from codectk.codec import Codec, Encoded, FileCodec
from codectk.container import DIGEST_BYTES, Container, Header
from codectk.errors import (
    CodectkError,
    ContainerError,
    InputError,
    OptionsError,
    PluginError,
    UnknownName,
    WeightsError,
    WeightsMismatch,
    one_line,
)
from codectk.files import write_bytes
from codectk.options import Options, packaged
from codectk.registry import Registered, Registry, get_registry
from codectk.specs import CodecSpec, normalise


@dataclass(frozen=True, repr=False)
class Compressed:
    """A file in memory, and what the codec said about it.

    Attributes:
        data: the bytes of the `.ctk` file.
        notes: the codec's own figures, such as predicted bits.
        messages: what the codec wants the user to know, one sentence each.
    """

    data: bytes
    notes: Mapping[str, float]
    messages: tuple[str, ...] = ()

    def save(self, path: str | PathLike[str], force: bool = False) -> None:
        """Write the file whole or not at all.

        Raises:
            OutputError: it exists and `force` is false, or cannot be written.
        """
        write_bytes(Path(path), self.data, force)

    def __len__(self) -> int:
        """Bytes of the file."""
        return len(self.data)

    def __repr__(self) -> str:
        """What it is, not all of its bytes."""
        header = container.unpack(self.data, max_array_bytes=1 << 62).header
        shape = "×".join(map(str, header.info.shape))
        rate = f"{8 * len(self.data) / header.info.pixels:.4f} {'bpp' if header.info.is_image else 'bits per value'}"
        return f"<{shape} {header.info.kind} by {header.codec}: {len(self.data)} bytes, {rate}>"


@dataclass(frozen=True)
class LoadedCodec:
    """A codec with its weights, ready to compress and decompress."""

    registered: Registered
    codec: Codec
    weights_digest: bytes | None

    @property
    def spec(self) -> CodecSpec:
        """The codec's spec."""
        spec: CodecSpec = self.registered.spec
        return spec

    @property
    def rate_option(self) -> str | None:
        """The encode option that trades size for quality."""
        return self.codec.rate_option or self.spec.rate_option

    @property
    def rate_ladder(self) -> tuple[dict[str, Any], ...]:
        """Encode options from the smallest to the largest file; empty for codecs with one rate."""
        name = self.rate_option
        return self.codec.rate_ladder or tuple({name: point} for point in self.codec.rate_points if name)

    def encode_options(self, values: Mapping[str, Any] | None = None) -> Options:
        """Checked encode options from plain values.

        Raises:
            OptionsError: see `Options.parse`.
        """
        model: type[Options] = self.registered.load(self.spec.encode_options)
        return model.parse(values or {}, f"codec {self.spec.name}")

    def decode_options(self, values: Mapping[str, Any] | None = None) -> Options:
        """Checked decode options from plain values.

        Raises:
            OptionsError: see `Options.parse`.
        """
        model: type[Options] = self.registered.load(self.spec.decode_options)
        return model.parse(values or {}, f"codec {self.spec.name}")

    def compress(
        self,
        x: Array,
        info: ArrayInfo,
        options: Options | None = None,
        metadata: Mapping[str, Any] = MappingProxyType({}),
        file: bytes | None = None,
    ) -> Compressed:
        """Code an array, or the file that it is from, into the bytes of a `.ctk` file.

        Args:
            x: array of shape `info.shape`; it is not changed.
            info: its kind and shape.
            options: encode options; the codec's defaults if None.
            metadata: what the file shall keep besides the values; see `codectk.fields.metadata`.
            file: the file that holds `x`, for a codec that codes such files themselves: `Picture.file_for(spec.files)`.

        Raises:
            InputError: the array does not fit its info, or the codec does not take this kind.
            CodectkError: the codec refuses this array or setting.
        """
        if x.shape != info.shape or x.dtype.name != info.dtype:
            raise InputError(
                f"The array is {x.dtype.name} {x.shape}, its info {info.dtype} {info.shape}.", "Mend the info."
            )
        carrier, carrier_info = arrays.to_kind(x, info, self.spec.kinds)
        options = options if options is not None else self.encode_options()
        if file is None:
            padded, padded_info = arrays.pad(carrier, carrier_info, self.codec.multiple_of, self.codec.min_size)
            encoded = self.codec.encode(padded, padded_info, options)
        else:
            encoded = cast(FileCodec, self.codec).encode_file(file, info, options)
        if not all(isinstance(segment, bytes) for segment in encoded.segments):  # the length of others may be no bytes
            raise PluginError(
                f"Codec {self.spec.name} made a segment that is not bytes.",
                f"Report this to the makers of {self.registered.distribution}.",
            )
        header = Header(
            codec=self.spec.name,
            distribution=self.registered.distribution,
            bitstream_version=self.spec.bitstream_version,
            info=info,
            params=encoded.params,
            weights_digest=self.weights_digest if encoded.needs_weights else None,
            symbol_check=encoded.symbol_check,
            metadata=metadata,
        )
        return Compressed(container.pack(header, encoded.segments), encoded.notes, encoded.messages)

    def decompress(
        self, file: Container, options: Options | None = None, source: str = "the file", segments: int | None = None
    ) -> Array:
        """The array of an unpacked `.ctk` file, in its original kind and shape.

        Args:
            file: from `codectk.container.unpack`.
            options: decode options; the codec's defaults if None.
            source: the file's name, for messages.
            segments: decode the first so many segments alone, for a coarser result of a progressive codec. The check
                of the symbols speaks of all segments and is then left out.

        Raises:
            OptionsError: the codec is not progressive, or the file has not so many segments.
            ContainerError: another codec's file, a version this release does not read, content that makes no sense, or
                a file that was cut, unless `segments` asks for some that are there.
            WeightsMismatch: the file was made with other weights.
            DesyncError: the decoded symbols are not those that were encoded.
        """
        header = file.header
        encoded = self._encoded(file, source, segments)
        carrier = arrays.carrier_info(header.info, self.spec.kinds)
        padded = arrays.padded_info(carrier, self.codec.multiple_of, self.codec.min_size)
        options = self._decode_options(options)
        with _told_of(source):
            x_hat = self.codec.decode(encoded, padded, options)
        if x_hat.shape != padded.shape or x_hat.dtype.name != padded.dtype:
            raise ContainerError(
                f"{source}: codec {self.spec.name} returned {x_hat.dtype.name} {x_hat.shape} for {padded.shape}.",
                f"Report this to the makers of {self.registered.distribution}.",
            )
        return arrays.from_kind(arrays.crop(x_hat, carrier.shape), header.info)

    def decompress_file(
        self, file: Container, options: Options | None = None, source: str = "the file", segments: int | None = None
    ) -> bytes:
        """A file of one of the kinds in the spec's `files`, of an unpacked `.ctk` file.

        Args:
            file, options, source, segments: see `decompress`.

        Raises:
            OptionsError: the codec makes no files, or see `decompress`.
            ContainerError, WeightsMismatch, DesyncError: see `decompress`.
        """
        if not self.spec.files:
            raise OptionsError(f"Codec {self.spec.name} makes arrays, no files.", "Decode to an array.")
        encoded = self._encoded(file, source, segments)
        options = self._decode_options(options)
        with _told_of(source):
            return cast(FileCodec, self.codec).decode_file(encoded, file.header.info, options)

    def _decode_options(self, options: Options | None) -> Options:
        model: type[Options] = self.registered.load(self.spec.decode_options)
        return options if options is not None else model()

    def _encoded(self, file: Container, source: str, segments: int | None) -> Encoded:
        """What the decoder gets of a file, after a check that it is one of this codec's."""
        self._check_identity(file.header, source)
        if segments is None and file.missing_bytes:
            raise file.cut_error(source)
        if segments is not None and (segments != len(file.segments) or file.missing_bytes):
            return Encoded(file.header.params, self._first(file, segments, source))
        return Encoded(file.header.params, file.segments, file.header.symbol_check)

    def _first(self, file: Container, count: int, source: str) -> tuple[bytes, ...]:
        """The first segments of a file, where that makes sense."""
        if not self.spec.progressive:
            raise OptionsError(
                f"{source}: codec {self.spec.name} needs all segments of a file.", "Leave the number of segments out."
            )
        if not 1 <= count <= len(file.segments):
            whole = "whole segments" if file.missing_bytes else "segments"
            raise OptionsError(f"{source} has {len(file.segments)} {whole}, not {count}.", "Choose a smaller number.")
        return file.segments[:count]

    def _check_identity(self, header: Header, source: str) -> None:
        spec = self.spec
        if normalise(header.codec) != normalise(spec.name):
            raise ContainerError(
                f"{source} was made by codec {header.codec}, not {spec.name}.", f"Use -c {header.codec}."
            )
        if header.bitstream_version not in spec.reads:
            raise ContainerError(
                f"{source} has bitstream version {header.bitstream_version} of {spec.name}, which is not read here.",
                f"If the file is not damaged, update {self.registered.distribution}.",
            )
        if header.info.kind not in spec.kinds and arrays.carrier_info(header.info, spec.kinds).kind not in spec.kinds:
            raise ContainerError(
                f"{source} holds {header.info.kind}, which {spec.name} does not.", "The file is damaged."
            )
        free = spec.takes_weights and header.weights_digest is None
        if header.weights_digest != self.weights_digest and not free:
            made, here = (d.hex() if d else "none" for d in (header.weights_digest, self.weights_digest))
            raise WeightsMismatch(
                f"{source} was made with weights {made}; these are {here}.",
                "Give the weights file it was made with: -w WEIGHTS.",
            )


def load_codec(
    name: str, weights: Path | Checkpoint | None = None, device: str = "cpu", registry: Registry | None = None
) -> LoadedCodec:
    """Find a codec and make it ready.

    Args:
        name: the codec's name, or `distribution/name`.
        weights: a weights file, weights in memory, or None for those that ship with the plugin.
        device: torch's name of a device.
        registry: where to look; by default all installed plugins.

    Raises:
        UnknownName: no such codec is installed.
        WeightsError: the codec needs weights and has none, or these belong to another codec.
        PluginError: the codec cannot be imported or made.
    """
    registered = (registry or get_registry()).find(CodecSpec, name)
    spec: CodecSpec = registered.spec
    checkpoint = _find_weights(spec, weights)
    codec_class = registered.load(spec.target)
    try:
        codec = codec_class.load(checkpoint, device)
    except (CodectkError, MemoryError):
        raise
    except Exception as error:
        raise PluginError(
            f"Codec {spec.name} of {registered.distribution} does not start ({one_line(error)}).",
            f"Repair it with `pip install --upgrade {registered.distribution}`, or name other weights with -w.",
        ) from error
    digest = bytes.fromhex(checkpoint.digest)[:DIGEST_BYTES] if checkpoint else None
    return LoadedCodec(registered, codec, digest)


def decompress(
    data: bytes,
    weights: Path | Checkpoint | None = None,
    device: str = "cpu",
    source: str = "the file",
    max_array_bytes: int = container.MAX_ARRAY_BYTES,
) -> tuple[Array, ArrayInfo]:
    """Decode the bytes of a `.ctk` file with the codec that it names.

    Args:
        data: the whole file.
        weights, device: see `load_codec`.
        source: the file's name, for messages.
        max_array_bytes: refuse files that announce a larger array.

    Returns:
        The array and its info, as they went into `LoadedCodec.compress`.

    Raises:
        ContainerError: the file is damaged or not readable here.
        UnknownName: the codec is not installed; the message names the distribution to install.
        WeightsError: the weights are missing, or not those that the file was made with.
    """
    file = container.unpack(data, source, max_array_bytes)
    loaded = load_codec(codec_name(file.header), weights, device)
    return loaded.decompress(file, source=source), file.header.info


def codec_name(header: Header, registry: Registry | None = None) -> str:
    """The full name by which the registry knows the codec of a file.

    Raises:
        UnknownName: it is not installed; the message names the distribution to install.
    """
    registry = registry or get_registry()
    known = [r for r in registry.codecs() if normalise(r.spec.name) == normalise(header.codec)]
    exact = [r for r in known if r.distribution == header.distribution]
    if not known:
        raise UnknownName(
            f"The file needs codec {header.codec} of {header.distribution}, which is not here.",
            registry.why_missing(header.distribution),
        )
    return (exact or known)[0].full_name


@contextmanager
def _told_of(source: str) -> Iterator[None]:
    """Name the file in whatever its decoding raises."""
    try:
        yield
    except CodectkError as error:
        raise type(error)(f"{source}: {error.problem}", error.next_step) from error
    except Exception as error:  # the bytes may be hostile; whatever a decoder trips over is the file's fault
        raise ContainerError(
            f"{source} cannot be decoded ({one_line(error)}).", "Compress the original again."
        ) from error


def _find_weights(spec: CodecSpec, weights: Path | Checkpoint | None) -> Checkpoint | None:
    if weights is None and spec.default_weights:
        weights = packaged(spec.default_weights)
    if weights is None:
        if spec.needs_weights:
            raise WeightsError(
                f"Codec {spec.name} needs a weights file.", f"Give one with -w; `codectk train {spec.name}` makes one."
            )
        return None
    if not (spec.needs_weights or spec.takes_weights):
        raise WeightsError(f"Codec {spec.name} has no weights.", "Leave -w out.")
    checkpoint = weights if isinstance(weights, Checkpoint) else Checkpoint.open(weights)
    if normalise(checkpoint.codec) != normalise(spec.name):
        raise WeightsError(
            f"These weights belong to codec {checkpoint.codec}, not {spec.name}.", "Give others with -w."
        )
    return checkpoint
