"""What is special about this dataset."""

from codectk_blocky.dataset import BlockyDataset


def test_pictures_have_contrast() -> None:
    """There is something to learn from."""
    assert all(sample.x.std() > 10 for sample in map(BlockyDataset("val").__getitem__, range(8)))
