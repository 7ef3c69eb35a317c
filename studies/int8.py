"""What int8 loses and what it gains, network by network: ``nassuite quantize`` on trained models.

    python studies/int8.py MODEL_FOLDER [...] [--max-drop 0.5] [--out reports/int8]

Each network's formats are measured in the same rounds as its float32 file. Resumable: run it again after an
interruption, or with more networks.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from publishing import publish

from nassuite.errors import InputError
from nassuite.latency.meter import Meter, measure
from nassuite.progress import Progress
from nassuite.quantizing import quantize
from nassuite.records import read_json
from nassuite.report.words import milliseconds, percent


def quantized(model: Path, given: argparse.Namespace, *, meter: Meter, progress: Progress) -> dict[str, Any]:
    card = read_json(model / "card.json")
    name = card["model"] if isinstance(card["model"], str) else model.name
    folder = given.work / f"{given.models.index(model)}-{model.name}"
    if not (folder / "card.json").is_file():
        progress.say(f"{name}: {model}")
        quantize(
            model, out=folder, max_drop=given.max_drop, meter=meter, progress=progress, data=given.data or ""
        )
    record = read_json(folder / "quantize.json")
    if record["settings"]["model"] != str(model):
        raise InputError(f"{folder} is of {record['settings']['model']}, not of {model}: give another --work")
    return {"model": name, "folder": str(model), "chosen": record["chosen"], "variants": record["variants"]}


def markdown(record: dict[str, Any]) -> str:
    lines = [
        "# What int8 loses and what it gains", "",
        "Per-channel weights, ranges from training images; where a format loses more than "
        f"{record['settings']['max_drop']:g} points of validation accuracy, also with layers in float32 and fine-tuned with its rounding. "
        "The chosen one (**bold**) is the fastest that keeps to that and is faster beyond noise; float32 where there is none, so "
        "nothing that is deployed is slower than float32.",
        "",
        "| network | variant | calibration | speed-up (95 % interval) | p50 | validation lost, points | test | test lost, points |",
        "|---|---|---|---|---:|---:|---|---:|",
    ]  # fmt: skip
    for model in record["models"]:
        dense = model["variants"][0]
        for row in model["variants"]:
            name = f"**{row['name']}**" if row["name"] == model["chosen"] else row["name"]
            lines.append(
                f"| {model['model']} | {name} | {row['calibration']} | {row['speedup']:.2f}x ({row['speedup_low']:.2f} to "
                f"{row['speedup_high']:.2f}) | {milliseconds(row['p50_ms'])} | {100 * (dense['val'] - row['val']):.2f} | "
                f"{percent(row['test'])} | {100 * (dense['test'] - row['test']):.2f} |"
            )
    lines += [
        "", "```sh", record["command"], "```", "",
        f"- {record['finished']}, nassuite at commit {record['environment'].get('commit')}",
    ]  # fmt: skip
    return "\n".join(lines) + "\n"


def main(arguments: Sequence[str] | None = None, *, meter: Meter = measure) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("models", type=Path, nargs="+", metavar="MODEL_FOLDER")
    parser.add_argument("--data", help="images (default: those that each was trained on)")
    parser.add_argument("--max-drop", type=float, default=0.5)
    parser.add_argument("--work", type=Path, default=Path("runs/int8"))
    parser.add_argument("--out", type=Path, default=Path("reports/int8"))
    given, progress = parser.parse_args(arguments), Progress()
    rows = [quantized(model, given, meter=meter, progress=progress) for model in given.models]
    publish(given, arguments, markdown, models=rows)


if __name__ == "__main__":
    try:
        main()
    except InputError as error:
        sys.exit(f"int8: {error}")
