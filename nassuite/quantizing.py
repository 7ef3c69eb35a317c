"""A network in int8, if that is worth it here: ``nassuite quantize``.

Formats and calibrations are tried; where they lose too much, layers stay in float32, and the weights are fine-tuned
with their rounding. Then every variant is measured beside float32, and the fastest that keeps the accuracy is the result, float32 where none is faster.
"""

from __future__ import annotations

import dataclasses
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nassuite.card import confusion_lines, hash_lines, interface_lines, write_card
from nassuite.classifying import evaluate_file
from nassuite.compress.fine_tune import fine_tuned
from nassuite.compress.quantize import (
    Activation,
    QuantizeConfig,
    Quantizer,
    keep_sensitive,
    quantizer,
    sensitivities,
)
from nassuite.data import Data
from nassuite.deploy import evaluation_images
from nassuite.errors import InputError
from nassuite.latency.meter import Meter, measure
from nassuite.latency.target import Target
from nassuite.metrics import score
from nassuite.onnx_export import run_onnx
from nassuite.onnx_source import OnnxSource, open_onnx
from nassuite.progress import SILENT, Progress
from nassuite.quantize_settings import QuantizeSettings
from nassuite.records import write_bytes, write_json
from nassuite.run_directory import RunDirectory
from nassuite.settings import to_table
from nassuite.training_job import cuda_or_cpu

FORMATS: dict[str, Activation] = {"u8s8": "uint8", "s8s8": "int8"}
"""Activations and weights, as the kernels are called."""


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


@dataclass(frozen=True, eq=False)
class _Candidate:
    """A file that was made, before it is measured."""

    name: str
    content: bytes
    val: float
    calibration: str = ""
    kept: tuple[str, ...] = ()


def quantize(
    model: str | Path,
    *,
    out: str | Path,
    meter: Meter = measure,
    progress: Progress = SILENT,
    **flags: Any,
) -> Quantized:
    """Quantises a classifier to int8 into the new folder ``out``, and keeps there what is best on this machine.

    ``model`` is the folder of a training, a deploy folder, or an .onnx file that takes ``image`` float32
    (N, C, H, W) in 0..1 and gives logits (N, classes). ``flags`` are the fields of ``QuantizeSettings``:
    ``data``, ``max_drop`` (points of validation accuracy), and so on. Ranges are taken from training images,
    choices are made on validation images, test is read once, at the end.

    Static quantisation with one scale per output channel (Krishnamoorthi 2018, arXiv 1806.08342, section 3); what loses
    more than ``max_drop`` is fine-tuned with its rounding (section 3.2), with the same scales. Raises InputError for
    anything wrong with the input.
    """
    settings = QuantizeSettings(model=str(model), **flags)
    settings = dataclasses.replace(settings, device=cuda_or_cpu(settings.device))
    run, target = RunDirectory(Path(out)), Target(threads=settings.threads)
    run.check_new()
    source = open_onnx(Path(settings.model), settings.data, seed=settings.seed, progress=progress)
    candidates = _candidates(settings, source, progress)
    run.create()
    with run.locked():
        for candidate in candidates:
            write_bytes(run.root / _file(candidate.name), candidate.content)
        variants = _measured(
            settings, candidates, source.data, run.root, target=target, meter=meter, progress=progress
        )
        chosen = choose(variants, settings.max_drop)
        write_bytes(run.root / "model.onnx", (run.root / chosen.file).read_bytes())
        found = Quantized(run.root, tuple(variants), chosen.name)
        _write(settings, source, found, target)
    return found


def choose(variants: Sequence[Variant], max_drop: float) -> Variant:
    """The fastest that loses at most ``max_drop`` points on validation and is faster than the first beyond noise.

    The first is float32, which it is if none of the others will do.
    """
    dense = variants[0]
    eligible = [
        variant
        for variant in variants[1:]
        if variant.speedup_low > 1 and _drop(variant.val, dense.val) <= max_drop
    ]
    return max(eligible, key=lambda variant: variant.speedup, default=dense)


def _drop(val: float, dense: float) -> float:
    """In points; what rounding adds to a difference of two fractions is taken off."""
    return round(100 * (dense - val), 9)


def _file(name: str) -> str:
    return f"model.{name}.onnx"


