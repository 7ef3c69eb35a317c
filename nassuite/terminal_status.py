"""What ``nassuite status`` prints of a folder: what it is, how far that is, and how to go on."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from nassuite import folders
from nassuite.checkpoints import FileCheckpoints
from nassuite.errors import InputError
from nassuite.folders import Kind, is_finished, kind_of, to_go_on
from nassuite.prune_settings import TARGETS
from nassuite.records import read_toml
from nassuite.run_directory import RunDirectory, read_lines
from nassuite.settings import flag
from nassuite.terminal import console, print_status

Table = dict[str, Any]
"""What is in the file that the work in a folder began with."""


def print_folder(folder: Path) -> None:
    """Raises InputError where neither the folder nor those in it say what they are."""
    kind = kind_of(folder)
    if kind == folders.SEARCH or not folder.is_dir():
        print_status(RunDirectory(folder))
    elif kind is not None:
        _print_work(folder, kind)
    elif line := _line(folder):
        console().print(line)
    else:
        _print_those_in(folder)


def _print_work(folder: Path, kind: Kind) -> None:
    table = read_toml(folder / kind.begun)
    settings = table.get("settings", {})
    out = console()
    aims = [f"{flag(name)} {settings[name]:g}" for name in TARGETS if name in settings]
    out.print(", ".join([f"{folder}: {kind.what} of {settings.get('model', 'a network')}", *aims]))
    for line in PROGRESS[kind](folder, table):
        out.print(f"  {line}")
    if RunDirectory(folder).in_use():
        out.print("a process is working on it")
    elif is_finished(folder, kind):
        out.print(f"all done: {_result(folder)}")
    else:
        out.print(f"continue with: {to_go_on(folder, kind)}")


def _result(folder: Path) -> Path:
    """What to look at first."""
    files = [folder / name for name in ("model.onnx", folders.SENSITIVITY.finished)]
    return next((file for file in files if file.is_file()), folder)


def _print_those_in(folder: Path) -> None:
    """One line for each: a folder of runs is one too."""
    lines = [line for path in sorted(folder.iterdir()) if (line := _line(path))]
    if not lines:
        kinds = ", ".join(kind.what for kind in PROGRESS)
        raise InputError(f"{folder} is no run directory: expected that of a search, {kinds}")
    console().print("\n".join(lines))


def _line(folder: Path) -> str:
    """What it is, in short; empty where that is nothing known."""
    kind = kind_of(folder)
    if kind is None:
        return f"{folder}: a finished model, {_result(folder)}" if (folder / "card.json").is_file() else ""
    finished = "finished" if is_finished(folder, kind) else f"not finished: {to_go_on(folder, kind)}"
    return f"{folder}: {kind.what}, {finished}"


def _pruning(folder: Path, table: Table) -> list[str]:
    steps = [
        line["value"]
        for line in read_lines(folder / "steps.jsonl")
        if re.fullmatch(r"step \d+", line["name"])
    ]
    planned = table["settings"].get("steps", "?")
    lines = [f"{len(steps)} steps made, {planned} planned" + (f": {steps[-1]['said']}" if steps else "")]
    if steps and steps[-1]["met"] and not is_finished(folder, folders.PRUNING):
        epochs = _epochs(folder / "training" / f"step-{len(steps) - 1}.safetensors")
        lines.append(f"the target is met, what is left of the network is distilled, epochs done: {epochs}")
    return lines


def _sensitivity(folder: Path, table: Table) -> list[str]:
    return [f"{len(read_lines(folder / 'points.jsonl'))} points measured"]


def _quantisation(folder: Path, table: Table) -> list[str]:
    made = [line["name"] for line in read_lines(folder / "steps.jsonl") if ":" not in line["name"]]
    return [f"variants made: {', '.join(made) or 'none'}"]


def _training(folder: Path, table: Table) -> list[str]:
    return [f"{_epochs(folder / 'checkpoint.safetensors')} of {table['settings'].get('epochs', '?')} epochs"]


def _distillation(folder: Path, table: Table) -> list[str]:
    (student,) = _training(folder, table)
    (alone,) = _training(folder / "alone", table)
    return [f"{student} with the teacher"] + [f"{alone} without it"] * bool(table["compare"])


def _epochs(checkpoint: Path) -> int:
    meta = FileCheckpoints(checkpoint).meta()
    return len(meta["log"]) if meta else 0


PROGRESS: dict[Kind, Callable[[Path, Table], list[str]]] = {
    folders.TRAINING: _training,
    folders.DISTILLATION: _distillation,
    folders.PRUNING: _pruning,
    folders.SENSITIVITY: _sensitivity,
    folders.QUANTISATION: _quantisation,
}
"""How far each kind of work is, in lines."""
