"""What the commands print on stdout."""

from __future__ import annotations

import os
import shlex
import shutil
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table

from nassuite.errors import InputError
from nassuite.records import environment
from nassuite.run_directory import STAGES, FileCheckpoints, RunDirectory, read_lines

if TYPE_CHECKING:
    from pathlib import Path

    from torch import nn

    from nassuite.benchmark import Timed
    from nassuite.latency.meter import Measurement
    from nassuite.pruning import Pruned
    from nassuite.report.comparison import Comparison
    from nassuite.settings import Settings
    from nassuite.space import Space, Stage
    from nassuite.study import BudgetResult, Outcome
    from nassuite.training import Trained

WIDE = 74
"""Columns that the table of variants takes in full."""


class _Console(Console):
    def on_broken_pipe(self) -> None:
        """Rich would exit with 1, which means here that a budget was missed."""
        raise BrokenPipeError


def _console() -> Console:
    # Piped, a table must not be cut to the 80 columns of a terminal that is not there.
    width = None if os.isatty(1) else 160
    return _Console(width=width, markup=False, emoji=False, highlight=False, soft_wrap=True)


def print_outcome(outcome: Outcome) -> None:
    console = _console()
    for note in outcome.notes:
        console.print(f"note: {note}")
    for result in outcome.results:
        if result.folder is not None:
            console.print(_variants(result, wide=console.width >= WIDE))
        if result.message:
            console.print(result.message)
        else:
            console.print(f"deploy {result.folder}/model.onnx")
    console.print(f"report {outcome.run / 'report' / 'index.html'}")


def _variants(result: BudgetResult, *, wide: bool) -> Table:
    """All files of a budget; those columns that a narrow terminal has no room for are on the card."""
    table = Table(title=f"budget {result.budget_ms:g} ms", title_justify="left", box=None, pad_edge=False)
    table.add_column("  variant", no_wrap=True)
    for name in ("p50 ms", *(("p90 ms",) if wide else ()), "verdict", "val %", "test %", "95 % CI"):
        table.add_column(name, justify="left" if name == "verdict" else "right", no_wrap=True)
    if wide:
        table.add_column("kB", justify="right")
    for v in result.variants:
        low, high = v["test"]["interval"]
        table.add_row(
            f"{'*' if v['chosen'] else ' '} {v['name']}",
            f"{v['p50_ms']:.3f}",
            *([f"{v['p90_ms']:.3f}"] if wide else []),
            v["verdict"],
            f"{100 * v['val_accuracy']:.2f}",
            f"{100 * v['test']['accuracy']:.2f}",
            f"{100 * low:.1f}-{100 * high:.1f}",
            *([f"{v['size_bytes'] / 1000:.0f}"] if wide else []),
        )
    return table


def print_status(run: RunDirectory) -> None:
    settings, facts = run.read_settings()
    done, seconds, in_use = run.stages_done(), run.stage_seconds(), run.in_use()
    budgets = ", ".join(f"{budget:g}" for budget in settings.budget_ms)
    console = _console()
    console.print(
        f"{run.root}: {settings.data}, space {settings.space}, {budgets} ms, begun {facts['started']}"
    )
    left = [stage for stage in STAGES if stage not in done]
    for stage in STAGES:
        state = "done" if stage in done else "left"
        if left and stage == left[0]:
            state = "running" if in_use else "next"
        spent = f"{seconds[stage]:.0f} s" if stage in seconds else ""
        console.print(f"  {stage:<10} {state:<8} {spent:>7}  {_detail(run, settings, stage)}".rstrip())
    if in_use:
        console.print("a process is working on it")
    elif left:
        console.print(f"continue with: nassuite search --resume {shlex.quote(str(run.root))}")
    else:
        console.print(f"all done: {run.report / 'index.html'}")


def _detail(run: RunDirectory, settings: Settings, stage: str) -> str:
    if stage == "latency":
        return f"{len(read_lines(run.samples))} of {settings.calibration} samples"
    if stage == "supernet":
        meta = FileCheckpoints(run.supernet).meta()
        return f"{len(meta['log']) if meta else 0} of {settings.epochs} epochs"
    if stage == "search":
        from nassuite.search.driver import trials_in

        return f"{trials_in(run.journal)} of {settings.trials} architectures"
    if stage == "deploy":
        made = [budget for budget in settings.budget_ms if (run.deploy(budget) / "card.json").exists()]
        return f"models for {len(made)} of {len(settings.budget_ms)} budgets"
    return ""


