"""What makes a supernet rank well: ways to train one and to read it, against architectures trained from scratch.

    nassuite audit runs/cifar10 --architectures 100 --train-images 10000 --epochs 8 --max-macs 5000000
    python studies/ranking.py --run runs/cifar10 --out reports/ranking             # also while the audit goes on
    python studies/ranking.py --data folder:cifar10 --only "within, kin"           # from reports/ranking/ground_truth.json

The audit's trainings are the ground truth; they go into OUT/ground_truth.json, from which anyone can repeat the study
without them. Each ablation trains a supernet on the same images as those, and is asked for what every architecture
inherits: its accuracy, the mean probability of the right class, and its accuracy after the classifier was fitted to its
own features. Everything is resumable: checkpoints, and a line for each ablation and each architecture, in --work.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import shlex
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import ranking_report
import torch
from publishing import rounded
from ranking_ablations import ABLATIONS, DEFAULT, Ablation, chosen
from ranking_analysis import analyse
from ranking_supernet import Study, folder_of, macs_a_step, scores_of, supernet_of
from ranking_truth import Truth, images_of_truth, read_truth, truth_of_run, write_truth

from nassuite.checkpoints import FileCheckpoints
from nassuite.errors import InputError
from nassuite.metrics import score
from nassuite.nn.network import build
from nassuite.progress import Progress
from nassuite.records import SCHEMA_VERSION, append_jsonl, environment, read_json, read_jsonl, write_json
from nassuite.search.pareto import pareto_front
from nassuite.space_file import load_space
from nassuite.spec import Arch
from nassuite.train.distill import train_network
from nassuite.train.recalibrate import predict, recalibrated

SCRATCH = "scratch"
FURTHER_LR = 0.5
"""Of the supernet's peak rate: the peak of one epoch further."""


def run_ablation(study: Study, name: str) -> None:
    """Trains its supernet and asks it for every architecture; a line in finished.jsonl says that it is done."""
    ablation, folder = ABLATIONS[name], study.work / folder_of(name)
    begin(folder / "settings.json", ablation.settings(), name)
    finished = {entry["name"]: entry for entry in read_jsonl(study.work / "finished.jsonl")}
    known = {entry["digest"] for entry in read_jsonl(folder / "scores.jsonl")}
    missing = [arch for arch in study.truth.archs if arch.digest not in known]
    if name in finished and (finished[name]["failed"] or not missing):
        return
    study.progress.say(name)
    failed = None
    try:
        supernet = supernet_of(study, name)
        for arch in study.progress.track(missing, "inherited weights"):
            found = scores_of(study, supernet, arch, ablation)
            append_jsonl(folder / "scores.jsonl", {"digest": arch.digest, **found})
    except FloatingPointError as error:
        failed = str(error)
    if name not in finished:
        append_jsonl(study.work / "finished.jsonl", {"name": name, "failed": failed})


def begin(path: Path, settings: dict[str, Any], what: str) -> None:
    """Writes what the work belongs to, or refuses to go on with that of something else."""
    ours = json.loads(json.dumps(settings))
    if not path.exists():
        write_json(path, ours)
    elif (theirs := read_json(path)) != ours:
        differing = ", ".join(key for key in ours if theirs.get(key) != ours[key])
        raise InputError(
            f"{path.parent}: {what} was run with another {differing}: delete it, or give another --work"
        )


def equal_epochs(study: Study, name: str) -> None:
    """Trains networks from scratch for as many epochs as a supernet had, and compares what they inherit from it."""
    ablation, path = ABLATIONS[name], study.work / "equal_epochs.jsonl"
    done = {(entry["supernet"], entry["digest"]) for entry in read_jsonl(path)}
    supernet = supernet_of(study, name)
    config = dataclasses.replace(study.config(ablation), ema=0.0)
    for what, arch in ends_and_front(study, ablation).items():
        if (name, arch.digest) in done:
            continue
        done.add((name, arch.digest))
        network = build(arch, study.interface, seed=study.seed)
        place = study.work / folder_of(name) / f"{arch.digest}.safetensors"
        train_network(
            network, study.data.train, config, resolution=arch.resolution, description=what,
            checkpoints=FileCheckpoints(place), progress=study.progress,
        )  # fmt: skip
        logits = predict(network, study.val, arch.resolution)
        scratch = float(score(logits, study.data.val.labels, metric=study.truth.facts["metric"]))
        append_jsonl(
            path,
            {
                "supernet": name, "name": what, "digest": arch.digest, "arch": str(arch), "macs": study.macs(arch),
                "epochs": config.epochs, "scratch": scratch, **scores_of(study, supernet, arch, ablation),
            },
        )  # fmt: skip


