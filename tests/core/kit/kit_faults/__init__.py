"""Codecs, trainers, datasets and metrics with one fault each, that one check of the conformance kit finds."""
