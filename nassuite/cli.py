"""The command line: parse, call, print. Everything heavy is imported by the command that needs it."""

from __future__ import annotations

import argparse
import dataclasses
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from nassuite.errors import InputError
from nassuite.settings import Settings, flag, load_study, settings_types

EXIT_MISSED, EXIT_INPUT, EXIT_INTERRUPTED = 1, 2, 130


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> Any:
        """One line, as for every refused input."""
        self.exit(EXIT_INPUT, f"{self.prog}: {message} (see {self.prog} --help)\n")


def main(arguments: Sequence[str] | None = None) -> int:
    arguments = sys.argv[1:] if arguments is None else list(arguments)
    parsed = _parser().parse_args(arguments)
    parsed.command_line = arguments
    try:
        return parsed.run(parsed)
    except InputError as error:
        print(f"nassuite: {error}", file=sys.stderr)
        return EXIT_INPUT
    except KeyboardInterrupt:
        print("\nnassuite: stopped; what was finished is kept", file=sys.stderr)
        return EXIT_INTERRUPTED
    except BrokenPipeError:
        return 0
    except OSError as error:
        where = f" ({error.filename})" if error.filename else ""
        print(f"nassuite: {error.strerror or error}{where}", file=sys.stderr)
        return EXIT_INPUT


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="nassuite",
        description="Images and a latency budget in; a small vision model that is measured to meet it out.",
    )
    commands = parser.add_subparsers(metavar="COMMAND", required=True, parser_class=_Parser)
    _add_search(commands)

    report = commands.add_parser("report", help="draw a run's report again from its records")
    report.add_argument("run_folder", metavar="RUN", type=Path)
    report.add_argument("--out", type=Path, help="folder for the report (default: RUN/report)")
    report.set_defaults(run=_report)

    status = commands.add_parser("status", help="say what of a run is done and what is left")
    status.add_argument("run_folder", metavar="RUN", type=Path)
    status.set_defaults(run=_status)

    space = commands.add_parser("space", help="search spaces")
    spaces = space.add_subparsers(metavar="COMMAND", required=True, parser_class=_Parser)
    show = spaces.add_parser("show", help="print a space, its size, and what its ends cost")
    show.add_argument("name", help="a shipped name or the path of a TOML file")
    show.set_defaults(run=_space_show)
    spaces.add_parser("list", help="the shipped spaces").set_defaults(run=_space_list)

    doctor = commands.add_parser("doctor", help="say what this machine has")
    doctor.add_argument("--data", default="digits", help="data to look for")
    doctor.set_defaults(run=_doctor)
    return parser


def _add_search(commands: Any) -> None:
    search = commands.add_parser(
        "search",
        help="find, compress and deploy models that keep latency budgets",
        description="Trains a supernet on your images, searches it under measured latency budgets, distils, prunes "
        "and quantises the winners, and writes ONNX files with certificates and a report. "
        "Exits with 1 where a budget cannot be kept.",
    )
    types = settings_types()
    for field in dataclasses.fields(Settings):
        kind, several = types[field.name]
        default = "" if field.default in (None, ()) else f" (default: {field.default})"
        search.add_argument(
            flag(field.name),
            type=kind,
            action="append" if several else "store",
            choices=field.metadata.get("choices"),
            metavar=None if field.metadata.get("choices") else field.name.split("_")[-1].upper(),
            help=field.metadata["help"] + default,
        )
    search.add_argument(
        "--study", help="settings from a shipped study or a TOML file; other flags win over it"
    )
    search.add_argument("--out", type=Path, help="run directory (default: runs/<data>-<budgets>-<date>)")
    search.add_argument("--resume", type=Path, metavar="RUN", help="continue the run in this directory")
    search.add_argument(
        "--from", dest="reuse", type=Path, metavar="RUN", help="reuse RUN's supernet and latency samples"
    )
    search.set_defaults(run=_search)


def _search(arguments: argparse.Namespace) -> int:
    given = {
        field.name: tuple(value) if isinstance(value, list) else value
        for field in dataclasses.fields(Settings)
        if (value := getattr(arguments, field.name)) is not None
    }
    if arguments.resume is not None:
        extra = [flag(name) for name in given if name != "budget_ms"]
        others = {"--out": arguments.out, "--from": arguments.reuse, "--study": arguments.study}
        extra += [name for name, value in others.items() if value is not None]
        if extra:
            raise InputError(f"--resume goes on with the run's own settings: leave out {', '.join(extra)}")
        settings, out = None, arguments.resume
    else:
        table = _inherited(arguments.reuse) | (load_study(arguments.study) if arguments.study else {}) | given
        settings = Settings(**table)
        if not settings.budget_ms:
            raise InputError("no latency budget: give --budget-ms, for instance --budget-ms 20")
        out = arguments.out or default_run_folder(settings)

    from nassuite.study import search
    from nassuite.terminal import print_outcome

    outcome = search(
        settings, out=out, resume=arguments.resume is not None, reuse=arguments.reuse,
        command=["nassuite", *arguments.command_line], expected_budgets=given.get("budget_ms"),
    )  # fmt: skip
    print_outcome(outcome)
    return 0 if outcome.ok else EXIT_MISSED


def _inherited(reuse: Path | None) -> dict[str, Any]:
    """A run that reuses another has its settings, but for the budgets."""
    if reuse is None:
        return {}
    from nassuite.run_directory import RunDirectory

    settings, _ = RunDirectory(reuse).read_settings()
    return {k: v for k, v in dataclasses.asdict(settings).items() if k != "budget_ms"}


def default_run_folder(settings: Settings) -> Path:
    kind, _, folder = settings.data.partition(":")
    name = Path(folder).name if kind == "folder" and folder else kind
    budgets = "-".join(f"{budget:g}" for budget in settings.budget_ms)
    return Path("runs") / f"{name}-{budgets}ms-{time.strftime('%Y%m%d-%H%M%S')}"


def _report(arguments: argparse.Namespace) -> int:
    from nassuite.report import read_report, write_report
    from nassuite.run_directory import RunDirectory

    run = RunDirectory(arguments.run_folder)
    folder = run.report if run.report.is_dir() else run.root
    for path in write_report(read_report(folder), arguments.out or folder):
        print(path)
    return 0


def _status(arguments: argparse.Namespace) -> int:
    from nassuite.run_directory import RunDirectory
    from nassuite.terminal import print_status

    print_status(RunDirectory(arguments.run_folder))
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


if __name__ == "__main__":
    sys.exit(main())
