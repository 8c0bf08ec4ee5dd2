"""Entropy coding of integer arrays, shared by plugins: frozen tables, and one stream for all of a codec's symbols.

    levels = scale_levels()                        # when weights are exported, in float64
    tables = gaussian_tables(levels)               # integers from here on; `tables.tensors("y")` goes into the weights
    thresholds = scale_thresholds(levels, bits=8)  # for scales in units of 1/256

    encoder = Encoder()
    encoder.encode(y, tables, table_indexes(scales, thresholds))  # as often as the model has groups
    data = encoder.finish()

    decoder = Decoder(data)
    y = decoder.decode(tables, table_indexes(scales, thresholds))
    decoder.finish()

Given the same tables, indexes and symbols, every machine writes the same bytes.
"""

from codectk.entropy.coder import Decoder, Encoder
from codectk.entropy.tables import (
    Tables,
    gaussian_tables,
    pmf_tables,
    scale_levels,
    scale_thresholds,
    table_indexes,
)

__all__ = [
    "Decoder",
    "Encoder",
    "Tables",
    "gaussian_tables",
    "pmf_tables",
    "scale_levels",
    "scale_thresholds",
    "table_indexes",
]
