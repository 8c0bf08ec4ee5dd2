"""`codectk caesar-freq extract`: a part of a compressed field, without decoding the rest."""

import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from codectk.arrays import ArrayInfo
from codectk.container import Header
from codectk.errors import OptionsError
from codectk.fields import value_range
from codectk.fields.metadata import Coordinate, from_json, to_json
from codectk.inputs import refuse_output, write_array
from codectk.options import Options, option
from codectk_caesar_freq.region import open_field, ranges

_SLICE = re.compile(r"([-+]?\d*):([-+]?\d*)(?::([-+]?\d*))?")


class ExtractOptions(Options):
    """Which part of a field, and where to."""

    file: str = option(cli="FILE.ctk", help="File of caesar_freq.")
    region: str = option(
        "...", help="What to extract, as an index of numpy: '0,10:20,:,::2' or '-1,...'; axes left out are whole."
    )
    output: str = option(cli="-o", help="File to write: .npy, .npz, .nc, .h5 or .zarr.")
    weights: str | None = option(None, cli="-w", help="Weights that the file was made with, if it needs any.")
    levels: int = option(3, ge=1, le=3, help="Groups of levels to read: 1 is the coarsest field, 3 is all.")
    force: bool = option(False, help="Replace the output if it exists.")


def extract(options: ExtractOptions) -> dict[str, Any]:
    """Decode a part of a field into a file of its own.

    Args:
        options: which, and where to.

    Returns:
        What was written: the file, the region, its shape and type.

    Raises:
        OptionsError: the region is none, empty, or not within the field.
        InputError: there is no such file, or the part takes more than 2 GiB.
        ContainerError: the file is damaged, or of another codec.
        WeightsError: the file needs weights, or others than these.
        OutputError: the output exists already, or cannot be written.
    """
    output = Path(options.output)
    refuse_output(output, options.force)
    index = parse_region(options.region)
    with open_field(options.file, options.weights) as field:
        if not all(len(wanted) for wanted, _ in ranges(index, field.shape)):
            raise OptionsError(f"The region '{options.region}' holds no value.", f"The field is {field.shape}.")
        x = field.coarse(options.levels)[index]
        x = x.reshape(x.shape or (1,))
        fill = field.header.info.fill_value
        info = ArrayInfo(field.header.info.kind, x.shape, value_range(x, fill), fill)
        write_array(output, x, info, options.force, metadata_of(field.header, index))
    return {"output": output, "region": options.region, "array": f"{info.kind} {' x '.join(map(str, x.shape))}"}


def parse_region(text: str) -> tuple[int | slice | Any, ...]:
    """An index from its text, such as `0,0,10:20,:,::2` or `-1,...`.

    Raises:
        OptionsError: the text is no index.
    """
    return tuple(_parsed(part.strip(), text) for part in text.split(","))


def metadata_of(header: Header, index: Any) -> Mapping[str, Any]:
    """What belongs to a part of a field: as the file has it, without dimensions that are no longer there.

    Raises:
        ContainerError: the file's metadata make no sense.
    """
    if not header.metadata:
        return {}
    whole = from_json(header.metadata, header.info)
    along = [(dim, r) for dim, (r, kept) in zip(whole.dims, ranges(index, header.info.shape), strict=True) if kept]
    coordinates = {
        dim: Coordinate(whole.coordinates[dim].values[list(r)], whole.coordinates[dim].attributes)
        for dim, r in along
        if dim in whole.coordinates
    }
    dims = tuple(dim for dim, _ in along) or ("value",)
    return to_json(replace(whole, dims=dims, coordinates=coordinates), [])


def _parsed(part: str, text: str) -> Any:
    if part == "...":
        return ...
    found = _SLICE.fullmatch(part)
    try:
        return slice(*(int(number) if number else None for number in found.groups())) if found else int(part)
    except ValueError:
        raise OptionsError(f"'{text}' is no region.", "Give an index for each axis, such as 0,10:20,:,::2.") from None
