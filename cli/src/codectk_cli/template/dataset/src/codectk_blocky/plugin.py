"""What this distribution brings to codectk. Imports nothing heavy: every command loads this module."""

from codectk.hookspecs import hookimpl
from codectk.specs import DatasetSpec

CODECTK_API = 1

DATASET = DatasetSpec(
    name="blocky",
    summary="pictures of waves, made from a formula",
    target="codectk_blocky.dataset:BlockyDataset",
    kinds=("image/rgb8",),
    splits=("train", "val"),
    licence="CC0-1.0",
)


@hookimpl
def codectk_datasets() -> list[DatasetSpec]:
    """The dataset."""
    return [DATASET]
