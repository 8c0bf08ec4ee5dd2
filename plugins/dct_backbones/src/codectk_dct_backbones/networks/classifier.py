"""A backbone and its head."""

from typing import Any

from torch import Tensor, nn


class Classifier(nn.Module):
    """Mean over the last feature map, then one linear layer.

    Args:
        backbone: returns `[B, out_channels, h, w]`.
        classes: outputs.
    """

    def __init__(self, backbone: nn.Module, classes: int) -> None:
        super().__init__()
        self.backbone = backbone
        self.head = nn.Linear(int(backbone.out_channels), classes)  # type: ignore[arg-type]

    def forward(self, x: Any) -> Tensor:
        """Logits `[B, classes]` of pixels or coefficients, whichever the backbone takes.

        Raises:
            InputError: it takes the other.
        """
        logits: Tensor = self.head(self.backbone(x).mean((2, 3)))
        return logits
