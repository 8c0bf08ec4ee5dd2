"""Weights of an earlier stage as the start of the next: by name and shape, and with a word on all that does not fit."""

from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from codectk.errors import InputError, WeightsError
from codectk.files import check_file
from codectk.runs import DESCRIPTION, read_description
from codectk.train import Run
from codectk_crdr.codec import INTEGER, MODEL, TABLES
from codectk_crdr.model import CompressionModel
from codectk_crdr.names import is_buffer, plain_name


@dataclass
class Taken:
    """What became of the tensors.

    Attributes:
        taken: names that the model has now from the file.
        missing: names of the model that the file lacks: they keep their start values.
        unknown: names of the file that the model lacks.
    """

    taken: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    unknown: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        text = f"{len(self.taken)} tensors taken"
        for names, what in ((self.missing, "new in the model"), (self.unknown, "unknown to it")):
            if names:
                text += f", {len(names)} {what} ({_some(names)})"
        return text


def read_tensors(path: Path) -> dict[str, Tensor]:
    """All tensors of a safetensors file, under the names that the model has for them.

    Raises:
        InputError: the file is missing or unreadable.
        WeightsError: it is no safetensors file, or its networks are in integers.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    check_file(path)
    try:
        tensors = load_file(path)
    except (SafetensorError, OSError, ValueError, KeyError) as error:
        step = "Name weights.safetensors of a run, or turn published weights into one with `codectk import-weights`."
        raise WeightsError(f"{path} is no safetensors file, or damaged: {error}.", step) from None
    if any(name.startswith(INTEGER) for name in tensors):
        raise WeightsError(f"{path} holds networks in integers, which cannot be trained.", "Name those before export.")
    return {
        plain_name(name.removeprefix(MODEL)): tensor for name, tensor in tensors.items() if not name.startswith(TABLES)
    }


@torch.no_grad()
def take(model: CompressionModel, path: Path) -> Taken:
    """Put a file's tensors into a model.

    Args:
        model: changed in place; parameters that the file lacks keep their values.
        path: a safetensors file.

    Returns:
        What was taken, missing and unknown.

    Raises:
        InputError, WeightsError: see `read_tensors`; also if a tensor has another shape or is not finite, or the file
            holds nothing of the model. The model is then as it was.
    """
    tensors, own = read_tensors(path), model.state_dict()
    result = Taken(missing=[name for name in own if name not in tensors])
    for name, tensor in tensors.items():
        if name not in own:
            result.unknown += [] if is_buffer(name) else [name]
            continue
        result.taken.append(name)
        if tensor.shape != own[name].shape:
            raise WeightsError(
                f"{path}: {name} is {tuple(tensor.shape)}, but the model's is {tuple(own[name].shape)}.",
                "Give the model the options that those weights were trained with, or name others with --pretrained.",
            )
        if not tensor.isfinite().all():
            raise WeightsError(f"{path}: {name} holds NaN or infinity.", "Name weights of an earlier iteration.")
    if not result.taken:
        raise WeightsError(
            f"{path} holds no parameter of this model ({_some(list(tensors))}).", "Name weights of crdr."
        )
    for name in result.taken:
        own[name].copy_(tensors[name])
    return result


def find_pretrained(name: str, run: Run, root: str) -> Path:
    """The weights that `--pretrained` means.

    Args:
        name: a file; a run folder; or the name of a run or of the recipe that it was started with, which is looked for
            beside the new run's folder and in `root`; of several runs of a recipe the newest is meant.
        run: the new run.
        root: folder of runs.

    Raises:
        InputError: nothing is there.
    """
    roots = [run.folder.parent, Path(root)]
    simple = len(Path(name).parts) == 1
    places = [Path(name), *(folder / name for folder in roots if simple)]
    for place in places:
        if place.is_file():
            return place
        if place.is_dir():
            return _newest(place)
    runs = [found for folder in roots if simple for found in _runs_of(name, folder)]
    if runs:
        return _newest(max(runs, key=lambda folder: (folder / DESCRIPTION).stat().st_mtime))
    looked = ", ".join(dict.fromkeys(str(place) for place in places))
    raise InputError(
        f"There are no weights named {name} (looked for {looked}, and for runs of a recipe of that name).",
        f"Train that stage first: --recipe {name}; or name a file or run folder with --pretrained.",
    )


def _runs_of(recipe: str, folder: Path) -> list[Path]:
    """Runs in a folder that were started with a recipe."""
    found = []
    for path in folder.glob(f"*/{DESCRIPTION}"):
        try:
            sources = [str(source) for source in read_description(path.parent, start_iter=1).get("sources", [])]
        except InputError:  # a damaged run is none of ours
            continue
        recipes = [source for source in sources if source.startswith("recipe ")]
        if recipes and recipes[-1] == f"recipe {recipe}":
            found.append(path.parent)
    return found


def _newest(folder: Path) -> Path:
    """The weights of a run: its result, or else those of the iteration that it wrote last."""
    whole = folder / "weights.safetensors"
    if whole.is_file():
        return whole
    models = sorted((folder / "model").glob("comp_model_iter*.safetensors"), key=lambda path: path.stat().st_mtime)
    if not models:
        raise InputError(f"{folder} holds no weights yet.", f"Finish that run: codectk train crdr --resume {folder}.")
    return models[-1]


def _some(names: list[str]) -> str:
    return ", ".join(name[:64] for name in names[:3]) + (", …" if len(names) > 3 else "")
