"""How large a part of the picture a decoder takes at once."""

from codectk_frappe.options import ModelOptions

TILE_VALUES = 1 << 26
"""Floats in the widest layer of one tile: bounds the decoder's memory for pictures of any size."""


def tiling(options: ModelOptions, side: int) -> tuple[int, int]:
    """Tile size and margin in grid positions. With the margin a tile sees all that its positions depend on.

    Args:
        options: the architecture.
        side: longer side of the picture in grid positions.
    """
    if "T" in options.decoder_arch.upper():
        return side, 0  # attention sees the whole picture
    convolutions = 1 + sum(2 if letter == "R" else 1 for letter in options.decoder_arch.upper())
    margin = convolutions * (options.decoder_kernel_size // 2)
    widest = options.decoder_dim * int(options.decoder_mlp_ratio)
    return max(16, int((TILE_VALUES / widest) ** 0.5)), margin
