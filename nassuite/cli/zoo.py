"""``nassuite zoo list | show | bench | compare``."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from nassuite.cli.parser import Parser, add_settings, check_file, given_settings
from nassuite.cli.target import add_target, target_of
from nassuite.errors import InputError
from nassuite.progress import Progress
from nassuite.train_settings import TrainSettings

MOST_BENCHED_MACS = 1e9
"""Without names, the bench takes the networks up to this cost: all together would take half an hour."""


def add(commands: Any) -> None:
    zoo = commands.add_parser("zoo", help="published networks: list, show, measure")
    parts = zoo.add_subparsers(metavar="COMMAND", required=True, parser_class=Parser)

    listing = parts.add_parser("list", help="all networks, with what they cost and reach")
    listing.add_argument("--json", action="store_true", help="print JSON")
    listing.set_defaults(run=_list)

    show = parts.add_parser("show", help="structure, paper, options and variants of a network")
    show.add_argument(
        "model", metavar="NAME", help="for instance mobilenet_v2 or 'mobilenet_v2(width_mult=0.5)'"
    )
    show.add_argument("--size", type=int, help="image size in pixels (default: the paper's)")
    show.set_defaults(run=_show)

    bench = parts.add_parser(
        "bench",
        help="measure networks against each other on this machine",
        description="Exports each network with fresh weights and measures all in the same rounds, in fresh processes.",
    )
    bench.add_argument(
        "models", metavar="NAME", nargs="*", help="networks (default: all classifiers up to 1 GMAC)"
    )
    bench.add_argument("--size", type=int, default=224, help="image size in pixels (default: 224)")
    add_target(bench)
    bench.add_argument("--json", type=Path, metavar="FILE", help="write the figures there too")
    bench.set_defaults(run=_bench)

    compare = parts.add_parser(
        "compare",
        help="train several networks by one recipe and draw accuracy against measured latency",
        description="The same command again goes on where it was interrupted, and trains only what is new.",
    )
    compare.add_argument("models", metavar="NAME", nargs="+", help="networks, as for nassuite train")
    add_settings(compare, TrainSettings, leave_out=("model", "init"))
    add_target(compare, precision=False)  # accuracies are those of full precision
    compare.add_argument("--title", default="", help="of the report")
    compare.add_argument("--out", type=Path, required=True, help="folder for trainings and report")
    compare.set_defaults(run=_compare)


def _list(arguments: argparse.Namespace) -> int:
    from nassuite.terminal_models import print_zoo
    from nassuite.zoo.catalogue import ALIASES, NETWORKS
    from nassuite.zoo.reference import variants

    rows = []
    for name, entry in sorted(NETWORKS.items()):
        known = variants(name)[0]
        rows.append(
            {
                "name": name,
                "kind": entry.kind,
                "variant": known.call,
                "size": list(known.size),
                "params": known.params,
                "macs": known.macs,
                "top1": known.top1,
                "paper": entry.paper,
                "aliases": sorted(alias for alias, full in ALIASES.items() if full == name),
            }
        )
    if arguments.json:
        print(json.dumps(rows, indent=2))
    else:
        print_zoo(rows)
    return 0


def _show(arguments: argparse.Namespace) -> int:
    from nassuite.terminal_models import print_network

    print_network(arguments.model, arguments.size)
    return 0


def _bench(arguments: argparse.Namespace) -> int:
    from nassuite.benchmark import time_networks
    from nassuite.records import environment, write_json
    from nassuite.terminal_models import print_bench
    from nassuite.zoo.catalogue import NETWORKS
    from nassuite.zoo.create import check_size, create_model, parse_model
    from nassuite.zoo.reference import variants

    target = target_of(arguments)
    if arguments.size < 1:
        raise InputError(f"--size {arguments.size}: pixels, from 1 up")
    if arguments.json:
        check_file(arguments.json, "--json")
    names = arguments.models or [
        name
        for name, entry in sorted(NETWORKS.items())
        if entry.kind == "classification"
        and entry.in_chans == 3
        and variants(name)[0].macs <= MOST_BENCHED_MACS
    ]
    arguments.progress = progress = Progress()
    networks = {}
    size = (arguments.size, arguments.size)
    channels = {NETWORKS[parse_model(text)[0]].in_chans for text in names}
    if len(channels) > 1:
        raise InputError("these networks take grey and colour images: measure them apart")
    (in_chans,) = channels
    for text in names:
        name, config = parse_model(text)
        network = create_model(name, **config).eval()
        check_size(network, in_chans, size, text)
        networks[text] = network
    timed = time_networks(networks, (in_chans, *size), target=target, progress=progress)
    print_bench(timed, arguments.size, target)
    if arguments.json:
        figures = {
            "size": arguments.size,
            "target": target.describe(),
            "environment": environment(),
            "networks": [t.to_json() for t in timed],
        }
        write_json(arguments.json, figures)
    return 0


def _compare(arguments: argparse.Namespace) -> int:
    arguments.progress = progress = Progress()
    with progress.starting(f"comparing {', '.join(arguments.models)}, into {arguments.out}"):
        from nassuite.comparing import compare_networks
        from nassuite.terminal_models import print_comparison

    comparison = compare_networks(
        arguments.models,
        TrainSettings(**given_settings(arguments, TrainSettings)),
        out=arguments.out,
        target=target_of(arguments),
        progress=progress,
        command=["nassuite", *arguments.command_line],
        title=arguments.title,
    )
    print_comparison(comparison, arguments.out)
    return 0