def print_zoo(rows: Sequence[dict[str, Any]]) -> None:
    """One line a network, as its paper gives it."""
    table = Table(box=None, pad_edge=False)
    for column in ("network", "params M", "MACs M", "at", "top-1 %", "paper"):
        right = column in ("params M", "MACs M", "at", "top-1 %")
        table.add_column(column, justify="right" if right else "left", no_wrap=column != "paper")
    for row in rows:
        top1 = f"{row['top1']:.1f}" if row["top1"] else ""
        table.add_row(
            row["variant"], f"{row['params'] / 1e6:.2f}", f"{row['macs'] / 1e6:.0f}",
            "x".join(str(side) for side in dict.fromkeys(row["size"])), top1, row["paper"],
        )  # fmt: skip
    _console().print(table)


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
    console = _console()
    console.print(f"{model}: {entry.kind}, {entry.num_classes} classes, {shape[0]}x{shape[1]} pixels")
    console.print(entry.paper)
    table = Table(box=None, pad_edge=False)
    table.add_column("stage")
    for column in ("output", "params", "MACs M"):
        table.add_column(column, justify="right")
    for part, module in _parts(network):
        layers = [layer for layer in counted.layers if f"{layer.name}.".startswith(f"{part}.")]
        table.add_row(
            part.removeprefix("stages."),
            "x".join(str(side) for side in layers[-1].out_shape) if layers else "",
            f"{sum(parameter.numel() for parameter in module.parameters()):,}",
            f"{sum(layer.macs for layer in layers) / 1e6:.2f}",
        )
    table.add_row("all", "", f"{counted.params:,}", f"{counted.macs / 1e6:.2f}")
    console.print(table)
    own = ", ".join(f"{key}={default!r}" for key, default in options(entry).items())
    console.print(f"options: {own or 'none'}")
    for row in variants(name):
        top1 = f", top-1 {row.top1:g} %" if row.top1 else ""
        about = "about " if row.rounded else ""
        console.print(
            f"  {row.call} at {row.size[0]}: {about}{row.params:,} params, {row.macs / 1e6:g} M MACs{top1}"
        )


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
    console, test = _console(), trained.test
    if "miou" in test:
        reached = f"mean IoU on test {test['miou']:.2%} (n = {test['n']})"
    else:
        low, high = test["interval"]
        reached = f"test {test['accuracy']:.2%} ({low:.2%} to {high:.2%}, n = {test['n']})"
    console.print(
        f"{trained.settings.model}: {reached}, validation {trained.val:.2%}, {trained.params / 1e6:.3f} M parameters, "
        f"{trained.macs / 1e6:.2f} M MACs, {trained.settings.epochs} epochs in {trained.seconds:.0f} s"
    )
    console.print(f"model {trained.folder}/model.onnx")


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
    console = _console()
    console.print(table)
    left = len(pruned.record.kept)
    console.print(
        f"{len(pruned.record.pruned)} groups of layers pruned, {left} left alone (why: {pruned.folder / 'pruning.json'})"
    )
    if pruned.certificate:
        console.print(str(pruned.certificate))
    if not pruned.met:
        console.print("the result misses the target")
    console.print(f"model {pruned.folder}/model.onnx")


def print_measurements(names: Sequence[str], measurements: Sequence[Measurement]) -> None:
    """In the order given; ratios are to the first."""
    table = Table(box=None, pad_edge=False)
    table.add_column("model", no_wrap=True)
    for column in ("p50 ms", "p90 ms", "min ms", "ratio", "95 % CI", "A/A"):
        table.add_column(column, justify="right", no_wrap=True)
    first = measurements[0].ratio
    for name, m in zip(names, measurements, strict=True):
        worst = max(m.aa_ratios, key=lambda ratio: abs(ratio - 1))
        table.add_row(
            name + (" (noisy)" if m.noisy else ""), f"{m.p50_ms:.4g}", f"{m.p90_ms:.4g}", f"{m.min_ms:.4g}",
            f"{m.ratio / first:.3f}", f"{m.ratio_low / first:.3f}-{m.ratio_high / first:.3f}", f"{worst:.3f}",
        )  # fmt: skip
    console = _console()
    console.print(table)
    console.print("ratio: to the first model, by the reference network measured in the same rounds")


