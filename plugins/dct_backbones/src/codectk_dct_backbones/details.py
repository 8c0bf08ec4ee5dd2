"""What a file of the codec `dct` holds, for `codectk info`."""

from collections.abc import Sequence
from typing import Any

from codectk.codec import Encoded
from codectk.container import Header
from codectk_dct_backbones import coding
from codectk_dct_backbones.jpeg.metadata import sizes
from codectk_dct_backbones.quality import estimate

NAMES = {"grey": ("Y",), "ycc": ("Y", "Cb", "Cr"), "rgb": ("red", "green", "blue")}


def details(header: Header, segments: Sequence[bytes]) -> dict[str, Any]:
    """Planes with their sizes, steps and bytes, and metadata by their bytes as they were, for `codectk info FILE`.

    Raises:
        ContainerError: the params, tables or metadata make no sense.
        InputError: the picture is of a shape that no file can have.
    """
    params = Encoded(header.params, tuple(segments)).params
    colour, orientation = coding.colour_of(params), coding.orientation_of(params)
    factors = coding.factors_of(params, colour)
    tables, streams = coding.tables_of(params, segments, len(factors))
    counts = coding.counts_of(params, len(factors))
    metadata = sizes(coding.metadata_of(segments, len(factors)))
    shapes, _ = coding.block_shapes(*coding.stored_size(header.info, orientation), factors)
    planes = [
        {
            "plane": name,
            "sampling": f"{h}x{v}",
            "blocks": f"{columns} x {rows}",
            "coefficients": count,
            "quality": estimate(table, chroma=number > 0),
            "bytes": len(streams[number]) if number < len(streams) else None,
        }
        for number, (name, (h, v), (rows, columns), count, table) in enumerate(
            zip(NAMES[colour], factors, shapes, counts, tables, strict=True)
        )
    ]
    return {
        "colour": colour,
        "orientation": orientation,
        "progressive": params.get("progressive") is True,
        "tables": f"quality {params['quality']}" if "quality" in params else "of the file",
        "tables_bytes": len(segments[0]) - len(streams[0]),
        "metadata_bytes": sum(map(len, segments[len(factors) :])),
        "planes": planes,
        **({"metadata": [{"what": name, "bytes": count} for name, count in metadata.items()]} if metadata else {}),
    }
