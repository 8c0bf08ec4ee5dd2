"""The conformance kit on the three trainers and the dataset, with tiny networks."""

from pathlib import Path
from typing import Any

from codectk.testing import DatasetConformance, TrainerConformance
from codectk_dct_backbones.plugin import codectk_datasets, codectk_trainers

from .pictures import TINY, folder

RGB, COMPRESSED, STATS = codectk_trainers()


class OfFolders(TrainerConformance):
    """Pictures lie in folders of classes."""

    def data(self, folder_: Path) -> Path:
        return folder(folder_, {"blue": 5, "red": 5})


class TestRgbTrainer(OfFolders):
    spec = RGB

    def options(self, data: Path) -> dict[str, Any]:
        return {**TINY, "train_dirs": [str(data)], "mixup": 0.2, "ema": 0.9}


class TestCompressedTrainer(OfFolders):
    spec = COMPRESSED

    def options(self, data: Path) -> dict[str, Any]:
        return {**TINY, "train_dirs": [str(data)], "variant": "luma-fusion", "coeff_count": 9, "save_best": True}

    def values_to_try(self) -> list[dict[str, Any]]:
        return [{"train_dirs": ["one", "with blank"], "coeff_count_luma": 3, "lr_milestones": [1, 2], "val_dir": "v"}]


class TestStatsTrainer(OfFolders):
    spec = STATS

    def options(self, data: Path) -> dict[str, Any]:
        return {"train_dirs": [str(data)], "image_size": 32, "batch_size": 4}


class TestPatterns(DatasetConformance):
    (spec,) = codectk_datasets()
