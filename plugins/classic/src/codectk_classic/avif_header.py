"""The frame sizes inside an AVIF file, which decide what an AV1 decoder allocates.

    file ─ boxes ─ meta ─ iloc ─ items ─ open bitstream units ─ sequence headers

An AVIF file states its size twice: for Pillow in a property (`ispe`), and for the AV1 decoder in the sequence header of
every coded item. libavif decodes the second and scales to the first, whatever the second is.
"""

from collections.abc import Iterator

from codectk_classic.headers import Frame, damaged

_TOP_LEVEL = frozenset((b"ftyp", b"meta", b"mdat", b"free"))
_SEQUENCE_HEADER = 1
_MOST_ITEMS = 2


def avif_frame(data: bytes) -> Frame:
    """The size that all coded items of a still AVIF picture share.

    Raises:
        ContainerError: the file has another structure than a still picture (colour, or colour and alpha) has, or its
            items differ in size.

    Source: ISO/IEC 14496-12 (boxes), 23008-12 (items), AV1 specification 5.3 to 5.5.
    """
    boxes = list(_boxes(data, 0, len(data)))
    metas = [(start, end) for kind, start, end in boxes if kind == b"meta"]
    if len(metas) != 1 or any(kind not in _TOP_LEVEL for kind, _, _ in boxes):
        raise damaged("AVIF", "it is not a still picture")
    locations = [(s, e) for kind, s, e in _boxes(data, metas[0][0] + 4, metas[0][1]) if kind == b"iloc"]
    if len(locations) != 1:
        raise damaged("AVIF", "it does not say once where its data lies")
    frames = {frame for item in _items(data, *locations[0]) for frame in _sequences(item)}
    if len(frames) != 1:
        raise damaged("AVIF", "its parts differ in size")
    return frames.pop()


def _boxes(data: bytes, at: int, end: int) -> Iterator[tuple[bytes, int, int]]:
    """Type, start and end of the content of each box."""
    while at < end:
        size = int.from_bytes(data[at : at + 4], "big")
        if size < 8 or at + size > end:
            raise damaged("AVIF", "it is cut or has a box of impossible size")
        yield data[at + 4 : at + 8], at + 8, at + size
        at += size


def _items(data: bytes, at: int, end: int) -> Iterator[bytes]:
    """The bytes of every item that an `iloc` box lists."""
    reader = _Numbers(data, at, end)
    version = reader.number(4) >> 24
    sizes = reader.number(2)
    offset_size, length_size, base_size, index_size = ((sizes >> shift) & 15 for shift in (12, 8, 4, 0))
    count = reader.number(4 if version == 2 else 2)
    if count > _MOST_ITEMS:
        raise damaged("AVIF", "it is not a still picture")
    for _ in range(count):
        reader.number(4 if version == 2 else 2)
        method = reader.number(2) & 15 if version else 0
        other_file = reader.number(2)
        if method or other_file or version > 2:
            raise damaged("AVIF", "its data lies in an unusual place")
        base = reader.number(base_size)
        item = bytearray()
        for _ in range(reader.number(2)):
            reader.number(index_size if version else 0)
            start, length = base + reader.number(offset_size), reader.number(length_size)
            if not length or start + length > len(data) or len(item) + length > len(data):
                raise damaged("AVIF", "it is cut")
            item += data[start : start + length]
        yield bytes(item)


def _sequences(item: bytes) -> Iterator[Frame]:
    """Frame sizes in the sequence headers of one item, which must be of AV1 units from end to end."""
    reader = _Numbers(item, 0, len(item))
    found = False
    while reader.at < reader.end:
        header = reader.number(1)
        if header & 0x83 != 2:
            raise damaged("AVIF", "a part of it is not an AV1 key frame")
        reader.skip((header >> 2) & 1)
        length = reader.leb128()
        if header >> 3 == _SEQUENCE_HEADER:
            found = True
            yield _sequence_size(item[reader.at : reader.at + length])
        reader.skip(length)
    if not found:
        raise damaged("AVIF", "a part of it has no AV1 sequence header")


def _sequence_size(unit: bytes) -> Frame:
    """Frame size in a sequence header of the reduced form; with that form, no frame has a size of its own."""
    value = int.from_bytes(unit[:8].ljust(8, b"\0"), "big")
    if not (value >> 59) & 1:
        raise damaged("AVIF", "it is not a still picture")
    width_bits, height_bits = ((value >> 50) & 15) + 1, ((value >> 46) & 15) + 1
    width = (value >> (46 - width_bits)) & ((1 << width_bits) - 1)
    height = (value >> (46 - width_bits - height_bits)) & ((1 << height_bits) - 1)
    return Frame(width + 1, height + 1)


class _Numbers:
    """Reads big-endian numbers from `data[at:end]`."""

    def __init__(self, data: bytes, at: int, end: int) -> None:
        self.data, self.at, self.end = data, at, end

    def skip(self, count: int) -> None:
        if count > self.end - self.at:
            raise damaged("AVIF", "it is cut")
        self.at += count

    def number(self, count: int) -> int:
        self.skip(count)
        return int.from_bytes(self.data[self.at - count : self.at], "big")

    def leb128(self) -> int:
        value = 0
        for shift in range(0, 56, 7):
            byte = self.number(1)
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value
        raise damaged("AVIF", "it holds a number that is too long")
