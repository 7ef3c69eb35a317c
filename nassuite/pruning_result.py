"""What a pruning led to: its files, its record, and both read again."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from nassuite.card import confusion_lines, hash_lines, interface_lines, limit_lines, write_card
from nassuite.classifying import evaluate_file
from nassuite.compress.prune import PruneRecord, merged
from nassuite.errors import InputError
from nassuite.latency.certificate import Certificate, certify
from nassuite.latency.cost import cost
from nassuite.latency.meter import Measurement, Meter
from nassuite.latency.target import Target
from nassuite.models import save_model
from nassuite.onnx_export import export_onnx
from nassuite.progress import Progress
from nassuite.prune_settings import PruneSettings
from nassuite.pruning_source import Brought
from nassuite.records import SCHEMA_VERSION, environment, read_json, write_json
from nassuite.settings import to_table


@dataclass(frozen=True)
class Row:
    """One model in the outcome: accuracies as fractions, latencies measured in the same rounds.

    ``reference_ms`` is the meter's reference beside it, None in records from before it was kept.
    """

    name: str
    params: int
    macs: int
    p50_ms: float
    p90_ms: float
    ratio: float
    val: float
    test: float
    test_interval: tuple[float, float]
    reference_ms: float | None = None


@dataclass(frozen=True)
class Pruned:
    """What a pruning led to. ``met`` says whether the target holds for the file in ``folder``, as measured.

    ``rows`` are the dense and the pruned model; ``record`` is what was cut of the dense one.
    """

    folder: Path
    rows: tuple[Row, Row]
    record: PruneRecord
    met: bool
    certificate: Certificate | None


def write_result(
    out: Path,
    brought: Brought,
    pruned: nn.Module,
    record: PruneRecord,
    *,
    settings: PruneSettings,
    facts: dict[str, Any],
    target: Target,
    meter: Meter,
    progress: Progress,
) -> None:
    """Exports both models, measures both in the same rounds, reads test, writes what was found."""
    description = brought.description
    before = PruneRecord.from_json(description.cuts) if description.cuts else None
    save_model(out, pruned, dataclasses.replace(description, cuts=merged(before, record).to_json()))
    rows, measurements, confusion = _rows(
        out, brought, pruned, target=target, meter=meter, progress=progress, seed=settings.seed
    )
    met = True
    kind, wanted = settings.goal
    if kind == "target_ms":
        certificate = certify(measurements[1], wanted, percentile=settings.percentile)
        met = certificate.verdict == "pass"
        write_json(out / "certificate.json", certificate.to_json())
    elif kind == "speedup":
        met = measurements[0].ratio / measurements[1].ratio >= wanted
    card = {
        "model": description.model,
        "data": brought.data.name,
        "shape": list(brought.shape),
        "labels": list(brought.data.labels),
        "models": [dataclasses.asdict(row) for row in rows],
        "confusion": confusion,
    }
    write_card(out, card, _card_text)
    write_json(
        out / "pruning.json",
        {
            "schema_version": SCHEMA_VERSION,
            **facts,
            "settings": to_table(settings),
            "met": met,
            "models": [dataclasses.asdict(row) for row in rows],
            "pruned": [dataclasses.asdict(layer) for layer in record.pruned],
            "kept": [dataclasses.asdict(layer) for layer in record.kept],
            "gate_difference": record.gate_difference,
            "record": record.to_json(),
            "target": target.describe(),
            "environment": environment(),
        },
    )


def _rows(
    out: Path,
    brought: Brought,
    pruned: nn.Module,
    *,
    target: Target,
    meter: Meter,
    progress: Progress,
    seed: int,
) -> tuple[list[Row], list[Measurement], list[list[int]]]:
    """The dense and the pruned model: exported into ``out``, measured, evaluated; the latter's confusion on test."""
    data, shape = brought.data, brought.shape
    images = next(data.val.batches(256, channels_last=False))[0]
    models = {"dense": brought.model, "pruned": pruned}
    paths = [out / "dense.onnx", out / "model.onnx"]
    for model, path in zip(models.values(), paths, strict=True):
        export_onnx(model, path, input_shape=shape, images=images)
    measurements = meter(paths, target, progress=progress, seed=seed)
    rows, confusion = [], []
    for (name, model), path, m in zip(models.items(), paths, measurements, strict=True):
        val, test = (evaluate_file(path, split, target=target) for split in (data.val, data.test))
        confusion = test["confusion"]
        counted = cost(model, shape)
        rows.append(
            Row(
                name, counted.params, counted.macs, m.p50_ms, m.p90_ms, m.ratio / measurements[0].ratio,
                val["accuracy"], test["accuracy"], tuple(test["interval"]), m.reference_ms,
            )
        )  # fmt: skip
    return rows, measurements, confusion


def _card_text(card: dict[str, Any]) -> list[str]:
    dense, pruned = card["models"]
    low, high = pruned["test_interval"]
    lines = [
        f"# {card['model']}, pruned, on {card['data']}",
        "",
        *interface_lines(card),
        "",
        "| | dense | pruned |",
        "|---|---:|---:|",
    ]
    for what, key, form in (
        ("parameters", "params", "{:,}"), ("MACs", "macs", "{:,}"), ("p50, ms", "p50_ms", "{:.4g}"),
        ("p90, ms", "p90_ms", "{:.4g}"), ("validation accuracy", "val", "{:.2%}"), ("test accuracy", "test", "{:.2%}"),
    ):  # fmt: skip
        lines.append(f"| {what} | {form.format(dense[key])} | {form.format(pruned[key])} |")
    return [
        *lines,
        "",
        f"Measured in the same rounds; 95 % interval of the pruned model's test accuracy {low:.2%} to {high:.2%}.",
        "",
        *confusion_lines(card["labels"], card["confusion"]),
        "",
        *limit_lines(card, sum(map(sum, card["confusion"]))),
        "",
        *hash_lines(card),
    ]


def read_result(out: Path) -> Pruned:
    """Raises InputError if the record of a finished pruning is damaged."""
    try:
        value = read_json(out / "pruning.json")
        dense, pruned = (
            Row(**{**row, "test_interval": tuple(row["test_interval"])}) for row in value["models"]
        )
        certificate = None
        if (path := out / "certificate.json").is_file():
            stored = read_json(path)
            certificate = certify(
                Measurement.from_json(stored["measurement"]), stored["budget_ms"],
                percentile=stored["percentile"], confidence=stored["confidence"],
            )  # fmt: skip
        return Pruned(out, (dense, pruned), PruneRecord.from_json(value["record"]), value["met"], certificate)
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"{out / 'pruning.json'} is damaged ({error}): delete it, and --resume makes it"
        ) from None