def print_bench(timed: Sequence[Timed], size: int) -> None:
    table = Table(box=None, pad_edge=False)
    table.add_column("network", no_wrap=True)
    for column in ("p50 ms", "p90 ms", "params M", "MACs M", "GMAC/s", "MB"):
        table.add_column(column, justify="right")
    for t in sorted(timed, key=lambda t: t.p50_ms):
        table.add_row(
            t.name + (" (noisy)" if t.noisy else ""), f"{t.p50_ms:.3f}", f"{t.p90_ms:.3f}",
            f"{t.params / 1e6:.2f}", f"{t.macs / 1e6:.1f}", f"{t.macs / t.p50_ms / 1e6:.1f}", f"{t.size_bytes / 1e6:.1f}",
        )  # fmt: skip
    console = _console()
    console.print(f"{size}x{size} pixels, batch 1, all measured in the same rounds")
    console.print(table)


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
    console = _console()
    console.print(table)
    console.print("* on the front of validation accuracy and latency")
    console.print(f"report {folder / 'report.md'}")


def print_space(space: Space) -> None:
    import torch

    from nassuite.latency.cost import cost
    from nassuite.nn.network import Interface, Network

    console = _console()
    console.print(
        f"space {space.name}: {space.size:.4g} architectures, resolution {_choices(space.resolution)}"
    )
    table = Table(box=None, pad_edge=False)
    for column in ("stage", "width", "depth", "stride", "operator", "kernel", "expand", "se", "act"):
        table.add_column(column)
    table.add_row(
        "stem", _choices(space.stem_width), "1", str(space.stem_stride), "convolution", str(space.stem_kernel)
    )
    for number, stage in enumerate(space.stages):
        table.add_row(
            str(number), _choices(stage.width), _choices(stage.depth), str(stage.stride), _operators(stage),
            _choices(stage.kernel), _choices(stage.expand), _choices(stage.se), _choices(stage.act),
        )  # fmt: skip
    table.add_row("head", _choices(space.head_width), "1", "1", "pointwise")
    console.print(table)
    interface = Interface(3, 1000 if max(space.resolution) > 64 else 10, (0.5,) * 3, (0.25,) * 3)
    for which in ("smallest", "largest"):
        found = []
        for operator in space.operators:
            arch = space.extreme(which, operator)
            with torch.device("meta"):
                network = Network(arch, interface)
            found.append(cost(network, (3, arch.resolution, arch.resolution)))
        pick = min if which == "smallest" else max
        macs, params = pick(c.macs for c in found), pick(c.params for c in found)
        console.print(
            f"{which}: {macs / 1e6:.2f} M MACs, {params / 1e6:.3f} M parameters "
            f"({interface.num_classes} classes, one operator throughout)"
        )


def _operators(stage: Stage) -> str:
    blocks = _choices(stage.operator)
    return f"{_choices(stage.downsample)}, then {blocks}" if stage.downsample else blocks


def _choices(values: tuple[Any, ...]) -> str:
    return " ".join(f"{v:g}" if isinstance(v, float) else str(v).lower() for v in values)


def print_doctor(data: str) -> int:
    """Returns the exit code: 0 if a search could start here."""
    console = _console()
    found = environment()
    cpu = found["cpu"]
    console.print(
        f"cpu      {cpu['name']}, {found['cores']} cores, {' '.join(cpu['flags']) or 'no flags known'}"
    )
    console.print(f"system   {found['system']} {found['machine']}, Python {found['python']}")
    console.print("packages " + ", ".join(f"{name} {version}" for name, version in found["versions"].items()))
    import torch

    device = (
        torch.cuda.get_device_name() if torch.cuda.is_available() else "no CUDA device: training on the CPU"
    )
    console.print(f"device   {device}")
    import onnxruntime

    console.print(
        f"runtime  onnxruntime {onnxruntime.__version__}: {', '.join(onnxruntime.get_available_providers())}"
    )
    free = shutil.disk_usage(".").free
    console.print(
        f"disk     {free / 1e9:.1f} GB free here"
        + ("" if free > 1e9 else ": too little, a run takes up to 1 GB")
    )
    from nassuite.data import DataConfig, load_data

    try:
        images = load_data(DataConfig(data))
    except InputError as error:
        console.print(f"data     {error}")
        return 2
    console.print(
        f"data     {data}: {len(images.train)} train, {len(images.val)} val, {len(images.test)} test images, "
        f"{len(images.labels)} classes, {len(images.skipped)} unreadable"
    )
    return 0
