"""What the commands print on stdout."""

from __future__ import annotations

import os
import shlex
import shutil
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table

from nassuite.checkpoints import FileCheckpoints
from nassuite.errors import InputError
from nassuite.records import environment
from nassuite.run_directory import STAGES, RunDirectory, read_lines
from nassuite.storage_url import without_password

if TYPE_CHECKING:
    from nassuite.settings import Settings
    from nassuite.space import Space, Stage
    from nassuite.study import BudgetResult, Outcome


class _Console(Console):
    def on_broken_pipe(self) -> None:
        """Rich would exit with 1, which means here that a budget was missed."""
        raise BrokenPipeError


def console() -> Console:
    # Piped, a table must not be cut to the 80 columns of a terminal that is not there.
    width = None if os.isatty(1) else 160
    return _Console(width=width, markup=False, emoji=False, highlight=False, soft_wrap=True)


def print_fitting(out: Console, table: Table, spare: Sequence[str]) -> None:
    """Prints a table without those of its ``spare`` columns, the first named first, that a narrow terminal has no room for.

    They are in the files that the command writes; a column cut off in its middle would say something else.
    """
    anything = out.options.update(width=1000)
    for name in spare:
        if out.measure(table, options=anything).maximum <= out.width:
            break
        kept = [column for column in table.columns if column.header != name]
        table.columns = [replace(column, _index=number) for number, column in enumerate(kept)]
    out.print(table)


def print_outcome(outcome: Outcome) -> None:
    out = console()
    for note in outcome.notes:
        out.print(f"note: {note}")
    for result in outcome.results:
        if result.folder is not None:
            print_fitting(out, _variants(result), spare=("kB", "p90 ms"))
        if result.message:
            out.print(result.message)
        if result.chosen is not None:
            out.print(f"deploy {result.folder}/model.onnx")
    out.print(f"report {outcome.run / 'report' / 'index.html'}")


def _variants(result: BudgetResult) -> Table:
    """All files of a budget."""
    table = Table(title=f"budget {result.budget_ms:g} ms", title_justify="left", box=None, pad_edge=False)
    table.add_column("  variant", no_wrap=True)
    for name in ("p50 ms", "p90 ms", "verdict", "val %", "test %", "95 % CI", "kB"):
        table.add_column(name, justify="left" if name == "verdict" else "right", no_wrap=True)
    for v in result.variants:
        low, high = v["test"]["interval"]
        table.add_row(
            f"{'*' if v['chosen'] else ' '} {v['name']}",
            f"{v['p50_ms']:.3f}",
            f"{v['p90_ms']:.3f}",
            v["verdict"],
            f"{100 * v['val_accuracy']:.2f}",
            f"{100 * v['test']['accuracy']:.2f}",
            f"{100 * low:.1f}-{100 * high:.1f}",
            f"{v['size_bytes'] / 1000:.0f}",
        )
    return table


def print_status(run: RunDirectory) -> None:
    settings, facts = run.read_settings()
    done, seconds, in_use = run.stages_done(), run.stage_seconds(), run.in_use()
    found = run.budgets_ms(settings)
    budgets = ", ".join(f"{budget:g}" for budget in found) + " ms" if found else "the whole front"
    out = console()
    out.print(f"{run.root}: {settings.data}, space {settings.space}, {budgets}, begun {facts['started']}")
    left = [stage for stage in STAGES if stage not in done]
    for stage in STAGES:
        state = "done" if stage in done else "left"
        if left and stage == left[0]:
            state = "running" if in_use else "next"
        spent = f"{seconds[stage]:.0f} s" if stage in seconds else ""
        out.print(f"  {stage:<10} {state:<8} {spent:>7}  {_detail(run, settings, stage)}".rstrip())
    if in_use:
        out.print("a process is working on it")
    elif left:
        out.print(f"continue with: nassuite search --resume {shlex.quote(str(run.root))}")
    else:
        out.print(f"all done: {run.report / 'index.html'}")


def _detail(run: RunDirectory, settings: Settings, stage: str) -> str:
    if stage == "latency":
        return f"{len(read_lines(run.samples))} of {settings.calibration} samples at most"
    if stage == "supernet":
        meta = FileCheckpoints(run.supernet).meta()
        return f"{len(meta['log']) if meta else 0} of {settings.epochs} epochs"
    if stage == "search":
        return _searched(run, settings)
    if stage == "finalists":
        measured = len(read_lines(run.measured))
        return f"{measured} measured so far" if measured else ""
    if stage == "deploy":
        budgets = run.budgets_ms(settings)
        made = [budget for budget in budgets if (run.deploy(budget) / "card.json").exists()]
        return f"models for {len(made)} of {len(budgets)} budgets" if budgets else ""
    return ""


def _searched(run: RunDirectory, settings: Settings) -> str:
    """What fills budgets comes on top of what was asked for."""
    from nassuite.search.driver import trials_in

    if settings.storage is not None and not run.journal.exists():
        return _in_storage(run, settings, settings.storage)
    evaluated, asked = trials_in(run.journal), settings.trials
    assert asked is not None
    more = f", and {evaluated - asked} more to fill budgets" if evaluated > asked else ""
    return f"{min(evaluated, asked)} of {asked} architectures{more}"


def _in_storage(run: RunDirectory, settings: Settings, url: str) -> str:
    """What of a search in a database is done; why it cannot be told, where that is so."""
    from nassuite.search.storage import trials_in_storage

    shown = without_password(url)
    if "supernet" not in run.stages_done():
        return f"0 of {settings.trials} architectures, to come in {shown}"
    try:
        done = trials_in_storage(url, run.study_name())
    except InputError as error:
        return f"{settings.trials} architectures, how many of them are done is not known: {error}"
    return f"{done or 0} of {settings.trials} architectures, in {shown}"


def print_space(space: Space) -> None:
    import torch

    from nassuite.latency.cost import cost
    from nassuite.nn.network import Interface, Network

    out = console()
    out.print(f"space {space.name}: {space.size:.4g} architectures, resolution {_choices(space.resolution)}")
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
    out.print(table)
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
        out.print(
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
    out = console()
    found = environment()
    cpu = found["cpu"]
    out.print(f"cpu      {cpu['name']}, {found['cores']} cores, {' '.join(cpu['flags']) or 'no flags known'}")
    out.print(f"system   {found['system']} {found['machine']}, Python {found['python']}")
    out.print("packages " + ", ".join(f"{name} {version}" for name, version in found["versions"].items()))
    import torch

    device = (
        torch.cuda.get_device_name() if torch.cuda.is_available() else "no CUDA device: training on the CPU"
    )
    out.print(f"device   {device}")
    import onnxruntime

    out.print(
        f"runtime  onnxruntime {onnxruntime.__version__}: {', '.join(onnxruntime.get_available_providers())}"
    )
    from nassuite.latency.target import RUNTIMES, installed_version

    versions = {name: installed_version(name) or "not installed" for name in RUNTIMES}
    out.print("runtimes " + ", ".join(f"{name} ({version})" for name, version in versions.items()))
    free = shutil.disk_usage(".").free
    out.print(
        f"disk     {free / 1e9:.1f} GB free here"
        + ("" if free > 1e9 else ": too little, a run takes up to 1 GB")
    )
    from nassuite.data import DataConfig, load_data

    try:
        images = load_data(DataConfig(data))
    except InputError as error:
        out.print(f"data     {error}")
        return 2
    out.print(
        f"data     {data}: {len(images.train)} train, {len(images.val)} val, {len(images.test)} test images, "
        f"{len(images.labels)} classes, {len(images.skipped)} unreadable"
    )
    return 0
