"""``nassuite quantize``."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from nassuite.cli.parser import add_settings, given_settings
from nassuite.errors import InputError
from nassuite.progress import Progress
from nassuite.quantize_settings import QuantizeSettings
from nassuite.run_directory import dated_folder, file_name
from nassuite.settings import flag


def add(commands: Any) -> None:
    quantize = commands.add_parser(
        "quantize",
        help="make a network int8 where that is faster here and as accurate",
        description="Tries formats and calibrations, keeps layers in float32 that lose too much, measures all on this "
        "machine and keeps the best, fp32 included.",
    )
    quantize.add_argument(
        "model", metavar="MODEL", nargs="?", help="folder of a trained model, deploy folder, or .onnx file"
    )
    add_settings(quantize, QuantizeSettings, leave_out=("model",))
    quantize.add_argument(
        "--out", type=Path, help="folder for the result (default: runs/quantize-<name>-<date>)"
    )
    quantize.add_argument(
        "--resume", type=Path, metavar="DIR", help="continue the quantisation in this folder"
    )
    quantize.set_defaults(run=_quantize)


def _quantize(arguments: argparse.Namespace) -> int:
    given = given_settings(arguments, QuantizeSettings)
    if arguments.resume is not None:
        extra = [flag(name) for name in given if name != "model"] + (["--out"] if arguments.out else [])
        extra += [arguments.model] if arguments.model else []
        if extra:
            raise InputError(
                f"--resume goes on with the quantisation's own settings: leave out {', '.join(extra)}"
            )
        out = arguments.resume
    else:
        if arguments.model is None:
            raise InputError("no model: give a MODEL, for instance nassuite quantize runs/mbv2")
        QuantizeSettings(**given)  # what is wrong with the flags is said at once
        out = arguments.out or dated_folder("quantize", file_name(arguments.model))
    arguments.progress = progress = Progress()
    arguments.started = out
    said = f"quantising {arguments.model}, into {out}" if arguments.resume is None else f"going on with {out}"
    with progress.starting(said):
        from nassuite.quantizing import quantize
        from nassuite.terminal_models import print_quantized

    found = quantize(
        given.pop("model", None), out=out, resume=arguments.resume is not None, progress=progress,
        command=["nassuite", *arguments.command_line], **given,
    )  # fmt: skip
    print_quantized(found)
    return 0
