"""Networks and transforms that are trained: all that imports torch."""
