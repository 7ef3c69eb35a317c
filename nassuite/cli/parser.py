"""What all commands share: the parser and the exit codes."""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from nassuite.errors import InputError, did_you_mean
from nassuite.folders import check_writable
from nassuite.settings import flag, settings_types

EXIT_MISSED, EXIT_INPUT, EXIT_INTERRUPTED = 1, 2, 130


class Parser(argparse.ArgumentParser):
    def error(self, message: str) -> Any:
        """One line, as for every refused input."""
        self.exit(EXIT_INPUT, f"{self.prog}: {message} (see {self.prog} --help)\n")

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """What is left over is refused by the command that it was given to, which knows what it takes."""
        found, left = super().parse_known_args(args, namespace)
        if left:
            hint = self._options_like(left)
            self.error(f"unrecognized arguments: {' '.join(left)}" + (f": {hint}" if hint else ""))
        return found, left

    def _options_like(self, words: Sequence[str]) -> str:
        """What the first mistyped option among ``words`` may have been meant for."""
        # The dashes, alike in all, would make any two options similar.
        mistyped = next((word.partition("=")[0].lstrip("-") for word in words if word.startswith("-")), "")
        known = [name for name in self._option_string_actions if name.startswith("--")]
        return did_you_mean(mistyped, [name.lstrip("-") for name in known], most=1, sign="--")

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        """A command that there is not is answered with one like it, not with the list of all."""
        if isinstance(action, argparse._SubParsersAction) and value not in action.choices:
            hint = did_you_mean(str(value), action.choices)
            self.error(f"there is no command {value!r}" + (f": {hint}" if hint else ""))
        super()._check_value(action, value)


def check_file(path: Path, name: str) -> None:
    """Raises InputError where no file can be written, before there is anything to lose; ``name`` is the flag's."""
    if path.is_dir():
        raise InputError(f"{name} {path} is a folder: give the name of a file")
    check_writable(path.parent, f"{name} {path}")


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
