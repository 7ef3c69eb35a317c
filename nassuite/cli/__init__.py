"""The command line: parse, call, print. Everything heavy is imported by the command that needs it."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from nassuite import __version__
from nassuite.cli import (
    audit,
    certify,
    completion,
    cost,
    dilations,
    distill,
    export,
    latency,
    prune,
    quantize,
    report,
    search,
    train,
    train_supernet,
    worker,
    zoo,
)  # fmt: skip
from nassuite.cli.parser import EXIT_INPUT, EXIT_INTERRUPTED, EXIT_MISSED, Parser
from nassuite.errors import DeviceNeeded, InputError
from nassuite.folders import SEARCH, kind_of, to_go_on


def main(arguments: Sequence[str] | None = None) -> int:
    arguments = sys.argv[1:] if arguments is None else list(arguments)
    parsed = make_parser().parse_args(arguments)
    parsed.command_line = arguments
    try:
        code = parsed.run(parsed)
        sys.stdout.flush()
        return code
    except BrokenPipeError:
        # The reader has seen enough; what Python flushes at its end has nowhere to go.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except DeviceNeeded as error:
        code, message = EXIT_MISSED, str(error)
    except (InputError, FloatingPointError) as error:
        code, message = EXIT_INPUT, str(error)
    except KeyboardInterrupt:
        code, message = EXIT_INTERRUPTED, "stopped" + _how_to_go_on(parsed)
    except OSError as error:
        where = f" ({error.filename})" if error.filename else ""
        code, message = EXIT_INPUT, f"{error.strerror or error}{where}" + _how_to_go_on(parsed)
    if hasattr(parsed, "progress"):
        parsed.progress.stop()
    print(f"nassuite: {message}", file=sys.stderr)
    return code


def _how_to_go_on(parsed: argparse.Namespace) -> str:
    run: Path | None = getattr(parsed, "started", None)
    kind = kind_of(run) if run else None
    if run is None or kind is None:
        return ""
    if kind == SEARCH:
        kind = replace(kind, command=getattr(parsed, "searches_by", kind.command))
    return f"; go on with: {to_go_on(run, kind)}"


def make_parser() -> argparse.ArgumentParser:
    parser = Parser(
        prog="nassuite",
        description="Images and a latency budget in; a small vision model that is measured to meet it out.",
    )
    parser.add_argument("--version", action="version", version=f"nassuite {__version__}")
    commands = parser.add_subparsers(metavar="COMMAND", required=True, parser_class=Parser)
    search.add(commands)
    train_supernet.add(commands)
    worker.add(commands)
    train.add(commands)
    prune.add(commands)
    distill.add(commands)
    quantize.add(commands)
    export.add(commands)
    zoo.add(commands)
    dilations.add(commands)
    latency.add(commands)
    certify.add(commands)
    cost.add(commands)
    audit.add(commands)
    report.add(commands)
    completion.add(commands, make_parser)

    status = commands.add_parser("status", help="say what of a run is done and what is left")
    status.add_argument(
        "run_folder",
        metavar="RUN",
        type=Path,
        help="folder of a search, a training, a distillation, a pruning or a quantisation; or one with several of them",
    )
    status.set_defaults(run=_status)

    space = commands.add_parser("space", help="search spaces")
    spaces = space.add_subparsers(metavar="COMMAND", required=True, parser_class=Parser)
    show = spaces.add_parser("show", help="print a space, its size, and what its ends cost")
    show.add_argument("name", help="a shipped name or the path of a TOML file")
    show.set_defaults(run=_space_show)
    spaces.add_parser("list", help="the shipped spaces").set_defaults(run=_space_list)

    doctor = commands.add_parser("doctor", help="say what this machine has")
    doctor.add_argument("--data", default="digits", help="data to look for")
    doctor.set_defaults(run=_doctor)
    return parser


def _status(arguments: argparse.Namespace) -> int:
    from nassuite.terminal_status import print_folder

    print_folder(arguments.run_folder)
    return 0


def _space_show(arguments: argparse.Namespace) -> int:
    from nassuite.space_file import load_space
    from nassuite.terminal import print_space

    print_space(load_space(arguments.name))
    return 0


def _space_list(arguments: argparse.Namespace) -> int:
    from nassuite.resources import shipped_names

    print("\n".join(shipped_names("search_spaces")))
    return 0


def _doctor(arguments: argparse.Namespace) -> int:
    from nassuite.terminal import print_doctor

    return print_doctor(arguments.data)
