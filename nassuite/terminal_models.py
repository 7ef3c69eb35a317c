"""What the commands around networks and models print on stdout."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.table import Table

from nassuite.latency.choice import fastest
from nassuite.report.runs_text import answers
from nassuite.terminal import console, print_fitting

if TYPE_CHECKING:
    from torch import nn

    from nassuite.benchmark import Timed
    from nassuite.distilling import Distilled
    from nassuite.exporting import Exported
    from nassuite.latency.choice import Contender
    from nassuite.latency.meter import Measurement
    from nassuite.latency.target import Target
    from nassuite.pruning_result import Pruned
    from nassuite.quantizing import Quantized
    from nassuite.report.comparison import Comparison
    from nassuite.report.runs import RunComparison
    from nassuite.sensitivity import Point
    from nassuite.training import Trained


NARROW = 72
"""Columns under which papers are left out of the list of networks: they would be broken into syllables."""
LESSER = ("min ms", "A/A", "p90 ms")
"""Of a measurement, what a narrow terminal goes without."""


def print_zoo(rows: Sequence[dict[str, Any]]) -> None:
    """One line a network, as its paper gives it."""
    table = Table(box=None, pad_edge=False)
    for column in ("network", "params M", "MACs M", "at", "top-1 %", "paper"):
        right = column in ("params M", "MACs M", "at", "top-1 %")
        table.add_column(column, justify="right" if right else "left", no_wrap=column != "paper")
    for row in rows:
        top1 = f"{row['top1']:.1f}" if row["top1"] else ""
        table.add_row(
            row["variant"], f"{row['params'] / 1e6:.2f}", _millions(row["macs"]),
            "x".join(str(side) for side in dict.fromkeys(row["size"])), top1, row["paper"],
        )  # fmt: skip
    out = console()
    print_fitting(out, table, spare=("paper",) if out.width < NARROW else ())


def print_network(model: str, size: int | None) -> None:
    """Stages of a network with what each costs, then its paper, options and known variants."""
    import torch

    from nassuite.latency.cost import cost
    from nassuite.zoo.catalogue import NETWORKS
    from nassuite.zoo.create import check_size, factory, options, parse_model
    from nassuite.zoo.reference import variants

    name, config = parse_model(model)
    entry = NETWORKS[name]
    shape = (size, size) if size else entry.size
    with torch.device("meta"):
        network = factory(entry)(
            num_classes=entry.num_classes, in_chans=entry.in_chans, **entry.config, **config
        )
    check_size(network, entry.in_chans, shape, model)
    counted = cost(network, (entry.in_chans, *shape))
    out = console()
    out.print(f"{model}: {entry.kind}, {entry.num_classes} classes, {shape[0]}x{shape[1]} pixels")
    out.print(entry.paper)
    table = Table(box=None, pad_edge=False)
    table.add_column("stage")
    for column in ("output", "params", "MACs M"):
        table.add_column(column, justify="right")
    parts = _parts(network)
    shapes: dict[str, str] = {}
    for part, module in parts:
        module.register_forward_hook(partial(_note_shape, shapes, part))
    with torch.no_grad():
        network.eval()(torch.empty(1, entry.in_chans, *shape, device="meta"))
    for part, module in parts:
        macs = sum(layer.macs for layer in counted.layers if f"{layer.name}.".startswith(f"{part}."))
        params = sum(parameter.numel() for parameter in module.parameters())
        table.add_row(part.removeprefix("stages."), shapes.get(part, ""), f"{params:,}", f"{macs / 1e6:.2f}")
    table.add_row("all", "", f"{counted.params:,}", f"{counted.macs / 1e6:.2f}")
    out.print(table)
    own = ", ".join(f"{key}={default!r}" for key, default in options(entry).items())
    out.print(f"options: {own or 'none'}")
    for row in variants(name):
        top1 = f", top-1 {row.top1:g} %" if row.top1 else ""
        about = "about " if row.rounded else ""
        out.print(
            f"  {row.call} at {row.size[0]}: {about}{row.params:,} params, {row.macs / 1e6:g} M MACs{top1}"
        )


def _note_shape(shapes: dict[str, str], part: str, module: Any, inputs: Any, output: Any) -> None:
    tensors = output if isinstance(output, list | tuple) else [output]
    shapes[part] = ", ".join("x".join(str(side) for side in tensor.shape[1:]) for tensor in tensors)


def _parts(network: nn.Module) -> list[tuple[str, nn.Module]]:
    """The stages and heads, or the immediate children of a network that has none."""
    found = []
    for name, child in network.named_children():
        if name in ("stages", "aux_heads"):
            found += [(f"{name}.{inner}", module) for inner, module in child.named_children()]
        else:
            found.append((name, child))
    return found


def print_trained(trained: Trained) -> None:
    out, test = console(), trained.test
    if "miou" in test:
        reached = f"mean IoU on test {test['miou']:.2%} (n = {test['n']})"
    else:
        low, high = test["interval"]
        reached = f"test {test['accuracy']:.2%} ({low:.2%} to {high:.2%}, n = {test['n']})"
    out.print(
        f"{trained.settings.model}: {reached}, validation {trained.val:.2%}, {trained.params / 1e6:.3f} M parameters, "
        f"{trained.macs / 1e6:.2f} M MACs, {trained.settings.epochs} epochs in {trained.seconds:.0f} s"
    )
    out.print(f"model {trained.folder}/model.onnx")


def print_distilled(found: Distilled) -> None:
    print_trained(found.student)
    out = console()
    if found.alone is not None:
        low, high = found.alone.test["interval"]
        out.print(
            f"without the teacher: test {found.alone.test['accuracy']:.2%} ({low:.2%} to {high:.2%}), validation "
            f"{found.alone.val:.2%}: the teacher brought {found.gain:+.2f} points"
        )
    out.print(f"report {found.student.folder}/distill.md")


def print_exported(exported: Exported) -> None:
    table = Table(box=None, pad_edge=False)
    table.add_column("format")
    for column in ("from PyTorch", "logits up to", "same answer", "MB"):
        table.add_column(column, justify="right", no_wrap=True)
    for name, parity in exported.parity.items():
        table.add_row(
            name, f"{parity.max_abs_diff:.1e}", f"{parity.scale:.3g}", f"{parity.top1_agreement:.0%}",
            f"{parity.size_bytes / 1e6:.2f}",
        )  # fmt: skip
    out = console()
    size = "x".join(str(side) for side in exported.shape)
    out.print(
        f"{exported.name}: {size}, {exported.params / 1e6:.3f} M parameters, {exported.macs / 1e6:.2f} M MACs"
    )
    print_fitting(out, table, spare=("logits up to",))
    out.print(f"folder {exported.folder}")


def print_pruned(pruned: Pruned) -> None:
    table = Table(box=None, pad_edge=False)
    table.add_column("model")
    for column in ("p50 ms", "p90 ms", "ratio", "MACs M", "params M", "val %", "test %", "95 % CI"):
        table.add_column(column, justify="right", no_wrap=True)
    for row in pruned.rows:
        low, high = row.test_interval
        table.add_row(
            row.name, f"{row.p50_ms:.4g}", f"{row.p90_ms:.4g}", f"{row.ratio:.3f}", f"{row.macs / 1e6:.2f}",
            f"{row.params / 1e6:.3f}", f"{100 * row.val:.1f}", f"{100 * row.test:.1f}", f"{100 * low:.1f}-{100 * high:.1f}",
        )  # fmt: skip
    out = console()
    print_fitting(out, table, spare=("params M", "p90 ms", "95 % CI"))
    left = len(pruned.record.kept)
    out.print(
        f"{len(pruned.record.pruned)} groups of layers pruned, {left} left alone (why: {pruned.folder / 'pruning.json'})"
    )
    if pruned.certificate:
        out.print(str(pruned.certificate))
    if not pruned.met:
        out.print("the result misses the target")
    out.print(f"model {pruned.folder}/model.onnx")


def print_quantized(found: Quantized) -> None:
    table = Table(box=None, pad_edge=False)
    table.add_column("variant", no_wrap=True)
    for column in ("p50 ms", "speed-up", "95 % CI", "val %", "test %", "95 % CI", "MB"):
        table.add_column(column, justify="right", no_wrap=True)
    for row in found.variants:
        low, high = row.test_interval
        table.add_row(
            ("* " if row.name == found.chosen else "  ") + row.name, f"{row.p50_ms:.4g}", f"{row.speedup:.2f}",
            f"{row.speedup_low:.2f}-{row.speedup_high:.2f}", f"{100 * row.val:.2f}", f"{100 * row.test:.2f}",
            f"{100 * low:.1f}-{100 * high:.1f}", f"{row.size_bytes / 1e6:.2f}",
        )  # fmt: skip
    out = console()
    print_fitting(out, table, spare=("MB", "95 % CI"))
    out.print(f"* is {found.folder}/model.onnx; why: {found.folder}/card.md")


def print_sensitivity(points: Sequence[Point], folder: Path) -> None:
    """For each layer, the largest share of its channels that costs a point of accuracy or less."""
    dense = points[0]
    table = Table(box=None, pad_edge=False)
    table.add_column("layer", no_wrap=True)
    for column in ("channels", "to spare %", "val %", "MACs left %"):
        table.add_column(column, justify="right")
    for layer in dict.fromkeys(point.layer for point in points[1:]):
        own = [point for point in points if point.layer == layer]
        spare = max(
            (p for p in own if p.accuracy >= dense.accuracy - 0.01), key=lambda p: p.ratio, default=None
        )
        row = ("0", f"{100 * dense.accuracy:.1f}", "100")
        if spare:
            row = (f"{100 * spare.ratio:.0f}", f"{100 * spare.accuracy:.1f}", f"{100 * spare.macs_left:.0f}")
        table.add_row(layer, str(own[0].before), *row)
    out = console()
    out.print(table)
    out.print(
        "to spare: what can go from this layer alone, without fine-tuning, for a point of accuracy at most"
    )
    out.print(f"points {folder / 'sensitivity.csv'}, drawn in {folder / 'sensitivity.png'}")


def print_measurements(names: Sequence[str], measurements: Sequence[Measurement]) -> None:
    """In the order given; ratios are to the first."""
    table = _latency_table("model")
    for name, m in zip(names, measurements, strict=True):
        table.add_row(*_latency_row(name, m, measurements[0]))
    out = console()
    print_fitting(out, table, spare=LESSER)
    out.print("ratio: to the first model, by the reference network measured in the same rounds")


def _latency_table(what: str) -> Table:
    table = Table(box=None, pad_edge=False)
    table.add_column(what, no_wrap=True)
    for column in ("p50 ms", "p90 ms", "min ms", "ratio", "95 % CI", "A/A"):
        table.add_column(column, justify="right", no_wrap=True)
    return table


def _latency_row(name: str, m: Measurement, first: Measurement) -> list[str]:
    worst = max(m.aa_ratios, key=lambda ratio: abs(ratio - 1))
    low, high = m.ratio_low / first.ratio, m.ratio_high / first.ratio
    return [
        name + (" (noisy)" if m.noisy else ""), f"{m.p50_ms:.4g}", f"{m.p90_ms:.4g}", f"{m.min_ms:.4g}",
        f"{m.ratio / first.ratio:.3f}", f"{low:.3f}-{high:.3f}", f"{worst:.3f}",
    ]  # fmt: skip


def print_contenders(tried: Mapping[str, Sequence[Contender]]) -> None:
    """For each model every runtime that was tried, in the same rounds; the fastest is named."""
    out = console()
    for model, contenders in tried.items():
        best = fastest(contenders)
        table = _latency_table("runtime")
        measured = [(c, c.measurement) for c in contenders if c.measurement is not None]
        for contender, m in measured:
            table.add_row(*_latency_row(str(contender.target), m, measured[0][1]))
        out.print(model)
        print_fitting(out, table, spare=LESSER)
        for contender in contenders:
            out.print(f"  {contender.target}: {contender.refusal or contender.agreement}", soft_wrap=True)
        out.print(f"fastest: {best.target}")


def print_bench(timed: Sequence[Timed], size: int, target: Target) -> None:
    table = Table(box=None, pad_edge=False)
    table.add_column("network", no_wrap=True)
    for column in ("p50 ms", "p90 ms", "params M", "MACs M", "GMAC/s", "MB"):
        table.add_column(column, justify="right")
    for t in sorted(timed, key=lambda t: t.p50_ms):
        table.add_row(
            t.name + (" (noisy)" if t.noisy else ""), f"{t.p50_ms:.3f}", f"{t.p90_ms:.3f}",
            f"{t.params / 1e6:.2f}", f"{t.macs / 1e6:.1f}", f"{t.macs / t.p50_ms / 1e6:.1f}", f"{t.size_bytes / 1e6:.1f}",
        )  # fmt: skip
    out = console()
    out.print(f"{size}x{size} pixels, batch 1, {target}, all measured in the same rounds")
    print_fitting(out, table, spare=("MB", "GMAC/s", "p90 ms"))


def print_comparison(comparison: Comparison, folder: Path) -> None:
    table = Table(box=None, pad_edge=False)
    table.add_column("network", no_wrap=True)
    for column in ("p50 ms", "val %", "test %", "95 % CI", "MACs M", "params M"):
        table.add_column(column, justify="right", no_wrap=True)
    for row in sorted(comparison.rows, key=lambda row: row.p50_ms):
        low, high = row.test_interval
        table.add_row(
            ("* " if row.name in comparison.front else "  ") + row.name, f"{row.p50_ms:.3f}",
            f"{100 * row.val_accuracy:.1f}", f"{100 * row.test_accuracy:.1f}", f"{100 * low:.1f}-{100 * high:.1f}",
            f"{row.macs / 1e6:.1f}", f"{row.params / 1e6:.3f}",
        )  # fmt: skip
    out = console()
    print_fitting(out, table, spare=("params M", "95 % CI"))
    out.print("* on the front of validation accuracy and latency")
    out.print(f"report {folder / 'report.md'}")


def print_run_comparison(comparison: RunComparison) -> None:
    """The answer under each budget, and what to be careful about."""
    out = console()
    for answer in answers(comparison):
        out.print(answer.title, style="bold")
        if answer.path:
            out.print(f"  {answer.path}")
        for label, value, words in answer.facts:
            out.print(f"  {label} {value}" + (f", {words}" if words else ""))
        out.print(f"  {answer.verdict}")
    for remark in comparison.remarks:
        out.print(f"note: {remark}")


def _millions(value: float) -> str:
    return f"{value / 1e6:.0f}" if value >= 1e8 else f"{value / 1e6:.3g}"
