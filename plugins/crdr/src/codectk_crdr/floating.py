"""The path from z to y_hat in floating point, for weights that were not exported to integers.

Means and scales then depend on the machine in their last bits: files are sure to open on the machine that made them,
and the check of the symbols tells where they do not.
"""

import torch
from torch import Tensor

from codectk_crdr.context import Part
from codectk_crdr.exact import MAX_SYMBOL, Code
from codectk_crdr.model import CompressionModel


class FloatPath:
    """See `exact.ExactPath`, whose interface this has; `unit` is 1."""

    unit = 1.0

    def __init__(self, model: CompressionModel) -> None:
        self.model = model

    def run(self, z: Tensor, code: Code) -> Tensor:
        """y_hat float32 (1, M, h, w) from the symbols of z, int32 (h/4, w/4, Z)."""
        medians = self.model.entropy_model_z.medians
        z_hat = z.to(medians.device).clamp(-MAX_SYMBOL, MAX_SYMBOL).permute(2, 0, 1)[None] + medians

        def quantise(part: Part, means: Tensor, scales: Tensor) -> Tensor:
            flat_means, flat_scales = (v[0].permute(1, 2, 0).flatten(0, 1) for v in (means, scales))
            symbols = code(part, flat_means, flat_scales)
            values = symbols.clamp(-MAX_SYMBOL, MAX_SYMBOL) + flat_means
            height, width = means.shape[2:]
            return values.view(height, width, -1).permute(2, 0, 1)[None]

        with torch.autocast(medians.device.type, enabled=False):
            y_hat: Tensor = self.model.context_model(self.model.hyperdecoder(z_hat), quantise)
        return y_hat
