"""Are budgets kept? Winners for 20 budgets, each certified again in a fresh process.

    python studies/budget_guarantee.py            # tiny and mobile, 10 budgets each: reports/budget_guarantee
    python studies/budget_guarantee.py --analyse  # again from the records, without measuring

Only the latency promise is tried, so nothing is trained. For each budget the search goes as in
``nassuite search``: calibration, Optuna trials under the predictor, finalists measured as exported files, and
the search's own choice of a winner. What stands in for accuracy in the trials grows with the logarithm
of the MACs, with noise of two points; the finalists are judged on digits with fresh weights, so that they can hardly be
told apart, and of those that cannot the one of most MACs wins. That pushes winners against their budgets: the hardest
case for the promise. The winner's file is certified again later by ``nassuite certify``. Resumable: run it again
after an interruption.
"""

from __future__ import annotations

import argparse
import dataclasses
import io
import math
import random
import shlex
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from nassuite.errors import InputError
from nassuite.flow import Flow, prepare
from nassuite.latency.kernels import layers
from nassuite.latency.meter import Meter, measure, normalised_ms
from nassuite.metrics import binomial_interval
from nassuite.progress import Progress
from nassuite.records import (
    SCHEMA_VERSION,
    append_jsonl,
    environment,
    read_json,
    read_jsonl,
    write_bytes,
    write_json,
    write_text,
)
from nassuite.report.figures import SETTINGS
from nassuite.report.words import duration, milliseconds, percent
from nassuite.run_directory import RunDirectory
from nassuite.search.driver import Objective, SearchConfig, drop_torn_line, run_trials, sweep
from nassuite.settings import Settings
from nassuite.spec import Arch
from nassuite.stages import calibrate, measure_finalists

TOLERANCE = 0.02
LEAST_KEPT = 0.95
SLACK = 0.05
NOISE = 0.02
Certifier = Callable[[Path, float, Path], None]
"""Certifies a file for a budget and writes the certificate there."""


def main(
    arguments: Sequence[str] | None = None, *, meter: Meter = measure, certifier: Certifier | None = None
) -> None:
    given = _parser().parse_args(arguments)
    progress = Progress()
    if not given.analyse:
        for space in given.spaces:
            search_all(space, given, meter, progress)
        certify_all(given, certifier or certify_in_a_fresh_process, progress)
    for path in write(read_rows(given), given):
        print(path)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--spaces", nargs="+", default=["tiny", "mobile"])
    parser.add_argument("--budgets", type=int, default=10, help="of each space")
    parser.add_argument("--calibration", type=int, default=160)
    parser.add_argument("--trials", type=int, default=72)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--work", type=Path, default=Path("runs/budget-guarantee"), help="measurements")
    parser.add_argument("--out", type=Path, default=Path("reports/budget_guarantee"))
    parser.add_argument("--analyse", action="store_true", help="from what is in --work alone")
    return parser


# --- searching --------------------------------------------------------------------------------------


def search_all(space: str, given: argparse.Namespace, meter: Meter, progress: Progress) -> None:
    """A winner for each budget between the space's ends, into WORK/SPACE/BUDGET."""
    settings = Settings(
        budget_ms=(1.0,), data="digits", train_images=64, space=space,
        calibration=given.calibration, trials=given.trials, seed=given.seed, device="cpu",
    )  # fmt: skip
    flow = prepare(RunDirectory(given.work / space), settings, progress=progress, meter=meter)
    started = time.monotonic()
    calibrate(flow)
    _spent(given, space, "calibration", started)
    for budget in budgets_between(normalised_ms(flow.samples), given.budgets):
        own = RunDirectory(flow.run.root / f"{budget:g}ms")
        if (own.root / "winner.json").exists():
            continue
        one = dataclasses.replace(
            flow, run=own, settings=dataclasses.replace(flow.settings, budget_ms=(budget,))
        )
        one.samples, one.predictor, one.supernet = flow.samples, flow.predictor, flow.supernet
        one.recalibration_batches = flow.recalibration_batches
        started = time.monotonic()
        progress.say(f"{space}, budget {budget:g} ms")
        search_one(one, budget)
        _spent(given, space, "search", started)


def budgets_between(latencies: Sequence[float], count: int) -> list[float]:
    """From a tenth above the fastest to a tenth below the slowest, in equal ratios, to three digits."""
    low, high = 1.1 * min(latencies), 0.9 * max(latencies)
    return [float(f"{low * (high / low) ** (i / max(1, count - 1)):.3g}") for i in range(count)]


def search_one(flow: Flow, budget: float) -> None:
    """The search's own stages, with a stand-in for accuracy; the winner's file and figures are written."""
    drop_torn_line(flow.run.journal)
    sweep(flow.study)
    config = SearchConfig(
        flow.settings.trials, (budget / flow.margin,), flow.settings.sampler, flow.settings.seed
    )
    run_trials(flow.study, flow.space, Objective(stand_in(flow), flow.predict_ms), config, flow.progress)
    measure_finalists(flow)
    winner = read_json(flow.run.finalists)[f"{budget:g}"]["winner"]
    if winner is not None:
        flow.export(Arch.from_json(winner["arch"]), flow.run.root / "winner.onnx")
    write_json(flow.run.root / "winner.json", {"budget_ms": budget, "winner": winner})


