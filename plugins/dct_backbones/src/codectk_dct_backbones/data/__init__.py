"""Labelled pictures: where they lie, how they are cut and changed, and the batches that are made of them."""
