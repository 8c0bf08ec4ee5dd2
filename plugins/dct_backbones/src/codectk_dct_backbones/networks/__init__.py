"""Backbones for pixels, and what lets them read coefficients."""
