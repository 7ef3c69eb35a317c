"""``nassuite report`` and ``nassuite compare``."""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from nassuite.errors import InputError
from nassuite.folders import check_finished_search
from nassuite.progress import Progress


def add(commands: Any) -> None:
    report = commands.add_parser(
        "report",
        help="draw a run's report again from its records, or several runs against each other",
        description="Of one run, draws its report again; of several, what nassuite compare does.",
    )
    report.add_argument(
        "run_folders", metavar="RUN", type=Path, nargs="+", help="folder of a search; of several, any runs"
    )
    report.add_argument(
        "--out", type=Path, help="folder for the report (default: RUN/report; of several runs: comparison)"
    )
    report.add_argument(
        "--baselines", type=Path, metavar="DIR", help="folder of a zoo compare on the same images"
    )
    report.set_defaults(run=_report)

    compare = commands.add_parser(
        "compare",
        help="set runs on the same data against each other: searches, prunings, trainings",
        description="Writes a page, Markdown, figures and records: which run is best under which budget, whether that is "
        "more than chance, all Pareto fronts in one chart, and what differs between the settings.",
    )
    compare.add_argument(
        "run_folders", metavar="RUN", type=Path, nargs="+", help="folder of a search, a pruning or a training"
    )
    compare.add_argument("--out", type=Path, help="folder for the report (default: comparison)")
    compare.add_argument(
        "--measure",
        action="store_true",
        help="measure every file anew, all in the same rounds on this machine",
    )
    compare.add_argument("--threads", type=int, default=1, help="threads of the runtime (default: 1)")
    compare.add_argument("--title", default="", help="of the report")
    compare.set_defaults(run=_compare)


def _report(arguments: argparse.Namespace) -> int:
    if len(arguments.run_folders) > 1:
        if arguments.baselines:
            raise InputError("--baselines goes with one run: trainings are runs that a comparison takes")
        return _compared(arguments, measured=False)
    from nassuite.report import RECORDS, read_report, write_report
    from nassuite.report.choices import choice_facts
    from nassuite.report.comparison import read_comparison, with_baselines
    from nassuite.run_directory import RunDirectory

    run = RunDirectory(arguments.run_folders[0])
    folder = run.report if run.report.is_dir() else run.root
    if not (folder / RECORDS).is_file():
        check_finished_search(run.root)
    content = read_report(folder)
    if content.choices is None:  # records from before they were looked for
        content = dataclasses.replace(content, choices=choice_facts(content.evaluations))
    if arguments.baselines:
        content = with_baselines(content, read_comparison(arguments.baselines))
    _print(write_report(content, arguments.out or folder))
    return 0


def _compare(arguments: argparse.Namespace) -> int:
    return _compared(arguments, measured=arguments.measure)


def _compared(arguments: argparse.Namespace, *, measured: bool) -> int:
    arguments.progress = progress = Progress()
    out = arguments.out or Path("comparison")
    _check_out(out)

    from nassuite.comparing_runs import compare_runs
    from nassuite.report.runs_page import write_run_comparison

    comparison = compare_runs(
        arguments.run_folders,
        measured=measured,
        threads=getattr(arguments, "threads", 1),
        progress=progress,
        command=["nassuite", *arguments.command_line],
        title=getattr(arguments, "title", ""),
    )
    paths = write_run_comparison(comparison, out)

    from nassuite.terminal_models import print_run_comparison

    print_run_comparison(comparison)
    _print(paths)
    return 0


def _check_out(out: Path) -> None:
    """A comparison may be written over an earlier one, and over nothing else."""
    from nassuite.records import read_json
    from nassuite.report import RECORDS
    from nassuite.report.runs import KIND

    if not out.exists():
        return
    if not out.is_dir():
        raise InputError(f"--out {out}: that is a file, expected a folder")
    try:
        ours = not any(out.iterdir()) or read_json(out / RECORDS)["kind"] == KIND
    except (OSError, ValueError, KeyError, TypeError):
        ours = False
    if not ours:
        raise InputError(f"--out {out} holds something else than a comparison: give another folder")


def _print(paths: Sequence[Path]) -> None:
    for path in paths:
        print(path)
