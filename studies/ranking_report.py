"""The report of ranking.py: report.md and the figure, from its records."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from predictor_report import COLOURS
from ranking_ablations import ABLATIONS, DEFAULT
from ranking_analysis import ACCURACY, READINGS, TAU
from ranking_truth import Truth

from nassuite.records import write_bytes, write_text
from nassuite.report.figures import drawn


def write(truth: Truth, record: dict[str, Any], folder: Path) -> None:
    shown = _shown(record)
    if shown:
        write_bytes(folder / "inherited.png", _figure(truth, record, shown))
    write_text(folder / "report.md", "\n".join(_lines(truth, record)) + "\n")


def _shown(record: dict[str, Any]) -> list[dict[str, Any]]:
    """The rows of the figure: a search's own, and the best where that is another."""
    best = record["results"]["best"]
    return [
        row
        for row in record["results"]["rows"]
        if best and (row["name"], row["reading"]) in ((DEFAULT, ACCURACY), (best["name"], best["reading"]))
    ]


# --- words ------------------------------------------------------------------------------------------


def _lines(truth: Truth, record: dict[str, Any]) -> Iterator[str]:
    facts, results = truth.facts, record["results"]
    yield f"# How well a supernet ranks, on `{Path(facts['space']).stem}`"
    yield ""
    yield from _verdict(record)
    yield ""
    yield (
        f"Ground truth: {results['n']} architectures ({_range(truth.column('macs') / 1e6)} million MACs), each trained from "
        f"scratch on {facts['train_images'] or 'all'} images for {facts['epochs']} epochs, "
        f"{len(truth.twice[0])} of them with a second seed; validation accuracies {_range(100 * truth.scratch)} %, standard deviation "
        f"{100 * results['spread']:.1f} points"
        + _noise(results)
        + ". It is in `ground_truth.json`, for others to use."
    )
    yield ""
    for row in _shown(record):
        yield f"## {_title(row)}"
        yield ""
        yield "| aim | reached | |"
        yield "|---|---|---|"
        for aim, reached, held in results["aims"][f"{row['name']} | {row['reading']}"]:
            yield f"| {aim} | {reached} | {'' if held is None else 'yes' if held else '**no**'} |"
        yield ""
    if results["rows"]:
        yield "![Inherited against from-scratch accuracy](inherited.png)"
        yield ""
    yield from _rows(record)
    yield from _baselines(results)
    yield from _short(results)
    yield from _together(results)
    yield from _equal_epochs(record)
    yield from _tried(record)
    yield from ["## How to repeat it", "", "```sh", record["command"], "```", ""]
    environment = record["environment"]
    yield f"- nassuite at commit {environment.get('commit')}, {environment['cpu']['name']}, {environment['cores']} cores"
    yield "- Settings: " + ", ".join(f"{key} {value}" for key, value in record["settings"].items())


def _verdict(record: dict[str, Any]) -> Iterator[str]:
    results = record["results"]
    if results["best"] is None:
        yield "**No ablation has been evaluated yet.**"
        return
    for row in _shown(record):
        aims = results["aims"][f"{row['name']} | {row['reading']}"]
        held = [held for _, _, held in aims if held is not None]
        yield (
            f"**{_title(row)}: {row['verdict']}.** In words: {row['reason']}. It reaches {sum(held)} of the {len(held)} aims "
            "that could be checked."
        )
        yield ""
    if len(results["rows"]) > 1:
        yield (
            f"The best of {len(results['rows'])} rows is too good by luck: chosen on one half of the architectures, it has "
            f"a τ of {results['chosen_elsewhere']:.3f} on the other half (mean of random halves)."
        )


def _title(row: dict[str, Any]) -> str:
    """Of a training and its reading."""
    first = "As a search trains it" if row["name"] == DEFAULT else f"`{row['name']}`"
    return first if row["reading"] == ACCURACY else f"{first}, read by {row['reading']}"