def _candidates(settings: QuantizeSettings, source: OnnxSource, progress: Progress) -> list[_Candidate]:
    """Float32, each format with its best calibration, and where that loses too much with layers in float32."""
    data = source.data
    images, labels = evaluation_images(data.val), data.val.labels.numpy()
    calibration = evaluation_images(data.train.subset(settings.calibration_images, settings.seed))

    def accuracy(file: bytes) -> float:
        return score(run_onnx(file, images), labels, metric=settings.metric)

    dense = source.content
    found = [_Candidate("fp32", dense, accuracy(dense))]
    with tempfile.TemporaryDirectory(prefix="nassuite-quantize-") as folder:
        path = Path(folder) / "model.onnx"
        path.write_bytes(dense)
        with quantizer(path, calibration) as made:
            for name, activation in progress.track(FORMATS.items(), "quantising"):
                config, best = _best_calibration(name, activation, made, accuracy)
                found.append(best)
                lost = _drop(best.val, found[0].val)
                if lost > settings.max_drop:
                    progress.say(f"{name} loses {lost:.2g} points: looking for the layers that lose most")
                    found.append(
                        _mixed(
                            name, config, made, accuracy=accuracy, dense=found[0], max_drop=settings.max_drop
                        )
                    )
                    found += _tuned(settings, data, best, dense=dense, accuracy=accuracy, progress=progress)
    return found


def _best_calibration(
    name: str, activation: Activation, made: Quantizer, accuracy: Callable[[bytes], float]
) -> tuple[QuantizeConfig, _Candidate]:
    configs = [
        QuantizeConfig(method, exclude, activation=activation)
        for exclude in ((), ("squeeze-excite",))
        for method in ("minmax", "percentile", "entropy")
    ]
    best: tuple[QuantizeConfig, _Candidate] | None = None
    for config in made.distinct(configs):
        file = made.int8(config)
        val = accuracy(file)
        if best is None or val > best[1].val:
            best = config, _Candidate(name, file, val, config.method, config.exclude)
    assert best is not None
    return best


def _mixed(
    name: str,
    config: QuantizeConfig,
    made: Quantizer,
    *,
    accuracy: Callable[[bytes], float],
    dense: _Candidate,
    max_drop: float,
) -> _Candidate:
    expected = run_onnx(dense.content, made.calibration)
    errors = sensitivities(made, config, lambda file: run_onnx(file, made.calibration), expected)
    mixed, file = keep_sensitive(
        made, config, sorted(errors, key=errors.__getitem__),
        lambda file: _drop(accuracy(file), dense.val) <= max_drop,
    )  # fmt: skip
    return _Candidate(f"{name}-mixed", file, accuracy(file), mixed.method, mixed.exclude)


def _tuned(
    settings: QuantizeSettings,
    data: Data,
    static: _Candidate,
    *,
    dense: bytes,
    accuracy: Callable[[bytes], float],
    progress: Progress,
) -> list[_Candidate]:
    """The format after quantisation-aware fine-tuning; none where that was not asked for or cannot be done."""
    if settings.finetune_epochs == 0:
        return []
    try:
        file = fine_tuned(
            static.content, dense, data, epochs=settings.finetune_epochs, batch_size=settings.batch_size,
            lr=settings.lr, seed=settings.seed, device=settings.device, progress=progress,
        )  # fmt: skip
    except InputError as error:
        progress.say(f"{static.name} {error}")
        return []
    return [dataclasses.replace(static, name=f"{static.name}-tuned", content=file, val=accuracy(file))]


def _measured(
    settings: QuantizeSettings,
    candidates: Sequence[_Candidate],
    data: Data,
    folder: Path,
    *,
    target: Target,
    meter: Meter,
    progress: Progress,
) -> list[Variant]:
    paths = [folder / _file(candidate.name) for candidate in candidates]
    measurements = meter(paths, target, progress=progress, seed=settings.seed)
    dense = measurements[0]
    variants = []
    for candidate, path, m in zip(candidates, paths, measurements, strict=True):
        test = evaluate_file(path, data.test, metric=settings.metric)
        variants.append(
            Variant(
                candidate.name, path.name, candidate.calibration, candidate.kept, candidate.val,
                test["accuracy"], tuple(test["interval"]), m.p50_ms, m.p90_ms, dense.ratio / m.ratio,
                dense.ratio_low / m.ratio_high, dense.ratio_high / m.ratio_low, path.stat().st_size,
            )
        )  # fmt: skip
    return variants


def _write(settings: QuantizeSettings, source: OnnxSource, found: Quantized, target: Target) -> None:
    rows = [dataclasses.asdict(variant) for variant in found.variants]
    chosen = found.folder / "model.onnx"
    test = evaluate_file(chosen, source.data.test, metric=settings.metric)
    record = {
        "settings": to_table(settings), "chosen": found.chosen, "variants": rows, "target": target.describe(),
    }  # fmt: skip
    write_json(found.folder / "quantize.json", record)
    shape = (source.data.in_chans, source.data.size, source.data.size)
    card = {
        "model": settings.model, "shape": list(shape), "labels": list(source.data.labels), "metric": settings.metric,
        "data": source.data.name, "test": test, **record,
    }  # fmt: skip
    write_card(found.folder, card, _markdown)


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
            f"{_drop(row['val'], dense['val']):.2f} | {row['test']:.2%} ({low:.2%} to {high:.2%}) | {row['size_bytes']} |"
        )
    return [*lines, "", *confusion_lines(card["labels"], card["test"]["confusion"]), "", *hash_lines(card)]
