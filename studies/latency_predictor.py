"""How good is the latency predictor: measured on networks that it has not seen, beside two simple ones.

    python studies/latency_predictor.py                 # measures, then analyses: reports/latency_predictor
    python studies/latency_predictor.py --analyse       # again from the records, without measuring

The calibration is that of a search: ``choosing.collect`` on the space, at one image size. Then networks
drawn at random that it has not seen are measured several times, some minutes and other processes apart. Every
measurement is recorded in ``--work`` as it comes: run it again after an interruption. What is made of the records stands in
predictor_analysis.py, the tables and figures in predictor_report.py.
"""

from __future__ import annotations

import argparse
import dataclasses
import random
import shlex
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from predictor_analysis import Records, analyse
from predictor_report import write

from nassuite.errors import InputError
from nassuite.latency.calibrate import BATCH, Sample, measure_archs
from nassuite.latency.choosing import collect, draw
from nassuite.latency.meter import Meter, measure
from nassuite.latency.target import Target
from nassuite.nn.network import Interface, build
from nassuite.onnx_export import export_onnx
from nassuite.progress import Progress
from nassuite.records import append_jsonl, environment, read_json, read_jsonl, write_json
from nassuite.space import Space
from nassuite.space_file import load_space
from nassuite.spec import Arch

INTERFACE = Interface(3, 1000, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


def main(arguments: Sequence[str] | None = None, *, meter: Meter = measure) -> None:
    given = _parser().parse_args(arguments)
    progress = Progress()
    space = dataclasses.replace(load_space(given.space), resolution=(given.size,))
    if not given.analyse:
        measure_all(space, given, meter, progress)
    records, facts = read_records(given.work, space)
    started = time.monotonic()
    results = analyse(
        records, seed=given.seed, splits=given.splits, processes=given.processes, progress=progress
    )
    facts["seconds"] = {**records.seconds, "analysis": time.monotonic() - started}
    for path in write(results, facts, given.out):
        print(path)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--space", default="mobile")
    parser.add_argument("--size", type=int, default=224, help="side of the images in pixels")
    parser.add_argument(
        "--calibration", type=int, default=320, help="networks to calibrate with, at the most"
    )
    parser.add_argument(
        "--least-gain", type=float, default=0.0, help="of the error by the last 48 samples, to go on"
    )
    parser.add_argument("--held-out", type=int, default=240, help="networks to test on")
    parser.add_argument("--passes", type=int, default=4, help="measurements of each of those")
    parser.add_argument("--splits", type=int, default=24, help="random splits for the conformal bound")
    parser.add_argument("--processes", type=int, default=2, help="of the analysis")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--work", type=Path, default=Path("runs/latency-predictor"), help="measurements")
    parser.add_argument("--out", type=Path, default=Path("reports/latency_predictor"))
    parser.add_argument("--analyse", action="store_true", help="from the measurements in --work alone")
    return parser


def measure_all(space: Space, given: argparse.Namespace, meter: Meter, progress: Progress) -> None:
    """Calibration, then passes over the held-out networks; what is recorded is not measured again."""
    target = Target()
    begin(given, space, target)
    calibration = collect(
        space, export, meter, target,
        most=given.calibration, seed=given.seed, in_chans=INTERFACE.in_chans, least_gain=given.least_gain,
        known=read_samples(given.work, "calibration"), save=recorder(given.work, "calibration"), progress=progress,
    )  # fmt: skip
    rng = random.Random(f"held-out/{given.seed}")
    archs = draw(space, given.held_out, rng, besides={sample.arch for sample in calibration})
    for name in passes(given.passes):
        progress.say(name.replace("_", " "))
        known = read_samples(given.work, name)
        measure_archs(
            archs, export, meter, target,
            known=known, save=recorder(given.work, name), progress=progress, seed=rng.randrange(2**20),
        )  # fmt: skip
        rng.shuffle(archs)  # others share a process in the next pass


def passes(count: int) -> list[str]:
    return [f"held_out_{number}" for number in range(1, count + 1)]


def begin(given: argparse.Namespace, space: Space, target: Target) -> None:
    """Writes what the records belong to, or refuses to add to those of something else."""
    path = given.work / "study.json"
    ours = {
        "space": given.space, "space_digest": space.digest, "size": given.size, "seed": given.seed,
        "calibration": given.calibration, "least_gain": given.least_gain, "held_out": given.held_out,
        "passes": given.passes, "target": target.key,
    }  # fmt: skip
    if not path.exists():
        facts = {
            "settings": ours, "target": target.describe(), "environment": environment(), "batch": BATCH,
            "command": shlex.join(["python", *sys.argv]), "started": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        }  # fmt: skip
        write_json(path, facts)
    elif (theirs := read_json(path)["settings"]) != ours:
        differing = ", ".join(key for key in ours if theirs.get(key) != ours[key])
        raise InputError(f"{given.work} was measured with another {differing}: give another --work")


def export(arch: Arch, path: Path) -> None:
    shape = (INTERFACE.in_chans, arch.resolution, arch.resolution)
    export_onnx(build(arch, INTERFACE), path, input_shape=shape, check=False)


def recorder(work: Path, name: str) -> Callable[[Sample], None]:
    """Records each sample with the seconds since the one before it, or since the phase began."""
    last = time.monotonic()

    def record(sample: Sample) -> None:
        nonlocal last
        now = time.monotonic()
        append_jsonl(work / f"{name}.jsonl", {**sample.to_json(), "seconds": round(now - last, 3)})
        last = now

    return record


def read_samples(work: Path, name: str) -> list[Sample]:
    lines = read_jsonl(work / f"{name}.jsonl")
    return [Sample.from_json({k: v for k, v in line.items() if k != "seconds"}) for line in lines]


def read_records(work: Path, space: Space) -> tuple[Records, dict[str, Any]]:
    """Raises InputError where measurements are lacking."""
    if not (work / "study.json").is_file():
        raise InputError(f"{work}: holds no measurements: run the study without --analyse first")
    facts = read_json(work / "study.json")
    if facts["settings"]["space_digest"] != space.digest:
        raise InputError(f"{work}: its measurements are of another space than {space.name}")
    names = passes(facts["settings"]["passes"])
    first, *others = ({sample.arch: sample for sample in read_samples(work, name)} for name in names)
    if not first or any(first.keys() != other.keys() for other in others):
        raise InputError(f"{work}: measurements are lacking: run the study without --analyse to go on")
    seconds = {
        name: sum(line["seconds"] for line in read_jsonl(work / f"{name}.jsonl"))
        for name in ("calibration", *names)
    }
    repeats = [(sample, *(other[arch] for other in others)) for arch, sample in first.items()]
    return Records(read_samples(work, "calibration"), repeats, INTERFACE.in_chans, seconds), facts


if __name__ == "__main__":
    try:
        main()
    except InputError as error:
        sys.exit(f"latency_predictor: {error}")