def _noise(results: dict[str, Any]) -> str:
    if results["ceiling"] is None:
        return ""
    middle, low, high = results["ceiling"]["tau"]
    return (
        f", of which {100 * results['noise']:.1f} points are one training's noise (root mean square difference of two seeds / √2). "
        f"Two seeds rank {results['ceiling']['n']} of them with a τ of {middle:.3f} ({low:.3f} to {high:.3f}) to each other: "
        f"the noise ceiling. A ranking by what each would have on average over seeds would have about {results['attainable']:.2f}, and "
        "none can be expected to have more"
    )


def _rows(record: dict[str, Any]) -> Iterator[str]:
    results = record["results"]
    yield from ["## All that was tried", ""]
    yield (
        "Kendall's τ-b with 95 % bootstrap intervals over architectures; differences are paired. `M MACs` are those of the forward "
        "passes of a step, for one image; `min` is processor time of the training."
    )
    yield ""
    yield (
        "| training | reading | epochs | M MACs a step | min | τ | over MACs | over the default | by thirds of latency | of the ceiling | gap, points |"
    )
    yield "|---|---|---:|---:|---:|---|---|---|---|---:|---|"
    facts = {entry["name"]: entry for entry in record["ablations"]}
    for row in sorted(results["rows"], key=lambda row: -row["tau"][0]):
        of = facts[row["name"]]
        cells = [
            row["name"], row["reading"], *_cost(of), _interval(row["tau"]), _interval(row["over_macs"], sign=True),
            "" if row["over_default"] is None or (row["name"], row["reading"]) == (DEFAULT, ACCURACY)
            else _interval(row["over_default"], sign=True),
            " / ".join(f"{band:.2f}" for band in row["bands"]),
            "" if row["of_ceiling"] is None else f"{row['of_ceiling']:.0%}",
            "" if row["reading"] == "probability" else _interval([100 * x for x in row["gap"]], digits=1, sign=True),
        ]  # fmt: skip
        yield f"| {' | '.join(cells)} |"
    for entry in record["ablations"]:
        if entry["failed"]:
            yield f"| {entry['name']} | failed: {entry['failed']} |" + " |" * 9
    yield ""
    for name, words in READINGS.items():
        yield f"- {name}: {words}"
    yield ""


def _cost(entry: dict[str, Any]) -> list[str]:
    if entry["settings"]["supernet"]:
        return ["", "", ""]
    return [str(entry["epochs"]), f"{entry['macs_a_step'] / 1e6:.1f}", f"{entry['cpu_seconds'] / 60:.1f}"]


def _baselines(results: dict[str, Any]) -> Iterator[str]:
    yield from ["## Without a supernet", "", "| ranked by | τ | Spearman's ρ |", "|---|---|---|"]
    for row in results["baselines"]:
        yield f"| {row['name']} | {_interval(row['tau'])} | {_interval(row['rho'])} |"
    yield ""


def _short(results: dict[str, Any]) -> Iterator[str]:
    if not results["short"]:
        return
    yield from ["## After one epoch of its own", ""]
    yield (
        "Each architecture trained alone for one epoch, from what it inherits or from scratch; on the same architectures τ of what they "
        "inherit, as it is."
    )
    yield ""
    yield "| from | n | processor s each | accuracy | τ | over MACs | τ of the inherited | over the inherited |"
    yield "|---|---:|---:|---:|---|---|---:|---|"
    for row in results["short"]:
        inherited = ["", ""]
        if row["inherited"] is not None:
            inherited = [f"{row['inherited']:.3f}", _interval(row["over_inherited"], sign=True)]
        cells = [
            row["from"], str(row["n"]), f"{row['cpu_seconds']:.0f}", f"{row['accuracy']:.1%}", _interval(row["tau"]),
            _interval(row["over_macs"], sign=True), *inherited,
        ]  # fmt: skip
        yield f"| {' | '.join(cells)} |"
    yield ""


