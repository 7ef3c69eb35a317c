"""What a folder holds, told by the files in it: what made it, how to go on with it, where its models are."""

from __future__ import annotations

import os
import re
import shlex
from dataclasses import dataclass
from pathlib import Path

from nassuite.errors import InputError
from nassuite.records import read_toml

NAMED_MODELS = 4
"""A message names no more models than these."""
WEIGHTS = (".pt", ".pth", ".ckpt", ".bin", ".tar", ".safetensors")
"""Endings of files that hold weights and no network."""


@dataclass(frozen=True)
class Kind:
    """What a command makes of a folder: it writes the file ``begun`` first and ``finished`` last.

    ``command`` goes on with it.
    """

    what: str
    command: str
    begun: str
    finished: str


SEARCH = Kind("search", "search", "study.toml", "report/records.json")
PRUNING = Kind("pruning", "prune", "prune.toml", "pruning.json")
SENSITIVITY = Kind("sensitivity analysis", "prune", "sensitivity.toml", "sensitivity.png")
QUANTISATION = Kind("quantisation", "quantize", "quantize.toml", "quantize.json")
DISTILLATION = Kind("distillation", "distill", "train.toml", "distill.json")
TRAINING = Kind("training", "train", "train.toml", "result.json")


def kind_of(folder: Path) -> Kind | None:
    """Which kind of work began in ``folder``; None where none did."""
    for kind in (SEARCH, PRUNING, SENSITIVITY, QUANTISATION):
        if _is_file(folder / kind.begun):
            return kind
    if not _is_file(folder / TRAINING.begun):
        return None
    return DISTILLATION if _is_distillation(folder / TRAINING.begun) else TRAINING


# Those of pathlib raise for names that no file can have.
def _is_file(path: Path) -> bool:
    return os.path.isfile(path)


def _is_folder(path: Path) -> bool:
    return os.path.isdir(path)


def _is_distillation(path: Path) -> bool:
    """Whether a training is that of a student: nassuite distill notes beside its settings whether it compares."""
    try:
        return "compare" in read_toml(path)
    except InputError:
        return False


def is_finished(folder: Path, kind: Kind) -> bool:
    return (folder / kind.finished).is_file()


def to_go_on(folder: Path, kind: Kind) -> str:
    """The command that goes on with the work in ``folder``."""
    return f"nassuite {kind.command} --resume {shlex.quote(str(folder))}"


def is_another(folder: Path, wanted: str) -> str:
    """What is said of a folder that is not of the kind ``wanted``; empty where it is of none."""
    kind = kind_of(folder)
    if kind is None:
        return ""
    if is_finished(folder, kind):
        return f"{folder} is a finished {kind.what}, no {wanted}"
    return f"{folder} is a {kind.what}, no {wanted}: {to_go_on(folder, kind)} goes on with it"


def check_untaken(folder: Path) -> None:
    """Raises InputError where some work has its results in the folder ``--out`` already."""
    kind = kind_of(folder)
    if kind and is_finished(folder, kind):
        raise InputError(f"--out {folder} is a finished {kind.what}: give another folder")
    if kind:
        raise InputError(
            f"--out {folder} is a {kind.what}: go on with {to_go_on(folder, kind)}, or give another folder"
        )


def check_writable(folder: Path, flag: str) -> None:
    """Raises InputError where nothing can be written to ``folder``, which may have yet to be made; ``flag`` asked for it."""
    try:
        parent = next(p for p in (folder, *folder.absolute().parents) if p.exists())
    except OSError as error:
        raise InputError(f"{flag}: {error.strerror or error}") from None
    if not parent.is_dir() or not os.access(parent, os.W_OK | os.X_OK):
        raise InputError(f"{flag}: cannot write to {parent}, choose another folder")


def not_finished(folder: Path, kind: Kind) -> InputError:
    return InputError(f"{folder} {_unfinished(folder, kind)}")


def check_finished_search(folder: Path) -> None:
    """Raises InputError for a search that is not finished, and for work of another kind."""
    kind = kind_of(folder)
    if kind == SEARCH and not is_finished(folder, SEARCH):
        raise not_finished(folder, SEARCH)
    if kind not in (SEARCH, None):
        raise InputError(is_another(folder, SEARCH.what))


def _unfinished(folder: Path, kind: Kind) -> str:
    return f"is a {kind.what} that is not finished: go on with {to_go_on(folder, kind)}"


def models_in(folder: Path, file: str) -> list[Path]:
    """Folders below ``folder`` that hold a model, told by its ``file``: a search's, a comparison's, or single ones."""
    patterns = ("deploy/*", "models/*", "*")
    return sorted({path.parent for p in patterns for path in folder.glob(f"{p}/{file}")}, key=_as_counted)


def _as_counted(path: Path) -> tuple[str, float, str]:
    """0.5ms before 10ms."""
    number = re.match(r"\d+(\.\d+)?", path.name)
    return str(path.parent), float(number[0]) if number else 0.0, path.name


def no_model(given: str | Path, file: str) -> InputError:
    """What is wrong with a folder that was given as a model and has not the ``file`` of one."""
    folder = Path(given)
    return InputError(f"{folder} {_instead(folder, file)}")


def _instead(folder: Path, file: str) -> str:
    if _is_file(folder):
        return "is a file: give the folder of a model"
    if not _is_folder(folder):
        return "holds no model: there is no such folder"
    kind, models = kind_of(folder), models_in(folder, file)
    if models:
        return f"{f'is a {kind.what}' if kind else 'holds models'}: give {_one_of(models)}"
    if kind:
        return _of_work(folder, kind, file)
    if (folder / "card.json").is_file() and file == "model.json":
        return (
            f"has files that are exported already and no weights (no {file}): give the folder of a training, or a network "
            "by name with --weights"
        )
    return f"holds no model (no {file}): expected the folder of a finished training, or of a model that a search deployed"


def _of_work(folder: Path, kind: Kind, file: str) -> str:
    if not is_finished(folder, kind):
        return _unfinished(folder, kind)
    if kind == QUANTISATION:
        made_of = read_toml(folder / kind.begun).get("settings", {}).get("model", "a training")
        return f"is a quantisation, which has no weights: give what it was made of, {made_of}"
    return f"is a {kind.what} without a model (no {file})"


def _one_of(models: list[Path]) -> str:
    names = [str(model) for model in models[:NAMED_MODELS]] + ["…"] * (len(models) > NAMED_MODELS)
    return f"one of {', '.join(names)}" if len(names) > 1 else names[0]


def is_weights(given: str | Path) -> bool:
    """Whether that is the name of a file that holds weights and no network."""
    return Path(given).suffix.lower() in WEIGHTS


def check_no_weights(path: Path) -> None:
    """Raises InputError for a file of weights where an ONNX file is taken."""
    if is_weights(path):
        raise InputError(
            f"{path}: weights without a network; give an .onnx file or the folder of a model (nassuite export NAME "
            f"--weights {path} --out DIR writes one)"
        )
