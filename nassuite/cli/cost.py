"""``nassuite cost``."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from nassuite.cli.parser import check_file
from nassuite.cli.target import add_target, target_of
from nassuite.errors import InputError
from nassuite.progress import Progress


def add(commands: Any) -> None:
    cost = commands.add_parser(
        "cost",
        help="say what a network costs and why: MACs, memory, latency by layer, guidelines that it breaks",
        description="Counts an ONNX file's graph, times its layers by ONNX Runtime's own profile (the other runtimes have none here), and measures layers that "
        "break a guideline of ShuffleNetV2 beside ones of as many MACs that keep it.",
    )
    cost.add_argument(
        "model",
        metavar="MODEL",
        help="an .onnx file, a folder of a trained or deployed model, a zoo name, timm:NAME, torchvision:NAME or "
        "package.module:factory",
    )
    cost.add_argument("--size", type=int, help="image size in pixels (default: the model's, or 224)")
    add_target(cost)
    cost.add_argument(
        "--alternatives",
        type=int,
        default=4,
        metavar="N",
        help="shapes of each guideline that are measured beside one that keeps it (default: 4; 0: none)",
    )
    cost.add_argument("--all", action="store_true", help="every layer and every place, not only the slowest")
    cost.add_argument("--json", type=Path, metavar="FILE", help="write all of it there")
    cost.set_defaults(run=_cost)


def _cost(arguments: argparse.Namespace) -> int:
    from nassuite.costing import network_cost
    from nassuite.records import write_json
    from nassuite.terminal_cost import print_cost

    for name, least in (("size", 8), ("alternatives", 0)):
        value = getattr(arguments, name)
        if value is not None and value < least:
            raise InputError(f"--{name} {value}: expected {least} or more")
    if arguments.json:
        check_file(arguments.json, "--json")
    arguments.progress = progress = Progress()
    found = network_cost(
        arguments.model,
        size=arguments.size,
        target=target_of(arguments),
        alternatives=arguments.alternatives,
        progress=progress,
    )
    print_cost(found, everything=arguments.all)
    if arguments.json:
        write_json(arguments.json, found.to_json())
    return 0