def _together(results: dict[str, Any]) -> Iterator[str]:
    if results["ensemble"]:
        yield from [
            "## All supernets together",
            "",
            "The mean of what all of them say, each standardised:",
            "",
        ]
        yield from ["| reading | τ |", "|---|---|"]
        yield from (f"| {row['reading']} | {_interval(row['tau'])} |" for row in results["ensemble"])
        yield ""
    if results["corrected"]:
        best = results["best"]["name"]
        yield from ["## With some trainings from scratch", ""]
        yield (
            f"A ridge is fitted to the accuracies of some architectures that were trained from scratch, and ranks the others: from "
            "what is known without training (MACs, parameters, latency, SynFlow, depth, shares of the operators and of "
            f"squeeze-and-excitation), from all readings of `{best}`, or from both. τ on the others, mean and standard deviation "
            "over random choices of those that were trained."
        )
        yield ""
        kinds = list(dict.fromkeys(row["from"] for row in results["corrected"]))
        yield from [f"| trained | {' | '.join(kinds)} |", "|---:|" + "---|" * len(kinds)]
        for count in dict.fromkeys(row["trained"] for row in results["corrected"]):
            of = [row for row in results["corrected"] if row["trained"] == count]
            yield f"| {count} | " + " | ".join(f"{row['tau']:.3f} ± {row['spread']:.3f}" for row in of) + " |"
        yield ""


def _equal_epochs(record: dict[str, Any]) -> Iterator[str]:
    if not record["equal_epochs"]:
        return
    yield from ["## Inherited against from scratch, at equal epochs", ""]
    yield "| supernet | network | M MACs | epochs | from scratch | inherited | difference | classifier refit | difference |"
    yield "|---|---|---:|---:|---:|---:|---:|---:|---:|"
    for e in record["equal_epochs"]:
        found = " | ".join(
            f"{e[key]:.1%} | {100 * (e[key] - e['scratch']):+.1f}" for key in (ACCURACY, "refit")
        )
        yield f"| {e['supernet']} | {e['name']} | {e['macs'] / 1e6:.1f} | {e['epochs']} | {e['scratch']:.1%} | {found} |"
    yield ""


def _tried(record: dict[str, Any]) -> Iterator[str]:
    yield from ["## What was expected of each", ""]
    for entry in record["ablations"]:
        yield f"- `{entry['name']}`: {entry['why']}"
    left = [name for name in ABLATIONS if name not in {entry["name"] for entry in record["ablations"]}]
    if left:
        yield "- Not run: " + ", ".join(f"`{name}`" for name in left)
    yield (
        "- Batch norms are separate for every operator of every layer in any case: each is a slot of the supernet, and its "
        "statistics are those of one architecture."
    )
    yield ""


def _interval(values: list[float], *, digits: int = 3, sign: bool = False) -> str:
    middle, low, high = (f"{value:{'+' if sign else ''}.{digits}f}" for value in values)
    return f"{middle} ({low} to {high})"


def _range(values: Any) -> str:
    return f"{min(values):.1f} to {max(values):.1f}"


# --- figure -----------------------------------------------------------------------------------------


def _figure(truth: Truth, record: dict[str, Any], shown: list[dict[str, Any]]) -> bytes:
    """PNG: a panel for each of the rows that are shown."""

    def draw(figure: Any) -> None:
        panels = figure.subplots(1, len(shown), squeeze=False)[0]
        for axes, row in zip(panels, shown, strict=True):
            _draw(axes, truth, record, row)

    return drawn(draw, inches=(4.5 * len(shown), 3.8))[1]


def _draw(axes: Any, truth: Truth, record: dict[str, Any], row: dict[str, Any]) -> None:
    scores = next(entry["scores"] for entry in record["ablations"] if entry["name"] == row["name"])
    inherited = 100 * np.array([scores[arch.digest][row["reading"]] for arch in truth.archs])
    scratch = 100 * truth.scratch
    thirds = np.array_split(np.argsort(truth.column("latency_ms"), kind="stable"), 3)
    for third, colour, name in zip(thirds, COLOURS, ("fastest third", "middle", "slowest"), strict=False):
        axes.scatter(inherited[third], scratch[third], s=14, color=colour, linewidths=0, label=name)
    axes.set_title(f"{row['name']}: τ {row['tau'][0]:.2f}, aim {TAU:.2f}", fontsize=9)
    what = "mean probability" if row["reading"] == "probability" else "accuracy"
    axes.set_xlabel(f"inherited {what}, %" + (", classifier refit" if row["reading"] == "refit" else ""))
    axes.set_ylabel("accuracy from scratch, %")
    axes.legend(frameon=False, fontsize=8)
