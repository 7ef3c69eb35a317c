"""``nassuite distill``."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from nassuite.cli.parser import add_settings, given_settings
from nassuite.errors import InputError
from nassuite.progress import Progress
from nassuite.run_directory import dated_folder, file_name
from nassuite.settings import flag
from nassuite.train_settings import TrainSettings

NOT_HERE = ("model", "teacher", "keep", "mask_size")
"""The student and its teacher are arguments; the best epoch is kept; there are no masks."""


def add(commands: Any) -> None:
    distill = commands.add_parser(
        "distill",
        help="train a small network with a trained one as its teacher",
        description="Soft labels, DKD or DIST beside the labels; keeps the best epoch by validation. --compare trains the "
        "same student without a teacher too, and says what the teacher brought.",
    )
    distill.add_argument(
        "student",
        metavar="STUDENT",
        nargs="?",
        help="network as for nassuite train, or the folder of a training",
    )
    distill.add_argument(
        "--teacher",
        metavar="TEACHER",
        help="folder of a trained model for the same classes, or a network's name with --teacher-weights",
    )
    add_settings(distill, TrainSettings, leave_out=NOT_HERE)
    distill.add_argument("--compare", action="store_true", help="also train the student without a teacher")
    distill.add_argument(
        "--out", type=Path, help="folder of the result (default: runs/distill-<name>-<date>)"
    )
    distill.add_argument(
        "--resume", type=Path, metavar="DIR", help="continue the distillation in this folder"
    )
    distill.set_defaults(run=_distill)


def _distill(arguments: argparse.Namespace) -> int:
    given = {k: v for k, v in given_settings(arguments, TrainSettings).items() if k not in NOT_HERE}
    if arguments.resume is not None:
        extra = [
            flag(name)
            for name in (*given, "out", "student", "teacher")
            if getattr(arguments, name) is not None
        ]
        if extra:
            raise InputError(
                f"--resume goes on with the distillation's own settings: leave out {', '.join(extra)}"
            )
        out = arguments.resume
    else:
        if arguments.student is None or arguments.teacher is None:
            raise InputError(
                "give a STUDENT and --teacher TEACHER: the folder of a trained model, or a name with --teacher-weights"
            )
        TrainSettings(model=arguments.student, **given)  # what is wrong with the flags is said at once
        out = arguments.out or dated_folder("distill", file_name(arguments.student))
    arguments.progress = progress = Progress()
    arguments.started = out
    said = f"{arguments.student} taught by {arguments.teacher}, into {out}"
    with progress.starting(f"going on with {out}" if arguments.resume is not None else said):
        from nassuite.distilling import distill
        from nassuite.terminal_models import print_distilled

    found = distill(
        arguments.student, teacher=arguments.teacher, out=out, compare=arguments.compare,
        resume=arguments.resume is not None, progress=progress, command=["nassuite", *arguments.command_line], **given,
    )  # fmt: skip
    print_distilled(found)
    return 0
