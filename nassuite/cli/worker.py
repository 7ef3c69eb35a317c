"""``nassuite worker``."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from nassuite.options import AUTO, DEVICE
from nassuite.progress import Progress


def add(commands: Any) -> None:
    worker = commands.add_parser(
        "worker",
        help="join a search from another machine",
        description="Evaluates architectures of a search that was begun with --storage, until all its trials are done. "
        "May be stopped or killed at any time: what it was at is evaluated by another.",
    )
    worker.add_argument(
        "run_folder", metavar="RUN", type=Path, help="the run's folder, shared between the machines or copied"
    )
    worker.add_argument("--storage", metavar="URL", help="where this machine reaches the run's storage")
    worker.add_argument("--data", help="where this machine has the run's images")
    worker.add_argument(
        "--device", choices=DEVICE["choices"], default=AUTO, help="where to evaluate (default: auto)"
    )
    worker.set_defaults(run=_worker)


def _worker(arguments: argparse.Namespace) -> int:
    from nassuite.storage_url import check_storage

    if arguments.storage is not None:
        check_storage(arguments.storage)
    arguments.progress = progress = Progress()
    with progress.starting(f"joining {arguments.run_folder}"):
        from nassuite.joining import join

    joined = join(
        arguments.run_folder, storage=arguments.storage, data=arguments.data, device=arguments.device,
        progress=progress,
    )  # fmt: skip
    print(f"{joined.study}: {joined.done} architectures evaluated, {joined.own} of them here")
    return 0
