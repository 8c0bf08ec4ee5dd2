"""Run folders: start a training, resume it, and store its weights.

run.json              trainer, versions, and every option that differs from its default
config.yaml           all options, and the files that they came from; `--config` takes it
log.csv, events.…     what was logged
train_….log           what was told, for each start
state.safetensors     all that is needed to go on, with `scratch/`; gone when the run is finished
states/               the states of iterations that are kept
weights_so_far.safetensors, results.json    of trainers that can be used before they are finished, and that measure
weights.safetensors   the result
"""

import json
import shutil
import tempfile
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from codectk.checkpoint import Checkpoint
from codectk.errors import InputError, OutputError
from codectk.files import read_bytes, refuse_existing, write_bytes
from codectk.log import Watcher
from codectk.options import Options, RunOptions
from codectk.registry import Registered
from codectk.run_state import STATE
from codectk.train import Run
from codectk.trainer import Trainer

DESCRIPTION, CONFIG, RESULTS = "run.json", "config.yaml", "results.json"
WEIGHTS = "weights.safetensors"
SO_FAR = "weights_so_far.safetensors"
"""Where a trainer may write weights that work already; they go when the run is finished."""


def train(
    registered: Registered,
    options: Options,
    folder: Path,
    run_options: RunOptions | None = None,
    resume: bool = False,
    watcher: Watcher | None = None,
    sources: Sequence[str] = (),
) -> Checkpoint | None:
    """Run a trainer from start to end, or from where it stopped, and write `weights.safetensors` into its folder.

    Args:
        registered: the trainer, from the registry.
        options: an instance of its option model.
        folder: the run folder; it must be new or empty, or hold a run to resume.
        run_options: device, seed and the like.
        resume: continue the run in `folder`.
        watcher: told about progress.
        sources: names of the files and recipes that the options came from; of a resumed run they are known.

    Returns:
        The weights; None on all but the main process.

    Raises:
        OutputError: the folder holds another run, or `save_checkpoint_name` or its results exist or cannot be written.
        InputError: the saved state is damaged.
        TrainingStopped: a signal came; the state is saved.
        TrainingDiverged: the loss is no longer finite.
    """
    if not resume and folder.exists() and any(folder.iterdir()):
        raise OutputError(f"{folder} is not empty.", f"Use --resume {folder} to go on with it, or another --out.")
    with Run(folder, run_options, resume, watcher) as run:
        named = run.options.save_checkpoint_name
        if named and run.is_main:
            refuse_existing(Path(named), force=False)
            refuse_existing(results_path(Path(named)), force=False)
        trainer: Trainer = registered.load(registered.spec.target)(options, run)
        _begin(registered, options, run, resume, sources)
        trainer.train()
        run.save()
        checkpoint = _store(trainer, run, named) if run.is_main else None
        run.barrier()
    return checkpoint


def dry_run(registered: Registered, options: Options, run_options: RunOptions) -> list[str]:
    """What a trainer says of what it would train, after it built models and data on the CPU; nothing is left behind.

    Args:
        registered, options, run_options: as in `train`.

    Returns:
        Lines; none of trainers that have no `describe` (`codectk.trainer.Describes`), which are not even built.

    Raises:
        CodectkError: what training would stop at before its first step.
    """
    target = registered.load(registered.spec.target)
    if not hasattr(target, "describe"):
        return []
    changed = {"device": "cpu", "start_iter": 0, "use_wandb": False, "wandb_dryrun": False}
    made = run_options.model_copy(update=changed)
    with tempfile.TemporaryDirectory(prefix="codectk-") as folder, Run(Path(folder) / "run", made) as run:
        return list(target(options, run).describe())


def _begin(registered: Registered, options: Options, run: Run, resume: bool, sources: Sequence[str]) -> None:
    """Write what the run is, and tell that it begins."""
    if resume:
        _warn_of_versions(registered, run)
    elif run.is_main:
        _describe(registered, options, run, sources)
    if run.is_main:
        _write_config(options, run)
    run.message(f"training {registered.spec.name} on {run.device}, run folder {run.folder}")


