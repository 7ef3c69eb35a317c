"""Accuracy against pruning ratio, layer by layer: ``nassuite prune MODEL --sensitivity``.

DIR/sensitivity.toml (settings, facts), points.jsonl (as they are found), then sensitivity.csv, .svg and .png.
"""

from __future__ import annotations

import csv
import dataclasses
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from torch import nn

from nassuite.compress.importance import OF_THE_LOSS
from nassuite.compress.prune import Proven, channel_scores, prove, prune_to
from nassuite.compress.widths import PruneConfig, lower_widths
from nassuite.errors import InputError
from nassuite.latency.cost import cost
from nassuite.metrics import score
from nassuite.progress import SILENT, Progress
from nassuite.prune_settings import PruneSettings, SensitivitySettings
from nassuite.pruning import SCORING_IMAGES, check_facts, resolved
from nassuite.pruning_source import Brought, bring_model
from nassuite.records import write_bytes, write_text, write_toml
from nassuite.run_directory import RunDirectory, begin_or_resume, remembering
from nassuite.settings import to_table
from nassuite.train.recalibrate import predict

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SHARES = (0.25, 0.5, 0.625, 0.75, 0.875)
"""Of a group's channels that stay; widths are the aligned ones nearest to them."""


@dataclass(frozen=True)
class Point:
    """One group of layers cut alone: ``layer`` is its root, ``accuracy`` that of validation images, 0..1.

    ``ratio`` is the share of its ``before`` channels that is gone, ``macs_left`` the share of the whole network's
    multiply-accumulates. Nothing was fine-tuned.
    """

    layer: str
    before: int
    after: int
    accuracy: float
    macs_left: float

    @property
    def ratio(self) -> float:
        return 1 - self.after / self.before


def sensitivity(
    settings: SensitivitySettings | None,
    *,
    out: Path,
    resume: bool = False,
    progress: Progress = SILENT,
    command: Sequence[str] | None = None,
) -> list[Point]:
    """Cuts each group of layers alone, to several widths, and evaluates without fine-tuning; widest first.

    The first point is the network as it is, with an empty name. Raises InputError for anything wrong with the input.
    """
    run = RunDirectory(out)
    path = out / "sensitivity.toml"
    found = begin_or_resume(
        path, SensitivitySettings, settings, what="sensitivity analysis", resume=resume, command=command
    )
    settings, facts = found
    brought = bring_model(
        settings.model, weights=settings.weights, data=settings.data, size=settings.size,
        train_images=settings.train_images, seed=settings.seed, progress=progress,
    )  # fmt: skip
    if not resume:
        whole, _ = resolved(PruneSettings(**dataclasses.asdict(settings), ratio=0.5), progress)
        settings = dataclasses.replace(settings, align=whole.align)
    check_facts(facts, brought, out)
    config = PruneConfig(0.0, settings.importance, "local", int(settings.align), settings.seed)  # type: ignore[arg-type]
    progress.say("looking for the channels that can be cut exactly")
    proven = prove(brought.model, config, example=next(brought.data.val.batches(8, channels_last=False))[0])
    if not proven.groups:
        raise InputError(
            f"{settings.model}: nothing of it can be pruned exactly with --align {settings.align}"
        )
    if not resume:
        run.create()
    with run.locked():
        if not resume:
            write_toml(path, {**facts, "settings": to_table(settings)})
        points = _points(proven, config, brought, out, progress)
        write_text(out / "sensitivity.csv", as_csv(points))
        svg, png = figure(points)
        write_bytes(out / "sensitivity.svg", svg)
        write_bytes(out / "sensitivity.png", png)
    return points


def _points(
    proven: Proven,
    config: PruneConfig,
    brought: Brought,
    out: Path,
    progress: Progress,
) -> list[Point]:
    data, shape = brought.data, brought.shape
    scoring = data.train.subset(SCORING_IMAGES, config.seed)
    batches = scoring.batches(128) if config.importance in OF_THE_LOSS else None
    scores = channel_scores(proven, config, batches=batches)
    remember = remembering(out / "points.jsonl")
    macs = cost(proven.dense, shape).macs

    def point(layer: str, before: int, after: int, network: nn.Module) -> dict[str, object]:
        right = score(predict(network, (x for x, _ in data.val.batches(512))), data.val.labels)
        return vars(Point(layer, before, after, right, cost(network, shape).macs / macs))

    def cut_alone(root: str, before: int, after: int) -> dict[str, object]:
        widths = {group.root: group.width for group in proven.groups} | {root: after}
        return point(root, before, after, prune_to(proven, config, scores, widths)[0])

    points = [Point(**remember("dense", lambda: point("", 1, 1, proven.dense)))]
    options = [
        (group.root, group.width, width)
        for group in proven.groups
        for width in reversed(lower_widths(group, config.align, SHARES))
    ]
    for root, before, after in progress.track(options, "cutting each layer", unit="widths"):
        points.append(Point(**remember(f"{root} to {after}", lambda: cut_alone(root, before, after))))  # noqa: B023
    return points


def as_csv(points: Sequence[Point]) -> str:
    """One line for each point, ratios and accuracies as fractions; the network as it is has no layer."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["layer", "channels", "kept", "ratio", "accuracy", "macs_left"])
    for p in points:
        writer.writerow(
            [p.layer, p.before, p.after, f"{p.ratio:.4f}", f"{p.accuracy:.4f}", f"{p.macs_left:.4f}"]
        )
    return text.getvalue()


def figure(points: Sequence[Point]) -> tuple[bytes, bytes]:
    """One small chart a layer, all on the same axes, as (SVG, PNG)."""
    from nassuite.report.figures import drawn

    dense, layers = points[0], list(dict.fromkeys(p.layer for p in points[1:]))
    columns = min(6, len(layers))
    rows = -(-len(layers) // columns)

    def draw(drawing: Figure) -> None:
        grid = drawing.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
        for axes, layer in zip(grid.flat, layers, strict=False):
            own = [dense, *(p for p in points if p.layer == layer)]
            axes.axhline(100 * dense.accuracy, color="#8a8f98", linewidth=0.8, linestyle="--")
            axes.plot(
                [100 * p.ratio for p in own], [100 * p.accuracy for p in own],
                color="#0072b2", linewidth=1.3, marker="o", markersize=2.5,
            )  # fmt: skip
            axes.set_title(f"{layer} ({own[1].before})", fontsize=6.5)
            axes.set_xlim(0, 100)
            axes.set_ylim(0, 100)
        for axes in grid.flat[len(layers) :]:
            axes.set_axis_off()
        drawing.supxlabel("channels removed from this layer alone, %", fontsize=9)
        drawing.supylabel("validation accuracy, %", fontsize=9)

    return drawn(draw, inches=(1.9 * columns + 0.6, 1.45 * rows + 0.7))