def stand_in(flow: Flow) -> Callable[[Arch], float]:
    """Between 0.5 and 0.9, with the logarithm of the MACs between the space's ends, and noise from the digest."""

    def log_macs(arch: Arch) -> float:
        return math.log(sum(layer.macs for layer in layers(arch, flow.data.in_chans)))

    low, high = (log_macs(flow.space.extreme(which)) for which in ("smallest", "largest"))

    def accuracy(arch: Arch) -> float:
        noise = random.Random(arch.digest).gauss(0, NOISE)
        return 0.5 + 0.4 * (log_macs(arch) - low) / (high - low) + noise

    return accuracy


def _spent(given: argparse.Namespace, space: str, phase: str, started: float) -> None:
    seconds = round(time.monotonic() - started, 1)
    append_jsonl(given.work / "seconds.jsonl", {"space": space, "phase": phase, "seconds": seconds})


# --- certifying again -------------------------------------------------------------------------------


def certify_all(given: argparse.Namespace, certifier: Certifier, progress: Progress) -> None:
    """Each winner again; what is certified is not certified a second time."""
    winners = [path for path in _winner_files(given) if read_json(path)["winner"] is not None]
    for path in progress.track(winners, "certifying again"):
        certificate = path.parent / "certificate.json"
        if not certificate.exists():
            started = time.monotonic()
            certifier(path.parent / "winner.onnx", read_json(path)["budget_ms"], certificate)
            _spent(given, path.parent.parent.name, "certificate", started)


def certify_in_a_fresh_process(model: Path, budget: float, certificate: Path) -> None:
    command = [
        sys.executable, "-m", "nassuite", "certify", str(model), "--budget-ms", f"{budget:g}", "--out", str(certificate)
    ]  # fmt: skip
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    if run.returncode not in (0, 1):  # 1 is a verdict other than pass
        raise InputError(f"{model}: {run.stderr.strip()}")


def _winner_files(given: argparse.Namespace) -> list[Path]:
    found = [path for space in given.spaces for path in (given.work / space).glob("*/winner.json")]
    return sorted(found, key=lambda path: (given.spaces.index(path.parts[-3]), read_json(path)["budget_ms"]))


# --- reporting --------------------------------------------------------------------------------------


def read_rows(given: argparse.Namespace) -> list[dict[str, Any]]:
    """One for each budget. Raises InputError where something is lacking."""
    rows: list[dict[str, Any]] = []
    for path in _winner_files(given):
        found, certificate = read_json(path), path.parent / "certificate.json"
        winner, row = found["winner"], {"space": path.parts[-3], "budget_ms": found["budget_ms"]}
        if winner is not None:
            if not certificate.exists():
                raise InputError(
                    f"{path.parent}: is not certified yet: run the study without --analyse to go on"
                )
            again = read_json(certificate)
            row |= {
                "arch": str(Arch.from_json(winner["arch"])), "macs": winner["macs"],
                "predicted_ms": winner["predicted_ms"], "chosen_ms": winner["latency_ms"],
                "p50_ms": again["percentile_ms"], "verdict": again["verdict"],
                "sha256": again["measurement"]["sha256"], "rejected": again["measurement"]["rejected"],
                "target": again["measurement"]["target"],
            }  # fmt: skip
        rows.append(row)
    if len(rows) < given.budgets * len(given.spaces):
        raise InputError(
            f"{given.work}: {len(rows)} of {given.budgets * len(given.spaces)} budgets are searched: run the study "
            "without --analyse to go on"
        )
    return rows


def write(rows: Sequence[dict[str, Any]], given: argparse.Namespace) -> list[Path]:
    facts = {
        "schema_version": SCHEMA_VERSION, "command": shlex.join(["python", *sys.argv]), "environment": environment(),
        "settings": {"calibration": given.calibration, "trials": given.trials, "seed": given.seed},
        "seconds": read_jsonl(given.work / "seconds.jsonl"), "rows": list(rows),
    }  # fmt: skip
    svg, png = _figure(rows, given.spaces)
    write_json(given.out / "records.json", facts)
    write_bytes(given.out / "budgets.svg", svg)
    write_bytes(given.out / "budgets.png", png)
    write_text(given.out / "report.md", "\n".join(_lines(rows, facts)) + "\n")
    return [given.out / name for name in ("report.md", "records.json", "budgets.svg", "budgets.png")]


