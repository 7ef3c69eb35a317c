"""What does a teacher bring a small student? The same training with it and without, seed by seed.

    python studies/distillation.py --data folder:DIR --teacher RUN/deploy/0.3ms --student "mobilenet_v2(width_mult=0.25)"
    python studies/distillation.py --data folder:DIR --teacher resnet20 --teacher-weights resnet20-12fca82f.th

Each seed is one ``nassuite distill --compare``: the same student, images, epochs and recipe, the teacher's soft
labels being the only difference. Resumable: run it again after an interruption, or with more seeds.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from publishing import publish

from nassuite.distilling import distill
from nassuite.errors import InputError
from nassuite.latency.cost import cost
from nassuite.metrics import evaluation
from nassuite.progress import Progress
from nassuite.pruning_source import bring_model
from nassuite.records import read_json
from nassuite.report.words import count, percent
from nassuite.train.recalibrate import predict

AIM = 1.5
"""Points of test accuracy."""


def taught(seed: int, given: argparse.Namespace, progress: Progress) -> dict[str, Any]:
    """What the students of one seed reached."""
    folder = given.work / f"seed-{seed}"
    if not (folder / "distill.json").is_file():
        if (folder / "train.toml").is_file():
            distill(out=folder, compare=True, resume=True, progress=progress)
        else:
            distill(
                given.student, teacher=given.teacher, teacher_weights=given.teacher_weights, out=folder,
                compare=True, progress=progress,
                data=given.data, train_images=given.train_images, epochs=given.epochs, loss=given.loss, seed=seed,
                batch_size=given.batch_size,
            )  # fmt: skip
    record = read_json(folder / "distill.json")
    used = record["settings"]
    differing = [
        name
        for name in ("teacher", "teacher_weights", "loss", "epochs", "train_images")
        if used.get(name) != getattr(given, name)
    ]
    if not used["model"].startswith(given.student.rstrip(")")):  # the form for small images is added to it
        differing.append("student")
    if differing:
        raise InputError(f"{folder} was trained with another {differing[0]}: give another --work")
    return {"seed": seed, "students": record["students"], "gain_points": record["gain_points"]}


def teacher_of(given: argparse.Namespace, progress: Progress) -> dict[str, Any]:
    """What the teacher is, and what it says of the test images."""
    teacher = bring_model(given.teacher, weights=given.teacher_weights, data=given.data, progress=progress)
    split, counted = teacher.data.test, cost(teacher.model, teacher.shape)
    logits = predict(teacher.model, (images for images, _ in split.batches(512)))
    found = evaluation(logits.numpy(), split.labels.numpy(), metric="top1", classes=split.classes)
    return {"macs": counted.macs, "params": counted.params, "test": found}


def markdown(record: dict[str, Any]) -> str:
    given, rows = record["settings"], record["seeds"]
    student = rows[0]["students"]["alone"]
    gains = [row["gain_points"] for row in rows]
    images = f"{given['train_images']:,}" if given["train_images"] else "all"
    teacher, weights = record["teacher"], given["teacher_weights"]
    named = (
        f"{given['teacher']} with other people's weights ({Path(weights).name})"
        if weights
        else given["teacher"]
    )
    lines = [
        "# What a teacher brings a small student", "",
        f"Student {given['student']}: {count(student['macs'])} MACs, {count(student['params'])} parameters. Teacher {named}: "
        f"{count(teacher['macs'])} MACs, {_accuracy(teacher['test'])} on test. "
        f"{images} training images of {given['data']}, {given['epochs']} epochs, loss {given['loss']}; the weights of the best epoch by "
        "validation. With and without a teacher all else is the same.",
        "",
        "| seed | alone, test (95 % interval) | with the teacher, test (95 % interval) | gain, points |", "|---|---|---|---:|",
    ]  # fmt: skip
    for row in rows:
        alone, student = row["students"]["alone"]["test"], row["students"]["with the teacher"]["test"]
        lines.append(
            f"| {row['seed']} | {_accuracy(alone)} | {_accuracy(student)} | {row['gain_points']:+.2f} |"
        )
    mean = statistics.mean(gains)
    lines += [
        "",
        f"**Mean gain {mean:+.2f} points** ({min(gains):+.2f} to {max(gains):+.2f} over {len(gains)} seed{'s' * (len(gains) > 1)}); "
        f"the aim of {AIM:g} is {'met' if mean >= AIM else '**not met**'}.",
        "", "```sh", record["command"], "```", "",
        f"- {record['finished']}, nassuite at commit {record['environment'].get('commit')}",
    ]  # fmt: skip
    return "\n".join(lines) + "\n"


def _accuracy(test: dict[str, Any]) -> str:
    low, high = test["interval"]
    return f"{percent(test['accuracy'])} ({percent(low)} to {percent(high)})"


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", required=True)
    parser.add_argument("--teacher", required=True, help="folder of a trained or deployed model, or a name")
    parser.add_argument("--teacher-weights", metavar="FILE", help="weights of a teacher given by name")
    parser.add_argument("--student", default="mobilenet_v2(width_mult=0.25)")
    parser.add_argument("--loss", default="soft", choices=("soft", "dkd", "dist"))
    parser.add_argument("--train-images", type=int)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1])
    parser.add_argument("--work", type=Path, default=Path("runs/distillation"))
    parser.add_argument("--out", type=Path, default=Path("reports/distillation"))
    given, progress = parser.parse_args(arguments), Progress()
    rows = [taught(seed, given, progress) for seed in given.seeds]
    publish(given, arguments, markdown, teacher=teacher_of(given, progress), seeds=rows)


if __name__ == "__main__":
    try:
        main()
    except InputError as error:
        sys.exit(f"distillation: {error}")