def short_trainings(study: Study, name: str, count: int) -> None:
    """One epoch for the first ``count`` architectures: from what they inherit from supernet ``name``, or from SCRATCH."""
    path = study.work / "short.jsonl"
    done = {entry["digest"] for entry in read_jsonl(path) if entry["from"] == name}
    ablation = ABLATIONS[DEFAULT if name == SCRATCH else name]
    supernet = None if name == SCRATCH else supernet_of(study, name)
    batches = [images for images, _ in study.train_batches(ablation.recalibration)]
    peak = ablation.lr * (1 if supernet is None else FURTHER_LR)
    config = dataclasses.replace(study.config(ablation), epochs=1, lr=peak, ema=0.0)
    missing = [arch for arch in study.truth.archs[:count] if arch.digest not in done]
    for arch in study.progress.track(missing, f"one epoch, {name}"):
        started = time.process_time()
        network = (
            recalibrated(supernet, arch, batches)
            if supernet
            else build(arch, study.interface, seed=study.seed)
        )
        train_network(network, study.data.train, config, resolution=arch.resolution)
        seconds = time.process_time() - started
        accuracy = score(
            predict(network, study.val, arch.resolution),
            study.data.val.labels,
            metric=study.truth.facts["metric"],
        )
        append_jsonl(
            path,
            {
                "from": name,
                "digest": arch.digest,
                "accuracy": float(accuracy),
                "cpu_seconds": round(seconds, 1),
            },
        )


def ends_and_front(study: Study, ablation: Ablation) -> dict[str, Arch]:
    """The smallest and the largest that the supernet is for, and three of the ground truth's front."""
    rows = sorted(study.truth.trained, key=lambda row: row.macs)
    ends = [rows[0].arch, rows[-1].arch]
    if not ablation.within:
        ends = [study.space.extreme("smallest"), study.space.extreme("largest")]
    points = [(row.accuracy[0], row.latency_ms) for row in rows]
    mask = pareto_front(points, maximise=(True, False))
    front = sorted((row for row, on in zip(rows, mask, strict=True) if on), key=lambda row: row.latency_ms)
    places = np.linspace(0, len(front) - 1, 3).round().astype(int)
    names = ("fastest of the front", "middle of the front", "most accurate")
    found = {"smallest": ends[0], "largest": ends[1]}
    return found | {name: front[place].arch for name, place in zip(names, places, strict=True)}


def collected(study: Study) -> dict[str, list[dict[str, Any]]]:
    """What has been done so far: the ablations in the table's order, the networks of equal epochs, the short trainings."""
    finished = {entry["name"]: entry for entry in read_jsonl(study.work / "finished.jsonl")}
    records = []
    for name, ablation in ABLATIONS.items():
        if name not in finished:
            continue
        folder = study.work / folder_of(name)
        lines = read_jsonl(folder / "scores.jsonl")
        source = study.work / folder_of(ablation.supernet or name) / "log.json"
        log = read_json(source) if source.is_file() else []
        records.append(
            {
                "name": name, "why": ablation.why, "settings": ablation.settings(), "failed": finished[name]["failed"],
                "epochs": study.config(ablation).epochs, "macs_a_step": macs_a_step(study, ablation),
                "cpu_seconds": log[-1]["cpu_seconds"] if log else None, "loss": [round(e["loss"], 4) for e in log],
                "scores": {e["digest"]: {k: v for k, v in e.items() if k != "digest"} for e in lines},
            }
        )  # fmt: skip
    return {
        "ablations": records,
        "equal_epochs": read_jsonl(study.work / "equal_epochs.jsonl"),
        "short": read_jsonl(study.work / "short.jsonl"),
    }


