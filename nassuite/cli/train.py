"""``nassuite train``."""

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


def add(commands: Any) -> None:
    train = commands.add_parser(
        "train",
        help="train one network of the zoo, or of your own, on your images",
        description="Trains a classifier with the usual recipe, reads test once, and writes safetensors and ONNX.",
    )
    train.add_argument(
        "model",
        metavar="NAME",
        nargs="?",
        help="network: NAME, 'NAME(option=value)', timm:NAME, torchvision:NAME, package.module:factory",
    )
    add_settings(train, TrainSettings, leave_out=("model",))
    train.add_argument("--out", type=Path, help="folder of the training (default: runs/train-<name>-<date>)")
    train.add_argument("--resume", type=Path, metavar="DIR", help="continue the training in this folder")
    train.add_argument(
        "--verbose", action="store_true", help="also say how the tensors of --init were matched"
    )
    train.set_defaults(run=_train)


def _train(arguments: argparse.Namespace) -> int:
    given = {k: v for k, v in given_settings(arguments, TrainSettings).items() if k != "model"}
    if arguments.resume is not None:
        extra = [flag(name) for name in given] + (["--out"] if arguments.out else [])
        if extra:
            raise InputError(
                f"--resume goes on with the training's own settings: leave out {', '.join(extra)}"
            )
        settings, out = None, arguments.resume
    else:
        if arguments.model is None:
            raise InputError(
                "no network: give a NAME, for instance nassuite train mobilenet_v2 (nassuite zoo list)"
            )
        settings = TrainSettings(model=arguments.model, **given)
        out = arguments.out or dated_folder("train", file_name(arguments.model))
    arguments.progress = progress = Progress(verbose=arguments.verbose)
    arguments.started = out
    said = f"training {settings.model} on {settings.data}, into {out}" if settings else f"going on with {out}"
    with progress.starting(said):
        from nassuite.terminal_models import print_trained
        from nassuite.training import train_model

    trained = train_model(
        settings,
        out=out,
        resume=arguments.resume is not None,
        progress=progress,
        command=["nassuite", *arguments.command_line],
    )
    print_trained(trained)
    return 0