def _describe(registered: Registered, options: Options, run: Run, sources: Sequence[str]) -> None:
    about = {
        "trainer": registered.spec.name,
        "distribution": registered.distribution,
        "versions": _versions(registered),
        "options": options.changed(),
        "run_options": run.options.changed(),
        "sources": [Path(source).name if Path(source).is_absolute() else source for source in sources],
    }
    write_bytes(run.folder / DESCRIPTION, json.dumps(about, indent=2, sort_keys=True).encode())


def _write_config(options: Options, run: Run) -> None:
    import yaml

    of_run = run.options.model_dump(mode="json", exclude={"start_iter", *type(options).model_fields})
    values = {**options.model_dump(mode="json"), **of_run}
    known = _read_json(run.folder / DESCRIPTION).get("sources", [])
    head = "".join(f"# from {json.dumps(source, ensure_ascii=False)}\n" for source in known)
    text = head + yaml.safe_dump(values, sort_keys=False, allow_unicode=True)
    write_bytes(run.folder / CONFIG, text.encode(), force=True)


def _versions(registered: Registered) -> dict[str, str]:
    return {name: version(name) for name in ("codectk-core", registered.distribution, "torch")}


def _warn_of_versions(registered: Registered, run: Run) -> None:
    before, now = _read_json(run.folder / DESCRIPTION)["versions"], _versions(registered)
    changed = [f"{name} {before.get(name)} → {now[name]}" for name in now if before.get(name) != now[name]]
    if changed:
        run.message(f"the numbers may differ from an uninterrupted run: {', '.join(changed)}")


def _store(trainer: Trainer, run: Run, named: str | None) -> Checkpoint:
    """Write the weights, then what was asked for besides, and only then let go of the state."""
    checkpoint = trainer.export()
    checkpoint.save(run.folder / WEIGHTS, force=True)
    run.message(f"weights: {run.folder / WEIGHTS}")
    if run.results is not None:
        results = json.dumps(run.results, indent=2, ensure_ascii=False, allow_nan=False).encode()
        write_bytes(run.folder / RESULTS, results, force=True)
        run.message(f"results: {run.folder / RESULTS}")
    if named:
        checkpoint.save(Path(named))
        run.message(f"wrote {named} in safetensors format (no pickle), whatever its ending says")
        if run.results is not None:
            write_bytes(results_path(Path(named)), results)
    for path in (run.folder / STATE, run.folder / SO_FAR):
        path.unlink(missing_ok=True)
    shutil.rmtree(run.scratch, ignore_errors=True)
    return checkpoint


def results_path(named: Path) -> Path:
    """Where the results go beside a copy of the weights: `model.pth` has its own in `model_results.json`."""
    return named.with_name(f"{named.stem}_results.json")


def read_description(folder: Path, start_iter: int = 0) -> dict[str, Any]:
    """What a run folder says about its run: trainer, versions, options.

    Args:
        folder: of the run.
        start_iter: iteration to go on from; with one, the run may be finished.

    Raises:
        InputError: the folder holds no run, or a finished one.
    """
    if not (folder / DESCRIPTION).is_file():
        raise InputError(f"{folder} holds no training run.", "Name the run folder that `codectk train` made.")
    if (folder / WEIGHTS).exists() and not start_iter:
        raise InputError(f"The run in {folder} is finished.", f"Its weights are {folder / WEIGHTS}.")
    return _read_json(folder / DESCRIPTION)


def _read_json(path: Path) -> dict[str, Any]:
    try:
        about: dict[str, Any] = json.loads(read_bytes(path))
        kinds = {"options": dict, "run_options": dict, "versions": dict, "trainer": str, "sources": list}
        if not all(isinstance(about[key], kind) for key, kind in kinds.items() if key != "sources" or key in about):
            raise TypeError
    except (ValueError, KeyError, TypeError):
        raise InputError(f"{path} is damaged.", "Start the run again.") from None
    return about