def _lines(rows: Sequence[dict[str, Any]], facts: dict[str, Any]) -> list[str]:
    won = [row for row in rows if "p50_ms" in row]
    kept = [row for row in won if row["p50_ms"] <= row["budget_ms"] * (1 + TOLERANCE)]
    low, high = binomial_interval(len(kept), len(rows))
    slack = statistics.median(1 - row["p50_ms"] / row["budget_ms"] for row in won) if won else math.nan
    passed = sum(row["verdict"] == "pass" for row in won)
    lines = [
        "# Are budgets kept?", "",
        "| aim | reached | |", "|---|---|---|",
        f"| {percent(LEAST_KEPT, 0)} of the winners within the budget + {percent(TOLERANCE, 0)}, certified again | {len(kept)} of "
        f"{len(rows)} ({percent(low)} to {percent(high)}) | {_yes(len(kept) >= LEAST_KEPT * len(rows))} |",
        f"| median slack {percent(SLACK, 0)} or less | {percent(slack)} | {_yes(slack <= SLACK)} |",
        "",
        f"{passed} of {len(rows)} pass the second certificate outright (99 % confidence that the median is within the budget "
        "itself). Slack is what a winner leaves of its budget.",
        "",
        "![Winners against budgets](budgets.svg)",
        "",
        "| space | budget | predicted | measured as a finalist | certified again | slack | verdict | MACs |",
        "|---|---:|---:|---:|---:|---:|---|---:|",
    ]  # fmt: skip
    for row in rows:
        start = f"| {row['space']} | {row['budget_ms']:g} ms | "
        if "p50_ms" not in row:
            lines.append(start + "no architecture was found | | | | | |")
            continue
        lines.append(
            f"{start}{milliseconds(row['predicted_ms'])} | {milliseconds(row['chosen_ms'])} | {milliseconds(row['p50_ms'])} | "
            f"{percent(1 - row['p50_ms'] / row['budget_ms'])} | {row['verdict']} | {row['macs'] / 1e6:.1f} M |"
        )
    return [*lines, "", *_method(won, facts)]


def _method(won: Sequence[dict[str, Any]], facts: dict[str, Any]) -> list[str]:
    settings = facts["settings"]
    spent: dict[str, float] = {}
    for entry in facts["seconds"]:
        spent[entry["phase"]] = spent.get(entry["phase"], 0.0) + entry["seconds"]
    times = ", ".join(f"{phase} {duration(seconds)}" for phase, seconds in spent.items())
    target = won[0]["target"] if won else None
    return [
        "## How it was made", "",
        "Nothing was trained, as only the latency promise is tried. Calibration, trials, finalists and the choice of the "
        f"winner are the search's own ({settings['trials']} trials for each budget). In the trials, what stands in for accuracy is "
        "0.5 to 0.9 with the logarithm of the MACs between the ends of the space, and noise of 2 points. Finalists were judged on "
        "digits with fresh weights: they can hardly be told apart, and of those that cannot the one of most MACs that passes its "
        "certificate wins, which pushes winners against their budgets.",
        "",
        f"```sh\n{facts['command']}\n```",
        "",
        f"- time: {times}",
        *([f"- {target['cpu']['name']}, {target['runtime']} {target['runtime_version']}, one thread"] if target else []),
        f"- nassuite at commit {facts['environment'].get('commit')}, seed {settings['seed']}",
    ]  # fmt: skip


def _yes(held: bool) -> str:
    return "yes" if held else "**no**"


def _figure(rows: Sequence[dict[str, Any]], spaces: Sequence[str]) -> tuple[bytes, bytes]:
    """What each winner takes of its budget, as (SVG, PNG), on white."""
    import matplotlib
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    with matplotlib.rc_context(SETTINGS):
        figure = Figure(figsize=(9, 3.6), layout="constrained")
        FigureCanvasAgg(figure)
        axes = figure.add_subplot()
        axes.axhspan(100 - 100 * SLACK, 100, color="#eef1f4")
        axes.axhline(100, color="#1a1e24", linewidth=1, linestyle=(0, (5, 4)))
        for space, colour in zip(spaces, ("#0072b2", "#e69f00", "#009e73"), strict=False):
            won = [row for row in rows if row["space"] == space and "p50_ms" in row]
            shares = 100 * np.array([row["p50_ms"] / row["budget_ms"] for row in won])
            axes.scatter([row["budget_ms"] for row in won], shares, color=colour, s=28, label=space, zorder=3)
        axes.set_xscale("log")
        axes.xaxis.set_major_formatter("{x:g}")
        axes.set_xlabel("budget, ms")
        axes.set_ylabel("certified again, % of the budget")
        axes.legend(frameon=False)
        svg, png = io.BytesIO(), io.BytesIO()
        figure.savefig(svg, format="svg", metadata={"Date": None, "Creator": None})
        figure.savefig(png, format="png", dpi=160, metadata={"Software": None})
    return svg.getvalue(), png.getvalue()


if __name__ == "__main__":
    try:
        main()
    except InputError as error:
        sys.exit(f"budget_guarantee: {error}")
