"""Are budgets kept? Winners for 20 budgets, each certified again in a fresh process.

    python studies/budget_guarantee.py            # 12 budgets in tiny, 8 in mobile: reports/budget_guarantee
    python studies/budget_guarantee.py --analyse  # again from the records, without measuring

Only the latency promise is tried, so nothing is trained. For each budget the search goes as in
``nassuite search``: calibration, Optuna trials under the predictor, finalists measured as exported files, and
the search's own choice of a winner. What stands in for accuracy in the trials grows with the logarithm
of the MACs, with noise of two points; the finalists are judged on a single image, so that none can be told from another,
and of those that cannot the one of most MACs wins. That pushes winners against their budgets: the hardest
case for the promise. The winner's file is then certified again by ``nassuite certify``, in a process of its own, and once more when all
budgets are searched; what the report says is worked out again from the raw samples of those certificates. Resumable:
run it again after an interruption.
"""

from __future__ import annotations

import argparse
import dataclasses
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
from unittest.mock import patch

import numpy as np
from matplotlib.figure import Figure

from nassuite import exploring
from nassuite.errors import InputError
from nassuite.flow import Flow, prepare
from nassuite.latency.certificate import check
from nassuite.latency.kernels import layers
from nassuite.latency.meter import Measurement, Meter, measure, normalised_ms
from nassuite.latency.target import Target
from nassuite.metrics import binomial_interval
from nassuite.nominating import measure_finalists
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
from nassuite.report.figures import drawn
from nassuite.report.words import duration, milliseconds, percent
from nassuite.run_directory import RunDirectory
from nassuite.settings import Settings
from nassuite.spec import Arch
from nassuite.stages import calibrate

TOLERANCE = 0.02
LEAST_KEPT = 0.95
SLACK = 0.05
NOISE = 0.02
VAL_IMAGES = 1
CERTIFICATE, LATER = "certificate.json", "later.json"
Certifier = Callable[[Path, float, Path], None]
"""Certifies a file for a budget and writes the certificate there."""


def main(
    arguments: Sequence[str] | None = None, *, meter: Meter = measure, certifier: Certifier | None = None
) -> None:
    given = _parser().parse_args(arguments)
    certifier = certifier or certify_in_a_fresh_process
    if len(given.budgets) != len(given.spaces):
        raise InputError(
            f"{len(given.budgets)} --budgets for {len(given.spaces)} --spaces: give one for each"
        )
    progress = Progress()
    if not given.analyse:
        begin(given)
        for space, count in zip(given.spaces, given.budgets, strict=True):
            search_all(space, count, given, meter=meter, certifier=certifier, progress=progress)
        for path in progress.track(_winner_files(given), "certifying once more"):
            certify_again(path, LATER, given, certifier)
    facts = read_facts(given)
    for path in write(read_rows(given), facts, given):
        print(path)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--spaces", nargs="+", default=["tiny", "mobile"])
    parser.add_argument("--budgets", type=int, nargs="+", default=[12, 8], help="how many, of each space")
    parser.add_argument("--calibration", type=int, default=160)
    parser.add_argument("--trials", type=int, default=72)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--work", type=Path, default=Path("runs/budget-guarantee"), help="measurements")
    parser.add_argument("--out", type=Path, default=Path("reports/budget_guarantee"))
    parser.add_argument("--analyse", action="store_true", help="from what is in --work alone")
    return parser


def begin(given: argparse.Namespace) -> None:
    """Writes what the records belong to, or refuses to add to those of something else."""
    path, ours = given.work / "study.json", _settings(given)
    if not path.exists():
        facts = {
            "settings": ours, "environment": environment(), "command": shlex.join(["python", *sys.argv]),
            "started": time.strftime("%Y-%m-%dT%H:%M:%S%z"), "target": Target().key,
        }  # fmt: skip
        write_json(path, facts)
        return
    facts = read_facts(given)
    if facts["target"] != Target().key:
        raise InputError(f"{given.work} was measured on {facts['target']}: give another --work")


