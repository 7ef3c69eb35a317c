"""Turns a run directory into the content of its report."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch

from nassuite.data import Data
from nassuite.latency.cost import Cost, cost
from nassuite.nn.network import Interface, Network, parts
from nassuite.records import read_json
from nassuite.report import content as c
from nassuite.report.choices import choice_facts
from nassuite.run_directory import RunDirectory, read_record
from nassuite.search.driver import Evaluation
from nassuite.search.pareto import hypervolume_history
from nassuite.settings import Settings
from nassuite.space import Space
from nassuite.spec import Arch

PREDICT = """\
import sys
import numpy as np, onnxruntime as ort
from PIL import Image, ImageOps

session = ort.InferenceSession("model.onnx")
labels = open("labels.txt").read().splitlines()
channels, size = session.get_inputs()[0].shape[1:3]
image = ImageOps.exif_transpose(Image.open(sys.argv[1]))
if image.has_transparency_data:
    image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image.convert("RGBA"))
image = image.convert("RGB" if channels == 3 else "L")
image = image.resize([max(size, round(side * size / min(image.size))) for side in image.size], Image.BILINEAR)
left, top = (image.width - size) // 2, (image.height - size) // 2
pixels = np.asarray(image.crop((left, top, left + size, top + size)), np.float32) / 255
logits = session.run(None, {"image": pixels.reshape(size, size, -1).transpose(2, 0, 1)[None]})[0][0]
print(labels[logits.argmax()])
"""
"""The program that the README shows; a test keeps the two the same."""


@dataclass(frozen=True)
class Inputs:
    """All that a report is made of, beside the files of the run directory."""

    run: RunDirectory
    settings: Settings
    facts: Mapping[str, Any]
    data: Data
    space: Space
    evaluated: list[Evaluation]
    held_out: list[tuple[float, float]]
    notes: list[str]
    misses: list[str]


def report_content(inputs: Inputs) -> c.ReportContent:
    settings, data = inputs.settings, inputs.data
    budgets = inputs.run.budgets_ms(settings)
    interface = Interface(data.in_chans, len(data.labels), data.mean, data.std)

    @cache
    def cost_of(arch: Arch) -> Cost:
        with torch.device("meta"):
            network = Network(arch, interface)
        return cost(network, (data.in_chans, arch.resolution, arch.resolution))

    finalists = read_record(inputs.run.finalists)
    measured = {f["number"]: f["p50_ms"] for entry in finalists.values() for f in entry["finalists"]}
    evaluations = tuple(
        c.Evaluation(
            number=e.number,
            digest=e.arch.digest,
            arch=str(e.arch),
            accuracy=e.accuracy,
            predicted_ms=e.latency_ms,
            macs=cost_of(e.arch).macs,
            params=cost_of(e.arch).params,
            feasible=tuple(e.latency_ms <= budget for budget in budgets),
            measured_ms=measured.get(e.number),
            cost=e.cost,
        )
        for e in inputs.evaluated
    )
    return c.ReportContent(
        run=_run_facts(inputs, [cost_of(inputs.space.extreme(w)) for w in ("smallest", "largest")]),
        metric=settings.metric,  # type: ignore[arg-type]
        budgets_ms=budgets,
        percentile=settings.percentile,
        confidence=settings.confidence,
        evaluations=evaluations,
        finalists=tuple(_finalist(f, float(b)) for b, entry in finalists.items() for f in entry["finalists"]),
        predictor=_predictor(inputs),
        history=_history(inputs.evaluated, max(budgets), len(data.labels)),
        deployed=tuple(_deployments(inputs, interface, cost_of)),
        choices=choice_facts(evaluations),
        training=tuple(_epochs(read_json(inputs.run.root / "supernet" / "log.json"))),
    )


def _run_facts(inputs: Inputs, ends: list[Cost]) -> c.RunFacts:
    data, settings, facts = inputs.data, inputs.settings, inputs.facts
    return c.RunFacts(
        name=inputs.run.root.resolve().name,
        command=facts["command"],
        seed=settings.seed,
        started=facts["started"],
        ended=time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        seconds=inputs.run.stage_seconds(),
        settings=settings.to_toml(),
        environment=facts["environment"],
        data=c.DataFacts(
            name=data.name,
            classes=data.labels,
            train=len(data.train),
            val=len(data.val),
            test=len(data.test),
            in_chans=data.in_chans,
            size=data.size,
            skipped=tuple(f"{file}: {reason}" for file, reason in data.skipped),
            digest=data.digest,
        ),
        space=c.SpaceFacts(
            name=inputs.space.name,
            architectures=str(inputs.space.size),
            min_macs=min(end.macs for end in ends),
            max_macs=max(end.macs for end in ends),
        ),
        misses=tuple(inputs.misses),
        notes=tuple(inputs.notes),
        predict=PREDICT,
    )


def _finalist(entry: dict[str, Any], budget: float) -> c.Finalist:
    arch = Arch.from_json(entry["arch"])
    return c.Finalist(
        digest=arch.digest,
        arch=str(arch),
        budget_ms=budget,
        predicted_ms=entry["predicted_ms"],
        p50_ms=entry["p50_ms"],
        p90_ms=entry["p90_ms"],
        aa_ratio=entry["aa_ratio"],
        val_accuracy=entry["val_accuracy"],
    )


def _predictor(inputs: Inputs) -> c.PredictorFacts:
    facts = read_record(inputs.run.predictor, "fitted_on", "bound")
    return c.PredictorFacts(
        model=facts["model"],
        n=facts["fitted_on"],
        mape=facts["mape"],
        hit5=facts["within_5_percent"],
        hit10=facts["within_10_percent"],
        kendall_tau=facts["kendall_tau"],
        points=tuple(inputs.held_out),
        bound=(facts["bound"]["probability"], facts["bound"]["margin"]) if facts["bound"] else None,
    )


def _history(evaluated: list[Evaluation], reference_ms: float, classes: int) -> c.History | None:
    """Against guessing at the largest budget's latency."""
    if not evaluated:
        return None
    points = [(e.accuracy, e.latency_ms) for e in evaluated]
    reference = (1 / classes, max(reference_ms, *(e.latency_ms for e in evaluated)))
    volumes = hypervolume_history(points, reference, maximise=(True, False))
    return c.History(reference[1], reference[0], tuple((n, float(v)) for n, v in enumerate(volumes, start=1)))


