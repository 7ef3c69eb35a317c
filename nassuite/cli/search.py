"""``nassuite search``."""

from __future__ import annotations

import argparse
import dataclasses
from pathlib import Path
from typing import Any

from nassuite.cli.parser import EXIT_MISSED, add_settings, given_settings
from nassuite.errors import InputError
from nassuite.progress import Progress
from nassuite.run_directory import RunDirectory, dated_folder
from nassuite.settings import SHARED_SETTINGS, SUPERNET_SETTINGS, Settings, check_budgets, flag, load_study


def add(commands: Any) -> None:
    search = commands.add_parser(
        "search",
        help="find, compress and deploy models that keep latency budgets",
        description="Trains a supernet on your images, searches it under measured latency budgets, distils, prunes "
        "and quantises the winners, and writes ONNX files with certificates and a report. "
        "Exits with 1 where a budget cannot be kept.",
    )
    add_settings(search, Settings)
    search.add_argument(
        "--study", help="settings from a shipped study or a TOML file; other flags win over it"
    )
    search.add_argument("--out", type=Path, help="run directory (default: runs/<data>-<budgets>-<date>)")
    search.add_argument("--resume", type=Path, metavar="RUN", help="continue the run in this directory")
    search.add_argument(
        "--from", dest="reuse", type=Path, metavar="RUN", help="reuse RUN's supernet and latency samples"
    )
    search.add_argument(
        "--init", type=Path, metavar="RUN",
        help="begin with the weights of RUN's supernet, of the same space; other classes get a new head",
    )  # fmt: skip
    search.add_argument(
        "--no-latency-cache", action="store_true",
        help="measure every architecture for the predictor anew, also those that earlier runs measured here",
    )  # fmt: skip
    search.set_defaults(run=_search)


def _search(arguments: argparse.Namespace) -> int:
    given = given_settings(arguments, Settings)
    if arguments.resume is not None:
        extra = [flag(name) for name in given if name != "budget_ms"]
        others = {
            "--out": arguments.out, "--from": arguments.reuse, "--init": arguments.init, "--study": arguments.study
        }  # fmt: skip
        extra += [name for name, value in others.items() if value is not None]
        if extra:
            raise InputError(f"--resume goes on with the run's own settings: leave out {', '.join(extra)}")
        settings, out = None, arguments.resume
    else:
        wanted = (load_study(arguments.study) if arguments.study else {}) | given
        settings = Settings(**(_inherited(arguments.reuse, wanted) | wanted))
        check_budgets(settings)
        out = arguments.out or default_run_folder(settings)
    arguments.started, arguments.progress = out, Progress()
    with arguments.progress.starting(_said(settings, out)):
        from nassuite.latency.cache import CachedMeter
        from nassuite.latency.meter import measure
        from nassuite.study import search
        from nassuite.terminal import print_outcome

    outcome = search(
        settings, out=out, resume=arguments.resume is not None, reuse=arguments.reuse, init=arguments.init,
        command=["nassuite", *arguments.command_line], expected_budgets=given.get("budget_ms"),
        meter=measure if arguments.no_latency_cache else CachedMeter(measure, progress=arguments.progress),
        progress=arguments.progress,
    )  # fmt: skip
    print_outcome(outcome)
    return 0 if outcome.ok else EXIT_MISSED


def _said(settings: Settings | None, out: Path) -> str:
    if settings is None:
        return f"going on with {out}"
    aim = " and ".join(f"{budget:g}" for budget in settings.budget_ms)
    return f"searching {settings.data} for {f'{aim} ms' if aim else 'the whole front'}, into {out}"


def _inherited(reuse: Path | None, wanted: dict[str, Any]) -> dict[str, Any]:
    """A run that reuses another has its settings, but for its aim; those of the supernet cannot change."""
    if reuse is None:
        return {}
    settings, _ = RunDirectory(reuse).read_settings()
    for name in SUPERNET_SETTINGS:
        theirs = getattr(settings, name)
        if wanted.get(name, theirs) != theirs:
            raise InputError(
                f"{flag(name)} {wanted[name]}: the supernet of --from {reuse} was trained with {theirs}; leave it "
                "out, or start a run without --from"
            )
    own = ["budget_ms", "objective", "time_limit"]
    if wanted.get("time_limit"):
        own += SHARED_SETTINGS  # theirs were not given, or for another time
    return {k: v for k, v in dataclasses.asdict(settings).items() if k not in own}


def default_run_folder(settings: Settings) -> Path:
    """runs/<data>-<budgets>-<date>."""
    kind, _, folder = settings.data.partition(":")
    name = Path(folder).resolve().name if kind == "folder" and folder else kind
    aim = "-".join(f"{budget:g}" for budget in settings.budget_ms) + "ms" if settings.budget_ms else "pareto"
    return dated_folder(name or kind, aim)
