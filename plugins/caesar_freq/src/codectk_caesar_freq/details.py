"""What a file of caesar_freq holds, for `codectk info FILE`: bounds, errors, chunks, and what its bytes are for.

All is read from the header and the heads of the blocks; nothing is decoded.
"""

from collections import Counter
from collections.abc import Sequence
from typing import Any

from codectk.container import Header, pack
from codectk.errors import ContainerError
from codectk_caesar_freq import bands, layout, native, windows
from codectk_caesar_freq.blocks import BACKGROUND_BASE, LATENTS, Block, Method
from codectk_caesar_freq.bounds import OPTIONS
from codectk_caesar_freq.codec import chunk_sides

PROMISES = {
    "abs_error": "every value within {} of the original",
    "rel_error": "every value within {} of its variable's range",
    "pointwise_rel": "every value within {} of itself",
    "nrmse": "root mean square error of each variable at most {} of its range",
    "psnr": "PSNR of each variable at least {} dB",
    "eb": "root mean square error of each 8×8 patch at most {} of the range of all variables",
}
OVER = {bytes([BACKGROUND_BASE]): " over a background", bytes([LATENTS]): " over latents"}
METHODS = {
    Method.NOTHING: "special values alone",
    Method.CONSTANT: "one value",
    Method.RAW: "without loss",
    Method.FITTED: "fitted wavelet",
    Method.BANDS: "fixed transforms",
    Method.WINDOWS: "frames between keyframes",
}

CONTAINER, SIDE = "container", "heads and side data"
GROUPS = ("coarse bands", "middle bands", "fine bands")
BETWEEN, CORRECTION, LOSSLESS = "frames between keyframes", "correction", "values without loss"


def details(header: Header, segments: Sequence[bytes]) -> dict[str, Any]:
    """What a file holds.

    Args:
        header: of a file of this codec.
        segments: those that are there, from the first.

    Returns:
        The bound and the metrics that it bounds, the ratio of bytes, and tables: variables; chunks; bits per value by
        what they are for, which add up to those of the whole file.

    Raises:
        ContainerError: header or segments make no sense.
    """
    option, value, rows = _promise(header)
    sides = chunk_sides(header.params, header.info.shape)
    number = layout.count(header.info.shape, sides)
    blocks = [_block(segments, i, number) for i in range(min(number, len(segments)))]
    found: Counter[str] = Counter(dict.fromkeys((CONTAINER, SIDE, *GROUPS, BETWEEN, CORRECTION, LOSSLESS), 0))
    ways: Counter[str] = Counter()
    for block, chunk in zip(blocks, layout.chunks(header.info.shape, sides), strict=False):
        found.update(parts(block, chunk.shape[0]))
        if block.method == Method.WINDOWS:
            ways.update(windows.METHODS[way] for way in windows.Body.methods_of(block.body))
    whole = len(pack(header, tuple(segments)))
    found[CONTAINER] = whole - sum(map(len, segments))
    found[SIDE] += whole - found.total()  # the lengths of the parts of heads
    return {
        "bound": f"{option} {value:g}: {PROMISES[option].format(f'{value:g}')}",
        "bounds": _bounds(option, value, rows),
        "ratio": header.info.nbytes / whole,
        "variables": _variables(header, rows),
        "chunks": _chunks(blocks, number, len(segments), sides),
        **({"windows by prediction": dict(ways)} if ways else {}),
        "bits per value": {
            name: 8 * size / header.info.pixels for name, size in [*found.items(), ("whole file", whole)] if size
        },
    }


def parts(block: Block, frames: int) -> Counter[str]:
    """Bytes of a block of so many frames by what they are for, without the lengths of the parts of its head.

    Raises:
        ContainerError: the block makes no sense.
    """
    side = len(block.specials) + len(block.signs) + len(block.base)
    found = Counter({SIDE: side, CORRECTION: len(block.correction) + len(block.exact)})
    if block.method == Method.RAW:
        found[LOSSLESS] = len(block.body)
    elif block.method == Method.BANDS:
        found[GROUPS[0]], found[GROUPS[-1]], correction = bands.sizes(block.body, "a block")
        found[CORRECTION] += correction
    elif block.method == Method.WINDOWS:
        body = windows.Body.unpack(block.body, frames, "a block")
        found.update(parts(Block.unpack(body.kept, "keyframes"), frames))
        found[BETWEEN] = sum(map(len, body.corrections))
    else:
        found[SIDE] += len(block.body)
        found.update(dict(zip(GROUPS, map(len, block.groups), strict=True)))
    return found


def _promise(header: Header) -> tuple[str, float, list[list[float]]]:
    """The option that bounds the error, its value, and bound, largest error and root mean square error by variable."""
    bound, rows = header.params.get("bound"), header.params.get("variables")
    good = isinstance(bound, list) and len(bound) == 2 and bound[0] in tuple(OPTIONS) and _are_numbers(bound[1:])
    variables = layout.five(header.info.shape)[0]
    if not good or not isinstance(rows, list) or len(rows) not in (1, variables):
        raise _damaged()
    if not all(isinstance(row, list) and len(row) == 3 and _are_numbers(row) for row in rows):
        raise _damaged()
    return str(bound[0]), float(bound[1]), rows  # type: ignore[index]


def _are_numbers(values: list[Any]) -> bool:
    return all(isinstance(value, int | float) and not isinstance(value, bool) for value in values)


def _block(segments: Sequence[bytes], i: int, number: int) -> Block:
    groups = range(i, min(len(segments), i + number * native.GROUPS), number)
    there: list[bytes | None] = [segments[place] for place in groups]
    return Block.unpack(there + [None] * (native.GROUPS - len(there)), f"chunk {i + 1}")


def _bounds(option: str, value: float, rows: list[list[float]]) -> dict[str, float]:
    """What holds for the field as a whole, by metric."""
    if OPTIONS[option] == "absolute":
        return {"max_error": max(row[0] for row in rows)}
    if option == "psnr":
        return {"nrmse": 10 ** (-value / 20)}
    return {} if OPTIONS[option] == "relative" else {"nrmse": value}


def _variables(header: Header, rows: list[list[float]]) -> list[dict[str, Any]]:
    shape, name, attributes = header.info.shape, header.metadata.get("name"), header.metadata.get("attributes")
    field = name if isinstance(name, str) else "field"
    unit = attributes.get("units") if isinstance(attributes, dict) else None
    several = len(shape) == 5
    names = [f"{field}[{i}]" for i in range(shape[0])] if several else [field]
    without_unit = OPTIONS[header.params["bound"][0]] == "relative"
    return [
        {
            "variable": name,
            "shape": " × ".join(map(str, shape[several:])),
            **({} if without_unit else {"bound": bound}),
            "largest error": largest,
            "rmse": rmse,
            **({"unit": unit} if isinstance(unit, str) else {}),
        }
        for name, (bound, largest, rmse) in zip(names if len(rows) > 1 else [field], rows, strict=True)
    ]


def _chunks(blocks: Sequence[Block], number: int, segments: int, sides: native.Shape) -> dict[str, Any]:
    methods = Counter(METHODS[block.method] + OVER.get(block.base[:1], "") for block in blocks)
    about = {"number": number, "T × H × W of the longest": " × ".join(map(str, sides)), **methods}
    if segments < number * native.GROUPS:
        about["with all levels"] = max(0, segments - (native.GROUPS - 1) * number)
    return about


def _damaged() -> ContainerError:
    return ContainerError("The parameters of the bound make no sense.", "Copy or download the file again.")