def read_facts(given: argparse.Namespace) -> dict[str, Any]:
    """Raises InputError where there are none, or they are of other settings."""
    if not (given.work / "study.json").is_file():
        raise InputError(f"{given.work}: holds no measurements: run the study without --analyse first")
    facts, ours = read_json(given.work / "study.json"), _settings(given)
    differing = ", ".join(key for key in ours if facts["settings"].get(key) != ours[key])
    if differing:
        raise InputError(f"{given.work} was measured with other {differing}: give another --work")
    return facts


def _settings(given: argparse.Namespace) -> dict[str, Any]:
    return {name: getattr(given, name) for name in ("spaces", "budgets", "calibration", "trials", "seed")}


# --- searching --------------------------------------------------------------------------------------


def search_all(
    space: str,
    count: int,
    given: argparse.Namespace,
    *,
    meter: Meter,
    certifier: Certifier,
    progress: Progress,
) -> None:
    """A winner for each budget between the space's ends, into WORK/SPACE/BUDGET."""
    settings = Settings(
        budget_ms=(1.0,), data="digits", train_images=64, space=space,
        calibration=given.calibration, trials=given.trials, seed=given.seed, device="cpu",
    )  # fmt: skip
    flow = prepare(RunDirectory(given.work / space), settings, progress=progress, meter=meter)
    # Fresh weights are right by chance alone, which must not decide.
    flow.data = dataclasses.replace(flow.data, val=flow.data.val.subset(VAL_IMAGES, seed=given.seed))
    started = time.monotonic()
    calibrate(flow)
    _spent(given, space, "calibration", started)
    for budget in budgets_between(normalised_ms(flow.samples), count):
        own = RunDirectory(flow.run.root / f"{budget:g}ms")
        if not (own.root / "winner.json").exists():
            one = dataclasses.replace(
                flow, run=own, settings=dataclasses.replace(flow.settings, budget_ms=(budget,))
            )
            one.samples, one.predictor, one.supernet = flow.samples, flow.predictor, flow.supernet
            one.recalibration_batches = flow.recalibration_batches
            started = time.monotonic()
            progress.say(f"{space}, budget {budget:g} ms")
            search_one(one, budget)
            _spent(given, space, "search", started)
        certify_again(own.root / "winner.json", CERTIFICATE, given, certifier)


def budgets_between(latencies: Sequence[float], count: int) -> list[float]:
    """From a tenth above the fastest to a tenth below the slowest, in equal ratios, to three digits."""
    low, high = 1.1 * min(latencies), 0.9 * max(latencies)
    return [float(f"{low * (high / low) ** (i / max(1, count - 1)):.3g}") for i in range(count)]


def search_one(flow: Flow, budget: float) -> None:
    """The search's own stages, with a stand-in for accuracy; the winner's file and figures are written."""
    accuracy = stand_in(flow)
    with patch.object(exploring, "accuracy_of", lambda flow, arch, val: accuracy(arch)):
        exploring.explore(flow)
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


def certify_again(winner: Path, name: str, given: argparse.Namespace, certifier: Certifier) -> None:
    """Certifies a winner into the file ``name`` beside it, where there is a winner and not that file."""
    certificate, found = winner.parent / name, read_json(winner)
    if found["winner"] is not None and not certificate.exists():
        started = time.monotonic()
        certifier(winner.parent / "winner.onnx", found["budget_ms"], certificate)
        _spent(given, winner.parent.parent.name, "certificates", started)


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
    """One for each budget. Raises InputError where something is lacking, or a certificate is not of the winner."""
    files = _winner_files(given)
    for space, count in zip(given.spaces, given.budgets, strict=True):
        found = sum(path.parts[-3] == space for path in files)
        if found != count:
            raise InputError(
                f"{given.work}: {found} of {count} budgets in {space} are searched: run the study without --analyse to go on"
            )
    return [_row(path) for path in files]


