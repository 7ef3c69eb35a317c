"""``nassuite prune``."""

from __future__ import annotations

import argparse
import dataclasses
from pathlib import Path
from typing import Any

from nassuite.cli.parser import EXIT_MISSED, add_settings, given_settings
from nassuite.errors import InputError
from nassuite.progress import Progress
from nassuite.prune_settings import PruneSettings, SensitivitySettings
from nassuite.run_directory import dated_folder, file_name
from nassuite.settings import flag


def add(commands: Any) -> None:
    prune = commands.add_parser(
        "prune",
        help="make a network smaller until a measured target is met",
        description="Removes channels, proven equal to the masked original, until the target is met; distils what is "
        "left from the dense model. Exits with 1 where the result misses the target.",
    )
    prune.add_argument(
        "model",
        metavar="MODEL",
        nargs="?",
        help="folder of a training, a pruning or a search's deployed model; or a network with --data and --weights: "
        "NAME, 'NAME(option=value)', timm:NAME, torchvision:NAME, package.module:factory",
    )
    add_settings(prune, PruneSettings, leave_out=("model",))
    prune.add_argument("--out", type=Path, help="folder for the result (default: runs/prune-<name>-<date>)")
    prune.add_argument("--resume", type=Path, metavar="DIR", help="continue the pruning in this folder")
    prune.add_argument(
        "--sensitivity",
        action="store_true",
        help="prune nothing: write and draw accuracy against pruning ratio, layer by layer",
    )
    prune.add_argument(
        "--verbose", action="store_true", help="also say how the tensors of --weights were matched"
    )
    prune.set_defaults(run=_prune)


def _prune(arguments: argparse.Namespace) -> int:
    given = {k: v for k, v in given_settings(arguments, PruneSettings).items() if k != "model"}
    if arguments.resume is not None:
        extra = [flag(name) for name in given] + (["--out"] if arguments.out else [])
        extra += [arguments.model] if arguments.model else []
        if extra:
            raise InputError(
                f"--resume goes on with the pruning's own settings: leave out {', '.join(extra)}"
            )
        settings, out = None, arguments.resume
    else:
        if arguments.model is None:
            raise InputError("no model: give a MODEL, for instance nassuite prune runs/mbv2 --speedup 2")
        settings = _settings(arguments.model, given, sensitivity=arguments.sensitivity)
        kind = "sensitivity" if arguments.sensitivity else "prune"
        out = arguments.out or dated_folder(kind, file_name(arguments.model))
    arguments.progress = progress = Progress(verbose=arguments.verbose)
    arguments.started = out

    resume, command = arguments.resume is not None, ["nassuite", *arguments.command_line]
    what = "cutting each layer of" if arguments.sensitivity else "pruning"
    said = f"going on with {out}" if resume else f"{what} {arguments.model}, into {out}"
    with progress.starting(said):
        from nassuite.pruning import prune_model
        from nassuite.sensitivity import sensitivity
        from nassuite.terminal_models import print_pruned, print_sensitivity
    if arguments.sensitivity or (resume and (out / "sensitivity.toml").is_file()):
        assert settings is None or isinstance(settings, SensitivitySettings)
        points = sensitivity(settings, out=out, resume=resume, progress=progress, command=command)
        print_sensitivity(points, out)
        return 0

    assert settings is None or isinstance(settings, PruneSettings)
    pruned = prune_model(settings, out=out, resume=resume, progress=progress, command=command)
    print_pruned(pruned)
    return 0 if pruned.met else EXIT_MISSED


def _settings(model: str, given: dict[str, Any], *, sensitivity: bool) -> PruneSettings | SensitivitySettings:
    if not sensitivity:
        return PruneSettings(model=model, **given)
    known = {field.name for field in dataclasses.fields(SensitivitySettings)}
    if others := [flag(field) for field in given if field not in known]:
        raise InputError(f"--sensitivity prunes nothing: leave out {', '.join(others)}")
    return SensitivitySettings(model=model, **given)
