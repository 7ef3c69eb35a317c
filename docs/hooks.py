"""Pages that mkdocs makes of the code: every command's --help, every public function's signature and docstring."""

from __future__ import annotations

import argparse
import inspect
import os
from collections.abc import Iterator
from typing import Any

from mkdocs.structure.files import File, Files

import nassuite
from nassuite.cli import make_parser


def on_files(files: Files, config: Any) -> Files:
    # argparse folds its help to the terminal's width.
    os.environ["COLUMNS"] = "90"
    for path, content in (
        ("reference/commands.md", "\n".join(_commands())),
        ("reference/python.md", "\n".join(_public())),
    ):
        files.append(File.generated(config, path, content=content))
    return files


def _commands() -> Iterator[str]:
    yield "# Commands\n\nWhat `--help` prints. Exit codes: 0, all is well; 1, a budget or target is missed; 2, input that was "
    yield "refused, with one line that says why; 130, stopped by Ctrl-C.\n"
    for parser in _parsers(make_parser()):
        yield f"## {parser.prog}\n\n```text\n{parser.format_help().rstrip()}\n```\n"


def _parsers(parser: argparse.ArgumentParser) -> Iterator[argparse.ArgumentParser]:
    """The commands that do something: those without commands of their own."""
    groups = [a for a in parser._actions if isinstance(a, argparse._SubParsersAction)]
    if not groups:
        yield parser
    for group in groups:
        for command in group.choices.values():
            yield from _parsers(command)


def _public() -> Iterator[str]:
    yield "# Python\n\nWhat `import nassuite` offers. Everything else is open to use, and may change.\n"
    for name in nassuite.__all__:
        value = getattr(nassuite, name)
        yield f"## {name}\n"
        if not (isinstance(value, type) and issubclass(value, Exception)):
            yield f"```python\n{name}{inspect.signature(value)}\n```\n"
        yield f"```text\n{inspect.getdoc(value)}\n```\n\nIn `{value.__module__}`.\n"
