"""``nassuite quantize``."""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

from nassuite.cli.parser import add_settings, given_settings
from nassuite.progress import Progress
from nassuite.quantize_settings import QuantizeSettings


def add(commands: Any) -> None:
    quantize = commands.add_parser(
        "quantize",
        help="make a network int8 where that is faster here and as accurate",
        description="Tries formats and calibrations, keeps layers in float32 that lose too much, measures all on this "
        "machine and keeps the best, fp32 included.",
    )
    quantize.add_argument(
        "model", metavar="MODEL", help="folder of a trained model, deploy folder, or .onnx file"
    )
    add_settings(quantize, QuantizeSettings, leave_out=("model",))
    quantize.add_argument("--out", type=Path, help="folder for the result (default: runs/quantize-<date>)")
    quantize.set_defaults(run=_quantize)


def _quantize(arguments: argparse.Namespace) -> int:
    given = given_settings(arguments, QuantizeSettings)
    QuantizeSettings(**given)  # what is wrong with the flags is said at once
    arguments.progress = progress = Progress()

    from nassuite.quantizing import quantize
    from nassuite.terminal_models import print_quantized

    out = arguments.out or Path("runs") / f"quantize-{time.strftime('%Y%m%d-%H%M%S')}"
    print_quantized(quantize(given.pop("model"), out=out, progress=progress, **given))
    return 0
