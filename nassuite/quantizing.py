"""A network in int8, if that is worth it here: ``nassuite quantize``.

Formats and calibrations are tried; where they lose too much, layers stay in float32, and the weights are fine-tuned
with their rounding. Then every variant is measured beside float32, and the fastest that keeps the accuracy is the result, float32 where none is faster.

DIR/quantize.toml (settings as resolved, facts), steps.jsonl (what was made), training/ (checkpoints of the
fine-tunings), model.NAME.onnx for each variant, then model.onnx with its card, and last quantize.json.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nassuite.card import confusion_lines, hash_lines, interface_lines, limit_lines, write_card
from nassuite.classifying import evaluate_file
from nassuite.data import Data
from nassuite.errors import InputError
from nassuite.int8_candidates import Candidate, Work, int8_candidates, points_lost, val_accuracy
from nassuite.latency.meter import Meter, measure
from nassuite.latency.target import Target
from nassuite.onnx_source import OnnxSource, open_onnx
from nassuite.progress import SILENT, Progress
from nassuite.quantize_settings import QuantizeSettings
from nassuite.records import read_json, write_bytes, write_json, write_toml
from nassuite.run_directory import RunDirectory, begin_or_resume, check_unchanged, remembering
from nassuite.settings import to_table
from nassuite.training_job import cuda_or_cpu


@dataclass(frozen=True)
class Variant:
    """One file: accuracies as fractions, latencies measured in the same rounds, ``speedup`` over float32.

    ``kept`` are layers that stay in float32; ``speedup_low`` and ``speedup_high`` the 95 % interval.
    """

    name: str
    file: str
    calibration: str
    kept: tuple[str, ...]
    val: float
    test: float
    test_interval: tuple[float, float]
    p50_ms: float
    p90_ms: float
    speedup: float
    speedup_low: float
    speedup_high: float
    size_bytes: int


@dataclass(frozen=True)
class Quantized:
    """What a quantisation led to; ``chosen`` is the name of the variant that is model.onnx."""

    folder: Path
    variants: tuple[Variant, ...]
    chosen: str


def quantize(
    model: str | Path | None = None,
    *,
    out: str | Path,
    resume: bool = False,
    meter: Meter = measure,
    progress: Progress = SILENT,
    command: Sequence[str] | None = None,
    **flags: Any,
) -> Quantized:
    """Quantises a classifier to int8 into the new folder ``out``, and keeps there what is best on this machine.

    ``model`` is the folder of a training, a deploy folder, or an .onnx file that takes ``image`` float32
    (N, C, H, W) in 0..1 and gives logits (N, classes). ``flags`` are the fields of ``QuantizeSettings``:
    ``data``, ``max_drop`` (points of validation accuracy), and so on. ``resume`` goes on with what was begun in ``out``,
    and takes neither. Ranges are taken from training images, choices are made on validation images, test is read once,
    at the end.

    Static quantisation with one scale per output channel (Krishnamoorthi 2018, arXiv 1806.08342, section 3); what loses
    more than ``max_drop`` is fine-tuned with its rounding (section 3.2), with the same scales. Raises InputError for
    anything wrong with the input.
    """
    folder, path = Path(out), Path(out) / "quantize.toml"
    if resume and (model is not None or flags):
        raise InputError(
            "a quantisation that goes on has its own settings: leave out the model and all flags"
        )
    given = None if model is None else QuantizeSettings(model=str(model), **flags)
    settings, facts = begin_or_resume(
        path, QuantizeSettings, given, what="quantisation", resume=resume, command=command
    )
    settings = dataclasses.replace(settings, device=cuda_or_cpu(settings.device))
    source = open_onnx(Path(settings.model), settings.data, seed=settings.seed, progress=progress)
    found = {"data": source.data.digest, "model": hashlib.sha256(source.content).hexdigest()[:16]}
    check_unchanged(facts, found, folder, "quantisation")
    accuracy = val_accuracy(source.data, settings.metric)
    # A file that does not run is refused before anything is written.
    dense_val = None if resume else accuracy(source.content)
    run = RunDirectory(folder)
    if not resume:
        run.create()
    with run.locked():
        if not resume:
            write_toml(path, {**facts, "settings": to_table(settings)})
        if not (folder / "quantize.json").is_file():
            work = Work(settings, source, accuracy, folder, remembering(folder / "steps.jsonl"), progress)
            candidates = int8_candidates(work, dense_val)
            _finish(work, candidates, facts, meter)
        return _read_result(folder)


def _finish(work: Work, candidates: Sequence[Candidate], facts: dict[str, Any], meter: Meter) -> None:
    """Measures, reads test, chooses, and writes what was found."""
    settings, folder, target = work.settings, work.folder, Target(threads=work.settings.threads)
    variants = _measured(
        settings, candidates, work.source.data, target=target, meter=meter, progress=work.progress
    )
    chosen = choose(variants, settings.max_drop)
    write_bytes(folder / "model.onnx", (folder / chosen.file).read_bytes())
    record = {
        **facts, "settings": to_table(settings), "chosen": chosen.name,
        "variants": [dataclasses.asdict(variant) for variant in variants], "target": target.describe(),
    }  # fmt: skip
    _write_card(settings, work.source, folder, record)
    write_json(folder / "quantize.json", record)


def _read_result(folder: Path) -> Quantized:
    """Raises InputError if the record of a finished quantisation is damaged."""
    try:
        value = read_json(folder / "quantize.json")
        variants = tuple(
            Variant(**{**row, "kept": tuple(row["kept"]), "test_interval": tuple(row["test_interval"])})
            for row in value["variants"]
        )
        return Quantized(folder, variants, value["chosen"])
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"{folder / 'quantize.json'} is damaged ({error}): delete it, and --resume makes it"
        ) from None


def choose(variants: Sequence[Variant], max_drop: float) -> Variant:
    """The fastest that loses at most ``max_drop`` points on validation and is faster than the first beyond noise.

    The first is float32, which it is if none of the others will do.
    """
    dense = variants[0]
    eligible = [
        variant
        for variant in variants[1:]
        if variant.speedup_low > 1 and points_lost(variant.val, dense.val) <= max_drop
    ]
    return max(eligible, key=lambda variant: variant.speedup, default=dense)


def _measured(
    settings: QuantizeSettings,
    candidates: Sequence[Candidate],
    data: Data,
    *,
    target: Target,
    meter: Meter,
    progress: Progress,
) -> list[Variant]:
    measurements = meter(
        [candidate.path for candidate in candidates], target, progress=progress, seed=settings.seed
    )
    dense = measurements[0]
    variants = []
    for candidate, m in zip(candidates, measurements, strict=True):
        test = evaluate_file(candidate.path, data.test, metric=settings.metric)
        variants.append(
            Variant(
                candidate.name, candidate.path.name, candidate.calibration, candidate.kept, candidate.val,
                test["accuracy"], tuple(test["interval"]), m.p50_ms, m.p90_ms, dense.ratio / m.ratio,
                dense.ratio_low / m.ratio_high, dense.ratio_high / m.ratio_low, candidate.path.stat().st_size,
            )
        )  # fmt: skip
    return variants


def _write_card(settings: QuantizeSettings, source: OnnxSource, folder: Path, record: dict[str, Any]) -> None:
    test = evaluate_file(folder / "model.onnx", source.data.test, metric=settings.metric)
    shape = (source.data.in_chans, source.data.size, source.data.size)
    card = {
        "model": settings.model, "shape": list(shape), "labels": list(source.data.labels), "metric": settings.metric,
        "data": source.data.name, "test": test, **record,
    }  # fmt: skip
    write_card(folder, card, _markdown)


def _markdown(card: dict[str, Any]) -> list[str]:
    target = card["target"]
    lines = [
        f"# {card['model']}, quantised: {card['chosen']}",
        "",
        *interface_lines(card),
        f"- Measured on {target['cpu']['name']}, {target['runtime']} {target['runtime_version']}, "
        f"{target['threads']} thread(s), all variants in the same rounds.",
        f"- Chosen: the fastest that loses at most {card['settings']['max_drop']:g} points on validation images of "
        f"{card['data']} and is faster than fp32 beyond noise.",
        "",
        "| variant | calibration | layers in float32 | p50 ms | speed-up (95 %) | validation | points lost | "
        "test (95 % interval) | bytes |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    dense = card["variants"][0]
    for row in card["variants"]:
        name = f"**{row['name']}** (model.onnx)" if row["name"] == card["chosen"] else row["name"]
        low, high = row["test_interval"]
        lines.append(
            f"| {name} | {row['calibration']} | {', '.join(row['kept'])} | {row['p50_ms']:.4g} | {row['speedup']:.2f} "
            f"({row['speedup_low']:.2f} to {row['speedup_high']:.2f}) | {row['val']:.2%} | "
            f"{points_lost(row['val'], dense['val']):.2f} | {row['test']:.2%} ({low:.2%} to {high:.2%}) | {row['size_bytes']} |"
        )
    tested = card["test"]
    lines += [
        "",
        *confusion_lines(card["labels"], tested["confusion"]),
        "",
        *limit_lines(card, tested["n"]),
        "",
    ]
    return [*lines, *hash_lines(card)]
