"""How a study ends: its records and its report, in the folder that ``--out`` names."""

from __future__ import annotations

import argparse
import shlex
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from nassuite.records import SCHEMA_VERSION, environment, write_json, write_text

DIGITS = 6


def publish(
    given: argparse.Namespace,
    arguments: Sequence[str] | None,
    markdown: Callable[[dict[str, Any]], str],
    **found: Any,
) -> None:
    """Writes records.json, with all settings and what was ``found``, and report.md, which ``markdown`` makes of it.

    ``arguments`` are those that the study was called with from Python, None where it was the command line.
    """
    record = {
        "schema_version": SCHEMA_VERSION,
        "command": shlex.join(["python", *sys.argv]) if arguments is None else "",
        "settings": {key: _plain(value) for key, value in vars(given).items()},
        "environment": environment(), "finished": time.strftime("%Y-%m-%d"), **found,
    }  # fmt: skip
    write_json(given.out / "records.json", record)
    write_text(given.out / "report.md", markdown(record))
    print(given.out / "report.md")


def rounded(value: Any) -> Any:
    """The same with numbers of ``DIGITS`` digits: what is drawn and read needs no more, and a report stays small."""
    if isinstance(value, dict):
        return {key: rounded(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [rounded(part) for part in value]
    return float(f"{value:.{DIGITS}g}") if isinstance(value, float) else value


def _plain(value: Any) -> Any:
    if isinstance(value, list):
        return [_plain(part) for part in value]
    return str(value) if isinstance(value, Path) else value