def _row(path: Path) -> dict[str, Any]:
    found = read_json(path)
    winner, row = found["winner"], {"space": path.parts[-3], "budget_ms": found["budget_ms"]}
    if winner is None:
        return row
    verdict, measurement = _certified(path, CERTIFICATE, found["budget_ms"])
    _, later = _certified(path, LATER, found["budget_ms"])
    return row | {
        "arch": str(Arch.from_json(winner["arch"])), "macs": winner["macs"],
        "predicted_ms": winner["predicted_ms"], "chosen_ms": winner["latency_ms"],
        "p50_ms": measurement.p50_ms, "verdict": verdict, "noisy": measurement.noisy, "sha256": measurement.sha256,
        "rejected": measurement.rejected, "target": measurement.target,
        "pace": measurement.reference_ms / winner["reference_ms"], "unsteady": _unsteady(path.parent, found),
        "later_ms": later.p50_ms, "later_pace": later.reference_ms / winner["reference_ms"],
    }  # fmt: skip


def _unsteady(folder: Path, found: dict[str, Any]) -> int:
    """How many finalists larger than the winner had a median under the budget, and yet no certificate."""
    (entry,) = read_json(folder / "finalists.json").values()
    larger = [f for f in entry["finalists"] if f["macs"] > found["winner"]["macs"]]
    return sum(f["p50_ms"] <= found["budget_ms"] and not f["passes"] for f in larger)


def _certified(winner: Path, name: str, budget: float) -> tuple[str, Measurement]:
    """Hash and verdict again, and the figures, from the samples alone."""
    certificate = winner.parent / name
    if not certificate.exists():
        raise InputError(f"{winner.parent}: is not certified yet: run the study without --analyse to go on")
    again = read_json(certificate)
    if again["budget_ms"] != budget:
        raise InputError(f"{certificate}: is for {again['budget_ms']:g} ms, not {budget:g}")
    return check(again, winner.parent / "winner.onnx"), Measurement.from_json(again["measurement"])


def write(rows: Sequence[dict[str, Any]], facts: dict[str, Any], given: argparse.Namespace) -> list[Path]:
    records = {
        "schema_version": SCHEMA_VERSION, **facts, "seconds": read_jsonl(given.work / "seconds.jsonl"),
        "rows": list(rows),
    }  # fmt: skip
    _, png = drawn(lambda figure: _draw(figure, rows, given.spaces), inches=(9, 3.6))
    write_json(given.out / "records.json", records)
    write_bytes(given.out / "budgets.png", png)
    write_text(given.out / "report.md", "\n".join(_lines(rows, records)) + "\n")
    return [given.out / name for name in ("report.md", "records.json", "budgets.png")]


