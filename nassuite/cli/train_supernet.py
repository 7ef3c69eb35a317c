"""``nassuite train-supernet``."""

from __future__ import annotations

import argparse
import shlex
from pathlib import Path
from typing import Any

from nassuite.cli.parser import EXIT_INTERRUPTED, add_settings, given_settings
from nassuite.errors import InputError
from nassuite.progress import Progress
from nassuite.settings import Settings, flag, load_study


def add(commands: Any) -> None:
    train = commands.add_parser(
        "train-supernet",
        help="train a run's supernet, with as many processes as torchrun starts",
        description="The supernet's training of `nassuite search`, alone or in many processes: "
        "torchrun --nproc-per-node N -m nassuite train-supernet ... Each process takes its share of every batch. "
        "Then `nassuite search --resume RUN` goes on, or --from RUN takes the supernet.",
    )
    add_settings(train, Settings)
    train.add_argument(
        "--study", help="settings from a shipped study or a TOML file; other flags win over it"
    )
    train.add_argument(
        "--init", type=Path, metavar="RUN",
        help="begin with the weights of RUN's supernet, of the same space; other classes get a new head",
    )  # fmt: skip
    place = train.add_mutually_exclusive_group(required=True)
    place.add_argument("--out", type=Path, metavar="RUN", help="begin a run in this directory")
    place.add_argument(
        "--resume", type=Path, metavar="RUN", help="train on the supernet of the run in this directory"
    )
    train.set_defaults(run=_train_supernet, searches_by="train-supernet")


def _train_supernet(arguments: argparse.Namespace) -> int:
    given = given_settings(arguments, Settings)
    settings = None
    if arguments.resume is None:
        settings = Settings(**((load_study(arguments.study) if arguments.study else {}) | given))
    else:
        extra = [flag(name) for name in given]
        extra += [
            name for name, value in {"--study": arguments.study, "--init": arguments.init}.items() if value
        ]
        if extra:
            raise InputError(f"--resume goes on with the run's own settings: leave out {', '.join(extra)}")
    out = arguments.out or arguments.resume

    from nassuite.supernet_training import train_supernet_of_run
    from nassuite.train.team import team_of_environment

    with team_of_environment() as team:
        if team.leads:
            arguments.started, arguments.progress = out, Progress()
        try:
            settings = train_supernet_of_run(
                settings, out=out, resume=arguments.resume is not None, init=arguments.init, team=team,
                progress=getattr(arguments, "progress", None),
                command=["nassuite", *arguments.command_line],
            )  # fmt: skip
        except KeyboardInterrupt:
            if team.leads:
                raise
            return EXIT_INTERRUPTED
        if team.leads:
            run = shlex.quote(str(out))
            budget = f"--resume {run}" if settings.budget_ms else f"--from {run} --budget-ms MS"
            print(f"the supernet of {out} is trained; search it with: nassuite search {budget}")
    return 0
