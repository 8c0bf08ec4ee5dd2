"""What a file of the codec `dct` holds, for `codectk info`."""

from collections.abc import Sequence
from typing import Any

from codectk.codec import Encoded
from codectk.container import Header
from codectk_dct_backbones import coding
from codectk_dct_backbones.quality import estimate

NAMES = {"grey": ("Y",), "ycc": ("Y", "Cb", "Cr"), "rgb": ("red", "green", "blue")}


def details(header: Header, segments: Sequence[bytes]) -> dict[str, Any]:
    """Planes with their sizes, steps and bytes, for `codectk info FILE`.

    Raises:
        ContainerError: the params or tables make no sense.
    """
    params = Encoded(header.params, tuple(segments)).params
    colour = coding.colour_of(params)
    factors = coding.factors_of(params, colour)
    tables, streams = coding.tables_of(params, segments, len(factors))
    counts = coding.counts_of(params, len(factors))
    turned = params.get("orientation", 1) in range(coding.TURNED, 9)
    height, width = header.info.shape[1::-1] if turned else header.info.shape[:2]
    shapes, _ = coding.block_shapes(height, width, factors)
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
        "orientation": params.get("orientation", 1),
        "progressive": params.get("progressive", False),
        "tables": f"quality {params['quality']}" if "quality" in params else "of the file",
        "tables_bytes": len(segments[0]) - len(streams[0]),
        "planes": planes,
    }