def report(truth: Truth, record: dict[str, Any], out: Path) -> None:
    """Draws it from the ground truth and what is recorded of the ablations."""
    found = analyse(
        truth, record["ablations"], record["equal_epochs"], record["settings"]["seed"], short=record["short"]
    )
    record = record | {"results": rounded(json.loads(json.dumps(found)))}
    write_json(out / "records.json", record)
    ranking_report.write(truth, record, out)


def opened(given: argparse.Namespace, progress: Progress) -> Study:
    """Ground truth, space and images; of a run where one is given, else of the report's folder."""
    path = given.out / "ground_truth.json"
    if given.run is not None:
        truth, data = truth_of_run(given.run, progress)
        write_truth(truth, load_space(truth.facts["space"]), path)
    truth, space = read_truth(path)
    if given.run is None:
        if given.data is None:
            raise InputError("give --run RUN, or --data DATA for the ground truth that is there")
        data = images_of_truth(truth, given.data, path, progress)
    count = truth.facts["train_images"]
    if count is not None:
        data = dataclasses.replace(data, train=data.train.subset(count, truth.facts["audit_seed"]))
    study = Study(truth, space, data, given.epochs, given.seed, given.work, progress)
    same = ("space_digest", "data_digest", "train_images", "audit_seed", "most_macs")
    shared = {key: truth.facts[key] for key in same} | {"epochs": given.epochs, "seed": given.seed}
    begin(given.work / "study.json", shared, "the study")
    return study


def parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--run", type=Path, help="a run that nassuite audit was used on, for the ground truth"
    )
    parser.add_argument("--data", help="without --run: the images of the ground truth in --out")
    parser.add_argument("--epochs", type=int, default=16, help="epochs of a supernet")
    parser.add_argument("--only", nargs="+", metavar="NAME", help="these ablations alone")
    parser.add_argument(
        "--equal-epochs", metavar="NAME", help="then train five networks for as long as this one's supernet"
    )
    parser.add_argument(
        "--short",
        metavar="NAME",
        help=f"then train the first architectures for one epoch from this one, or from {SCRATCH}",
    )
    parser.add_argument("--architectures", type=int, default=60, help="with --short: how many")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--work", type=Path, default=Path("runs/ranking"), help="checkpoints and what is done"
    )
    parser.add_argument("--out", type=Path, default=Path("reports/ranking"))
    parser.add_argument("--list", action="store_true", help="the ablations, and end")
    parser.add_argument(
        "--analyse", action="store_true", help="draw the report again from its records, and end"
    )
    return parser  # fmt: skip


def main(arguments: Sequence[str] | None = None) -> None:
    given = parser().parse_args(arguments)
    if given.list:
        print("\n".join(f"{name}: {ablation.why}" for name, ablation in ABLATIONS.items()))
        return
    if given.analyse:
        if not (given.out / "records.json").is_file():
            raise InputError(f"{given.out} has no records.json: run the study without --analyse first")
        report(
            read_truth(given.out / "ground_truth.json")[0], read_json(given.out / "records.json"), given.out
        )
        return
    needed = [name for name in (given.equal_epochs, given.short) if name not in (None, SCRATCH)]
    names = [*(given.only or ()), *needed]
    wanted = {} if given.short == SCRATCH and not names else chosen(names)
    study = opened(given, Progress())
    settings = {"epochs": given.epochs, "seed": given.seed, "threads": torch.get_num_threads()}
    command = shlex.join(["python", *sys.argv]) if arguments is None else ""
    facts = {
        "schema_version": SCHEMA_VERSION,
        "command": command,
        "settings": settings,
        "environment": environment(),
    }
    for name in wanted:
        run_ablation(study, name)
        report(study.truth, facts | collected(study), given.out)
    if given.equal_epochs:
        equal_epochs(study, given.equal_epochs)
    if given.short:
        short_trainings(study, given.short, given.architectures)
    report(study.truth, facts | collected(study), given.out)
    print(given.out / "report.md")


if __name__ == "__main__":
    try:
        main()
    except InputError as error:
        sys.exit(f"ranking: {error}")