def _lines(rows: Sequence[dict[str, Any]], facts: dict[str, Any]) -> list[str]:
    won = [row for row in rows if "p50_ms" in row]
    kept = _kept(won, "p50_ms")
    slack = statistics.median(1 - row["p50_ms"] / row["budget_ms"] for row in won) if won else math.nan
    passed = sum(row["verdict"] == "pass" for row in won)
    noisy = sum(row["noisy"] for row in won)
    paced = [
        row | {"ms": row["p50_ms"] / row["pace"], "later": row["later_ms"] / row["later_pace"]} for row in won
    ]
    paced_slack = statistics.median(1 - row["ms"] / row["budget_ms"] for row in paced) if won else math.nan
    lines = [
        "# Are budgets kept?", "",
        "| aim | reached | | at the pace of the search | |", "|---|---|---|---|---|",
        f"| {percent(LEAST_KEPT, 0)} of the winners within the budget + {percent(TOLERANCE, 0)}, certified again "
        f"| {_of(kept, rows)} | {_yes(kept >= LEAST_KEPT * len(rows))} "
        f"| {_of(_kept(paced, 'ms'), rows)} | {_yes(_kept(paced, 'ms') >= LEAST_KEPT * len(rows))} |",
        f"| median slack {percent(SLACK, 0)} or less | {percent(slack)} | {_yes(slack <= SLACK)} "
        f"| {percent(paced_slack)} | {_yes(paced_slack <= SLACK)} |",
        "",
        f"{passed} of {len(rows)} pass the second certificate outright (99 % confidence that the median is within the budget "
        f"itself); {noisy} of the second measurements were noisy, and count as they are. Slack is what a winner leaves of its "
        "budget, negative where it is over it; a budget without a winner is one that was not kept, and has no slack.",
        "",
        "**The pace** is what the reference network took beside a model, divided by what it took beside the same model as a finalist, "
        f"minutes before. This machine shares its cores: the pace of the second certificates is {_range(won, 'pace')}. A promise in "
        "milliseconds holds for the pace at which it was made; so the right-hand columns divide by it, which is what is left to the "
        "suite's own choosing and measuring. A certificate has the reference's time beside the model's for that reason. Certified once more "
        f"when all were searched, {_of(_kept(won, 'later_ms'), rows)} were within the budget + {percent(TOLERANCE, 0)}, and "
        f"{_of(_kept(paced, 'later'), rows)} at the pace of the search (then {_range(won, 'later_pace')}).",
        "",
        f"Under {sum(row['unsteady'] > 0 for row in won)} of {len(rows)} budgets, finalists larger than the winner had a median within the budget, "
        f"but no certificate: {sum(row['unsteady'] for row in won)} in all were over it in at least one of their four processes. There the slack is "
        "what an unsteady machine costs.",
        "",
        "![Winners against budgets](budgets.png)",
        "",
        "| space | budget | predicted | measured as a finalist | certified again | slack | verdict | pace | once more | pace | MACs |",
        "|---|---:|---:|---:|---:|---:|---|---:|---:|---:|---:|",
    ]  # fmt: skip
    for row in rows:
        start = f"| {row['space']} | {row['budget_ms']:g} ms | "
        if "p50_ms" not in row:
            lines.append(start + "no architecture was found | | | | | | | | |")
            continue
        lines.append(
            f"{start}{milliseconds(row['predicted_ms'])} | {milliseconds(row['chosen_ms'])} | {milliseconds(row['p50_ms'])} | "
            f"{percent(1 - row['p50_ms'] / row['budget_ms'])} | {row['verdict']} | {row['pace']:.2f}x | "
            f"{milliseconds(row['later_ms'])} | {row['later_pace']:.2f}x | {row['macs'] / 1e6:.1f} M |"
        )
    return [*lines, "", *_method(won, facts)]


def _of(count: int, rows: Sequence[dict[str, Any]]) -> str:
    low, high = binomial_interval(count, len(rows))
    return f"{count} of {len(rows)} ({percent(low)} to {percent(high)})"


def _range(rows: Sequence[dict[str, Any]], key: str) -> str:
    values = sorted(row[key] for row in rows) or [math.nan]
    return f"{values[0]:.2f} to {values[-1]:.2f}, median {statistics.median(values):.2f}"


def _kept(rows: Sequence[dict[str, Any]], key: str) -> int:
    return sum(row[key] <= row["budget_ms"] * (1 + TOLERANCE) for row in rows)


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
        "0.5 to 0.9 with the logarithm of the MACs between the ends of the space, and noise of 2 points. Finalists were judged on a single "
        "image with fresh weights: none can be told from another, and then the one of most MACs that passes its certificate wins, which "
        "pushes winners against their budgets.",
        "",
        f"```sh\n{facts['command']}\n```",
        "",
        f"- time: {times}",
        *([f"- {target['cpu']['name']}, {target['runtime']} {target['runtime_version']}, one thread"] if target else []),
        f"- begun {facts['started']}, nassuite at commit {facts['environment'].get('commit')}, seed {settings['seed']}",
    ]  # fmt: skip


def _yes(held: bool) -> str:
    return "yes" if held else "**no**"


def _draw(figure: Figure, rows: Sequence[dict[str, Any]], spaces: Sequence[str]) -> None:
    """What each winner takes of its budget."""
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


if __name__ == "__main__":
    try:
        main()
    except InputError as error:
        sys.exit(f"budget_guarantee: {error}")
