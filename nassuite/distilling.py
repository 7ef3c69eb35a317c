"""A student trained with a teacher, and beside it without: ``nassuite distill``.

The training is that of ``nassuite train``, with the weights of the best epoch by validation. The folder of a
distillation is that of the student's training; with a comparison, ``alone`` in it holds the same student's training
without a teacher, and distill.json and distill.md say what the teacher brought.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nassuite.errors import InputError
from nassuite.progress import SILENT, Progress
from nassuite.records import SCHEMA_VERSION, environment, read_json, write_json, write_text
from nassuite.run_directory import read_settings
from nassuite.settings import to_table
from nassuite.train_settings import OF_A_TEACHER, TrainSettings
from nassuite.training import Trained, train_model


@dataclass(frozen=True)
class Distilled:
    """The student with its teacher and, where that was asked for, ``alone``, without one."""

    student: Trained
    alone: Trained | None

    @property
    def gain(self) -> float | None:
        """Points of test accuracy that the teacher brought."""
        if self.alone is None:
            return None
        return 100 * (self.student.test["accuracy"] - self.alone.test["accuracy"])


def distill(
    student: str | Path | None = None,
    *,
    teacher: str | Path | None = None,
    out: str | Path,
    compare: bool = False,
    resume: bool = False,
    progress: Progress = SILENT,
    command: Sequence[str] | None = None,
    **flags: Any,
) -> Distilled:
    """Trains ``student`` with a teacher's soft labels into the folder ``out``.

    ``student`` is a name as for ``nassuite train``, or the folder of a training, whose weights it then starts from;
    ``teacher`` is the folder of a training for the same classes, or a network's name with ``teacher_weights``, a file.
    ``flags`` are the other fields of ``TrainSettings``: ``data``, ``epochs``, ``loss`` (soft: Hinton et al. 2015; dkd: Zhao et al. 2022; dist: Huang et al. 2022),
    ``temperature``, ``teacher_weight``, ``cache_teacher`` ("on" or "off") and so on. With ``compare`` the same student
    is trained without a teacher too: same seed, same epochs. ``resume`` goes on with what was begun in ``out``, and
    takes no settings but ``compare``. Raises InputError for anything wrong with the input.
    """
    folder = Path(out)
    if resume:
        if student is not None or teacher is not None or flags:
            raise InputError("a distillation that goes on has its own settings: leave out all but compare")
        settings, facts = read_settings(folder / "train.toml", TrainSettings, "distillation")
        if settings.teacher is None:
            raise InputError(f"{folder} is a training without a teacher: go on with nassuite train --resume")
        compare = compare or bool(facts.get("compare"))
        trained = train_model(None, out=folder, resume=True, progress=progress)
    else:
        if student is None or teacher is None:
            raise InputError("a distillation takes a student and a teacher")
        settings = TrainSettings(model=str(student), teacher=str(teacher), keep="best", **flags)
        trained = train_model(
            settings, out=folder, progress=progress, command=command, facts={"compare": compare}
        )
    alone = _alone(settings, folder / "alone", progress) if compare else None
    found = Distilled(trained, alone)
    record = _record(found)
    write_text(folder / "distill.md", _markdown(record))
    write_json(folder / "distill.json", record)
    return found


def _alone(settings: TrainSettings, folder: Path, progress: Progress) -> Trained:
    """The same student's training without a teacher: begun, continued, or found finished."""
    if (folder / "train.toml").is_file():
        return train_model(None, out=folder, resume=True, progress=progress)
    fields: dict[str, Any] = {field.name: field.default for field in dataclasses.fields(TrainSettings)}
    plain = dataclasses.replace(settings, **{name: fields[name] for name in OF_A_TEACHER})
    progress.say("the same student without a teacher, for comparison")
    return train_model(plain, out=folder, progress=progress, command=["nassuite", "distill", "--compare"])


def _record(found: Distilled) -> dict[str, Any]:
    settings = found.student.settings
    rows = {"with the teacher": found.student, "alone": found.alone}
    record: dict[str, Any] = {
        "schema_version": SCHEMA_VERSION,
        "settings": to_table(settings),
        "students": {name: _row(trained) for name, trained in rows.items() if trained},
        "gain_points": found.gain,
        "teacher": None,
        "environment": environment(),
    }
    teacher = Path(settings.teacher or "") / "result.json"
    if teacher.is_file():
        result = read_json(teacher)
        record["teacher"] = {name: result[name] for name in ("params", "macs", "val", "test")}
    return record


def _row(trained: Trained) -> dict[str, Any]:
    log = read_json(trained.folder / "log.json")
    return {
        "params": trained.params, "macs": trained.macs, "val": trained.val, "test": trained.test,
        "best_epoch": max(log, key=lambda entry: entry["val"])["epoch"], "epochs": len(log),
        "seconds": trained.seconds,
    }  # fmt: skip


def _markdown(record: dict[str, Any]) -> str:
    settings = record["settings"]
    lines = [
        f"# {settings['model']}, taught by {settings['teacher']}",
        "",
        f"Loss {settings['loss']}, temperature {settings['temperature']:g}, weight {settings['teacher_weight']:g} "
        f"({settings['teacher_schedule']}), {settings['epochs']} epochs on {settings['data']}, seed {settings['seed']}; "
        "weights of the best epoch by validation. One seed: its spread is not in the intervals, which are those of "
        "the test images.",
        "",
        "| model | validation | test (95 % interval) | parameters | M MACs | best epoch |",
        "|---|---|---|---|---|---|",
    ]
    rows = {"teacher": record["teacher"], **record["students"]}
    for name, row in rows.items():
        if row is None:
            continue
        low, high = row["test"]["interval"]
        lines.append(
            f"| {name} | {row['val']:.2%} | {row['test']['accuracy']:.2%} ({low:.2%} to {high:.2%}) | {row['params']:,} | "
            f"{row['macs'] / 1e6:.2f} | {row.get('best_epoch', '')} |"
        )
    if record["gain_points"] is not None:
        lines += ["", f"The teacher brought {record['gain_points']:+.2f} points on test."]
    return "\n".join(lines) + "\n"
