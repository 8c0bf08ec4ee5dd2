"""What every dataset must keep to."""

from codectk.testing import DatasetConformance

from codectk_blocky.plugin import DATASET


class TestDataset(DatasetConformance):
    """The dataset."""

    spec = DATASET
