"""``nassuite completion``."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any

SHELLS = ("bash", "zsh", "tcsh")


def add(commands: Any, make_parser: Callable[[], argparse.ArgumentParser]) -> None:
    completion = commands.add_parser(
        "completion",
        help="print a script that completes commands and options in a shell",
        description="For bash: nassuite completion bash > ~/.local/share/bash-completion/completions/nassuite",
    )
    completion.add_argument("shell", choices=SHELLS, help="which shell the script is for")
    completion.set_defaults(run=lambda arguments: _print(arguments, make_parser()))


def _print(arguments: argparse.Namespace, parser: argparse.ArgumentParser) -> int:
    import shtab

    print(shtab.complete(parser, arguments.shell))
    return 0
