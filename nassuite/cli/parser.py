"""What all commands share: the parser and the exit codes."""

from __future__ import annotations

import argparse
import dataclasses
from typing import Any

from nassuite.settings import flag, settings_types

EXIT_MISSED, EXIT_INPUT, EXIT_INTERRUPTED = 1, 2, 130


class Parser(argparse.ArgumentParser):
    def error(self, message: str) -> Any:
        """One line, as for every refused input."""
        self.exit(EXIT_INPUT, f"{self.prog}: {message} (see {self.prog} --help)\n")


def add_settings(parser: argparse.ArgumentParser, kind: type, *, leave_out: tuple[str, ...] = ()) -> None:
    """A flag for every field of a settings dataclass; what is not given stays None."""
    types = settings_types(kind)
    for field in dataclasses.fields(kind):
        if field.name in leave_out:
            continue
        one, several = types[field.name]
        default = "" if field.default in (None, ()) else f" (default: {field.default})"
        parser.add_argument(
            flag(field.name),
            type=one,
            action="append" if several else "store",
            choices=field.metadata.get("choices"),
            metavar=None if field.metadata.get("choices") else field.name.split("_")[-1].upper(),
            help=field.metadata["help"] + default,
        )


def given_settings(arguments: argparse.Namespace, kind: type) -> dict[str, Any]:
    """What the user gave of them."""
    return {
        field.name: tuple(value) if isinstance(value, list) else value
        for field in dataclasses.fields(kind)
        if (value := getattr(arguments, field.name, None)) is not None
    }
