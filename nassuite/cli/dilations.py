"""``nassuite search-dilations``."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from nassuite.cli.parser import check_file
from nassuite.errors import InputError


def add(commands: Any) -> None:
    search = commands.add_parser(
        "search-dilations",
        help="choose each channel's dilation from trained large kernels (IC-Conv)",
        description="Efficient dilation optimisation (Liu et al. 2021): train 'ic_resnet50(large_kernel=9)', search, then "
        "use the pattern as ic_resnet50(pattern='pattern.json').",
    )
    search.add_argument(
        "model", metavar="MODEL", help="folder of a finished training, or a network with --weights"
    )
    search.add_argument("--weights", type=Path, metavar="FILE", help="trained weights of the network")
    search.add_argument(
        "--out", type=Path, required=True, metavar="FILE", help="where the pattern goes (JSON)"
    )
    search.set_defaults(run=_search)


def _search(arguments: argparse.Namespace) -> int:
    from collections import Counter

    from nassuite.compress.dilations import search_dilations
    from nassuite.models import load_model
    from nassuite.records import write_json
    from nassuite.zoo.catalogue import NETWORKS
    from nassuite.zoo.create import create_model, parse_model
    from nassuite.zoo.weights import load_weights

    check_file(arguments.out, "--out")
    if Path(arguments.model).is_dir():
        model = load_model(arguments.model)
        network = getattr(model, "network", model)
    elif arguments.weights is None:
        raise InputError(f"{arguments.model}: a search needs trained weights: give --weights FILE")
    else:
        name, config = parse_model(arguments.model)
        network = create_model(name, num_classes=NETWORKS[name].num_classes, **config)
        for line in load_weights(network, arguments.weights, other_classes=True):
            print(f"--weights {arguments.weights}: {line}", file=sys.stderr)
    pattern = search_dilations(network)
    write_json(arguments.out, pattern)
    counts = Counter(dilation for layer in pattern for dilation in layer)
    channels = sum(counts.values())
    print(f"{len(pattern)} layers, {channels} channels")
    for (vertical, horizontal), count in counts.most_common():
        print(f"  dilation {vertical}x{horizontal}: {count / channels:.1%}")
    print(f"pattern {arguments.out}")
    return 0
