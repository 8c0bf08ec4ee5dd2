"""Saved states in a run folder: the newest one, and those of iterations that are kept.

state.safetensors                       the newest
states/state_iter980K.safetensors       after 980,000 steps, counted over all phases
"""

import re
import shutil
from pathlib import Path
from typing import Any

from codectk.errors import InputError, OptionsError
from codectk.files import atomic_output
from codectk.state import load_state

STATE = "state.safetensors"
KEPT = "states"

START: dict[str, Any] = {
    **{"phase": None, "step": 0, "total_steps": 0, "finished": [], "kept": {}, "parts": {}},
    **{"tables": {}, "skips": [0, 0], "seconds": 0.0},
}
"""The state of a run that has not begun; a saved one has the same keys."""


def iteration_name(iteration: int) -> str:
    """`"980K"` for 980,000; what is no multiple of 1000 as it is."""
    return f"{iteration // 1000}K" if iteration and iteration % 1000 == 0 else str(iteration)


def kept_path(folder: Path, iteration: int) -> Path:
    """Where a run folder keeps the state of an iteration."""
    return folder / KEPT / f"state_iter{iteration_name(iteration)}.safetensors"


def kept_iterations(folder: Path) -> list[int]:
    """The iterations whose states a run folder keeps."""
    found = (re.fullmatch(r"state_iter(\d+)(K?)", path.stem) for path in (folder / KEPT).glob("*.safetensors"))
    return sorted(int(match[1]) * (1000 if match[2] else 1) for match in found if match)


def read_state(path: Path) -> dict[str, Any]:
    """A saved state.

    Raises:
        InputError: the file is missing or damaged, or is something else.
    """
    state = load_state(path)
    if isinstance(state, dict) and "tables" not in state and "log_bytes" in state:  # from before there were tables
        state = {"skips": [0, 0], "tables": {"log.csv": state.pop("log_bytes")}, **state}
    fits = isinstance(state, dict) and set(state) == set(START)
    fits = fits and all(isinstance(state[key], type(value)) for key, value in START.items() if value is not None)
    if not fits or not all(type(size) is int for size in state["tables"].values()):
        raise InputError(f"{path} is not a state of this version's training.", "Start a new run.")
    return dict(state)


def begin(folder: Path, iteration: int, resume: bool, is_main: bool) -> dict[str, Any]:
    """The state that a run begins with.

    Args:
        folder: of the run.
        iteration: steps over all phases after which it goes on, from a state that was kept; 0 for the newest. The state
            takes the place of the newest.
        resume: whether a run is resumed at all.
        is_main: whether this process writes files.

    Raises:
        OptionsError: an iteration is given, but no run is resumed.
        InputError: a state is damaged, or that iteration was not kept; those that were are named.
    """
    if iteration and not resume:
        raise OptionsError(f"start_iter is {iteration}, but no run is resumed.", "Name its folder with --resume.")
    if iteration:
        return _go_back(folder, iteration, is_main)
    # A run that was killed before its first save starts from the beginning.
    return read_state(folder / STATE) if resume and (folder / STATE).exists() else dict(START)


def _go_back(folder: Path, iteration: int, is_main: bool) -> dict[str, Any]:
    path, newest = kept_path(folder, iteration), folder / STATE
    if path.is_file():
        state = read_state(path)
        if is_main:
            with atomic_output(newest, force=True) as temporary:
                shutil.copyfile(path, temporary)
        return state
    there = kept_iterations(folder)
    if newest.is_file():
        state = read_state(newest)
        if state["total_steps"] == iteration:
            return state
        there = sorted({*there, state["total_steps"]})
    known = ", ".join(map(str, there)) or "none"
    raise InputError(f"{folder} holds no state of iteration {iteration}.", f"Iterations there: {known}.")
