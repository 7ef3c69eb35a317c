"""The command line: parse, call, print. Everything heavy is imported by the command that needs it."""

from __future__ import annotations

import argparse
import dataclasses
import os
import shlex
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from nassuite import __version__
from nassuite.errors import InputError
from nassuite.progress import Progress
from nassuite.settings import SUPERNET_SETTINGS, Settings, flag, load_study, settings_types

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
        code = parsed.run(parsed)
        sys.stdout.flush()
        return code
    except BrokenPipeError:
        # The reader has seen enough; what Python flushes at its end has nowhere to go.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
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
    run = getattr(parsed, "started", None)
    if run is None or not os.path.isfile(run / "study.toml"):  # that of pathlib raises for odd names
        return ""
    return f"; go on with: nassuite search --resume {shlex.quote(str(run))}"


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="nassuite",
        description="Images and a latency budget in; a small vision model that is measured to meet it out.",
    )
    parser.add_argument("--version", action="version", version=f"nassuite {__version__}")
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
        wanted = (load_study(arguments.study) if arguments.study else {}) | given
        settings = Settings(**(_inherited(arguments.reuse, wanted) | wanted))
        if not settings.budget_ms:
            raise InputError("no latency budget: give --budget-ms, for instance --budget-ms 20")
        out = arguments.out or default_run_folder(settings)
    arguments.started, arguments.progress = out, Progress()

    from nassuite.study import search
    from nassuite.terminal import print_outcome

    outcome = search(
        settings, out=out, resume=arguments.resume is not None, reuse=arguments.reuse,
        command=["nassuite", *arguments.command_line], expected_budgets=given.get("budget_ms"),
        progress=arguments.progress,
    )  # fmt: skip
    print_outcome(outcome)
    return 0 if outcome.ok else EXIT_MISSED


def _inherited(reuse: Path | None, wanted: dict[str, Any]) -> dict[str, Any]:
    """A run that reuses another has its settings, but for the budgets; those of the supernet cannot change."""
    if reuse is None:
        return {}
    from nassuite.run_directory import RunDirectory

    settings, _ = RunDirectory(reuse).read_settings()
    for name in SUPERNET_SETTINGS:
        theirs = getattr(settings, name)
        if wanted.get(name, theirs) != theirs:
            raise InputError(
                f"{flag(name)} {wanted[name]}: the supernet of --from {reuse} was trained with {theirs}; leave it "
                "out, or start a run without --from"
            )
    return {k: v for k, v in dataclasses.asdict(settings).items() if k != "budget_ms"}


def default_run_folder(settings: Settings) -> Path:
    kind, _, folder = settings.data.partition(":")
    name = Path(folder).resolve().name if kind == "folder" and folder else kind
    budgets = "-".join(f"{budget:g}" for budget in settings.budget_ms)
    return Path("runs") / f"{name or kind}-{budgets}ms-{time.strftime('%Y%m%d-%H%M%S')}"


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