def _deployments(inputs: Inputs, interface: Interface, cost_of: Any) -> Iterable[c.Deployment]:
    for budget in inputs.run.budgets_ms(inputs.settings):
        folder = inputs.run.deploy(budget)
        if not (folder / "card.json").exists():
            continue
        card = read_record(folder / "card.json")
        arch = Arch.from_json(card["arch"])
        relative = folder.relative_to(inputs.run.root)
        yield c.Deployment(
            budget_ms=budget,
            arch=str(arch),
            arch_json=card["arch"],
            variants=tuple(_variant(row, str(relative / row["file"])) for row in card["variants"]),
            costs=tuple(_part_costs(arch, interface, cost_of(arch))),
            times=_times(card),
            cuts=_cuts(card["prune"]),
        )


def _times(card: dict[str, Any]) -> c.PartTimes | None:
    times = card.get("times")
    if not times:
        return None
    shown = next(row["name"] for row in card["variants"] if row["sha256"] == card["hashes"]["model.onnx"])
    parts = tuple((part["name"], part["ms"]) for part in times["parts"])
    return c.PartTimes(shown, times["runs"], times["total_ms"], parts)


def _cuts(record: dict[str, Any]) -> tuple[c.WidthCut, ...]:
    cut = [c.WidthCut(layer["layer"], layer["before"], layer["after"]) for layer in record["pruned"]]
    kept = [
        c.WidthCut(layer["layer"], layer["width"], layer["width"], layer["reason"])
        for layer in record["kept"]
    ]
    return (*cut, *kept)


def _variant(row: dict[str, Any], path: str) -> c.Variant:
    copied = ("name", "sha256", "size_bytes", "params", "macs", "p50_ms", "p90_ms", "min_ms", "val_accuracy",
              "verdict", "chosen", "notes")  # fmt: skip
    return c.Variant(
        **{name: row[name] for name in copied},
        path=path,
        parity_max_abs=row["parity"]["max_abs_diff"],
        parity_top1=row["parity"]["top1_agreement"],
        test_accuracy=row["test"]["accuracy"],
        test_interval=tuple(row["test"]["interval"]),
        test_n=row["test"]["n"],
    )


def _part_costs(arch: Arch, interface: Interface, counted: Cost) -> Iterable[c.LayerCost]:
    """Stem, every block, head: each the sum of its layers."""
    for part in parts(arch, interface):
        layers = [layer for layer in counted.layers if layer.name.startswith(f"{part.name}.")]
        yield c.LayerCost(
            name=part.name,
            op=getattr(part.spec, "op", part.name),
            shape=layers[-1].out_shape,
            macs=sum(layer.macs for layer in layers),
            params=sum(layer.params for layer in layers),
        )


def _epochs(log: list[dict[str, float]]) -> Iterable[c.Epoch]:
    for entry in log:
        yield c.Epoch(
            epoch=int(entry["epoch"]),
            loss=entry["loss"],
            seconds=entry["seconds"],
            val_largest=entry["val_largest"],
            val_smallest=entry["val_smallest"],
        )
