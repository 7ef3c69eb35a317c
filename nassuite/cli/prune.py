"""``nassuite prune``."""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

from nassuite.cli.parser import EXIT_MISSED, add_settings, given_settings
from nassuite.progress import Progress
from nassuite.prune_settings import PruneSettings


def add(commands: Any) -> None:
    prune = commands.add_parser(
        "prune",
        help="make a trained network smaller until a measured target is met",
        description="Removes channels, proven equal to the masked original, until the target is met; distils what is "
        "left from the dense model. Exits with 1 where the result misses the target.",
    )
    prune.add_argument("model", metavar="MODEL", help="folder of a trained model (nassuite train)")
    add_settings(prune, PruneSettings, leave_out=("model",))
    prune.add_argument("--out", type=Path, help="folder for the result (default: runs/prune-<date>)")
    prune.set_defaults(run=_prune)


def _prune(arguments: argparse.Namespace) -> int:
    settings = PruneSettings(**given_settings(arguments, PruneSettings))
    arguments.progress = progress = Progress()

    from nassuite.pruning import prune_model
    from nassuite.terminal_models import print_pruned

    out = arguments.out or Path("runs") / f"prune-{time.strftime('%Y%m%d-%H%M%S')}"
    pruned = prune_model(settings, out=out, progress=progress)
    print_pruned(pruned)
    return 0 if pruned.met else EXIT_MISSED
