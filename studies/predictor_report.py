"""The report of latency_predictor.py: report.md, records.json and figures, from what the analysis found."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from predictor_analysis import FAMILIES, PROBABILITY
from publishing import rounded
from scipy.stats import binom

from nassuite.records import SCHEMA_VERSION, write_bytes, write_json, write_text
from nassuite.report.figures import drawn
from nassuite.report.words import duration, percent

COLOURS = ("#0072b2", "#e69f00", "#009e73", "#cc79a7")
SIGNIFICANT = 0.05
CALIBRATION_SECONDS = 600


def write(results: dict[str, Any], facts: dict[str, Any], folder: Path) -> list[Path]:
    """Returns the paths."""
    write_json(
        folder / "records.json", {"schema_version": SCHEMA_VERSION, **facts, "results": rounded(results)}
    )
    figures: dict[str, Callable[..., None]] = {
        "predicted": _draw_predicted, "samples": _draw_samples, "families": _draw_families, "bound": _draw_bound,
    }  # fmt: skip
    paths = [folder / "report.md", folder / "records.json"]
    for name, draw in figures.items():
        _, png = drawn(functools.partial(draw, r=results), inches=(9, 3.6))
        write_bytes(folder / f"{name}.png", png)
        paths.append(folder / f"{name}.png")
    write_text(folder / "report.md", "\n".join(_lines(results, facts)) + "\n")
    return paths


# --- words ------------------------------------------------------------------------------------------


def _lines(r: dict[str, Any], facts: dict[str, Any]) -> Iterator[str]:
    settings, ours = facts["settings"], r["errors"]["predictor"]
    yield f"# The latency predictor, on `{settings['space']}` at {settings['size']} pixels"
    yield ""
    yield (
        f"{ours['n']} networks that it has not seen, each measured {settings['passes']} times; fitted on {r['fitted_on']} "
        f"that were chosen and measured in {duration(facts['seconds']['calibration'])}. Model kept: {r['model']}."
    )
    yield ""
    yield "| aim | reached | |"
    yield "|---|---|---|"
    for aim, reached, held in _aims(r, facts):
        yield f"| {aim} | {reached} | {'yes' if held else '**no**'} |"
    yield from ["", "![Predicted against measured](predicted.png)", "", "## Beside two simple predictors", ""]
    yield from _baselines(r)
    yield from ["", "## Families", ""]
    yield from _families(r)
    yield from ["", "## How many samples it takes", "", "![Error against samples](samples.png)", ""]
    yield from _sizes(r)
    yield from ["", "## The bound", "", "![Coverage of the bound](bound.png)", ""]
    yield from _bound(r)
    yield from ["", "## How to repeat it", ""]
    yield from _repeat(r, facts)


def _aims(r: dict[str, Any], facts: dict[str, Any]) -> Iterator[tuple[str, str, bool]]:
    ours = r["errors"]["predictor"]
    for aim, name, least in (("10", "within_10_percent", 0.99), ("5", "within_5_percent", 0.90)):
        low, high = ours[f"{name}_interval"]
        reached = f"{percent(ours[name])} ({percent(low)} to {percent(high)})"
        yield f"within ±{aim} % for {percent(least, 0)}", reached, ours[name] >= least
    yield "Kendall's τ 0.95", f"{ours['kendall_tau']:.3f}", ours["kendall_tau"] >= 0.95
    bands = ours["tau_in_bands"]
    yield "τ within ±20 % bands 0.85", _number(bands), bands is not None and bands >= 0.85
    for name, test in r["against"].items():
        hits = test["hits_10"]
        low, high = hits["interval"]
        theirs = r["errors"][name]["within_10_percent"]
        significant = max(hits["mcnemar_p"], test["wilcoxon_p"]) < SIGNIFICANT and hits["points"] > 0
        enough = hits["points"] >= 15 or theirs > 0.85
        yield (
            f"better than {name}, by 15 points at ±10 % where it leaves room",
            f"{hits['points']:+.1f} points ({low:+.1f} to {high:+.1f}) over its {percent(theirs)}; p = "
            f"{hits['mcnemar_p']:.1g} (hits), {test['wilcoxon_p']:.1g} (errors)",
            significant and enough,
        )
    spent = facts["seconds"]["calibration"]
    yield "calibrated within 10 minutes", duration(spent), spent <= CALIBRATION_SECONDS
    splits = r["splits"]
    low, high = binom.interval(0.95, splits[0]["n"], PROBABILITY)
    covered = _coverage(splits)
    yield (
        f"a bound asked at {percent(PROBABILITY, 0)} covers that within its binomial interval, over {len(splits)} random splits",
        f"{percent(covered)}; the interval for {splits[0]['n']} networks is {percent(low / splits[0]['n'])} to "
        f"{percent(high / splits[0]['n'])}",
        low <= covered * splits[0]["n"] <= high,
    )


def _baselines(r: dict[str, Any]) -> Iterator[str]:
    yield "| | within ±10 % | 95 % interval | within ±5 % | mean error | τ | τ within ±20 % bands |"
    yield "|---|---:|---|---:|---:|---:|---:|"
    for name, e in r["errors"].items():
        low, high = e["within_10_percent_interval"]
        yield (
            f"| {name} | {percent(e['within_10_percent'])} | {percent(low)} to {percent(high)} | "
            f"{percent(e['within_5_percent'])} | {percent(e['mape'])} | {e['kendall_tau']:.3f} | "
            f"{_number(e['tau_in_bands'])} |"
        )
    again = r["repeated"]
    yield ""
    yield (
        "All are fitted to the same samples, by relative error. The table of operators has a cost for each kind of block "
        "at its place (operator, size, stride, kernel, expansion, SE, activation, widths), shrunk by ridge regression."
    )
    yield (
        f"Noise: two measurements of a network differ by {percent(again['median'])} (median), by at most 5 % for "
        f"{percent(again['within_5_percent'])} of {again['n']}. Most of it is what a process adds to all that it "
        f"measures (standard deviation {percent(again['added'])}); networks are in other company in each pass, so it can "
        f"be told from theirs by least squares, without a predictor. Without it they differ by "
        f"{percent(again['steadied_median'])}, by at most 5 % for {percent(again['steadied_within_5_percent'])}. What counts "
        f"as measured is the network's share, of a standard error of {percent(again['standard_error'])}. "
        f"{r['noisy']['held_out']} networks were not measured quietly twice and are left out, and "
        f"{r['noisy']['calibration']} of the calibration."
    )
    yield ""
    models = ", ".join(f"{name} {percent(e['mape'])}" for name, e in r["cross_validated"].items())
    yield f"Mean error of each model by cross-validation on the calibration: {models}."


def _families(r: dict[str, Any]) -> Iterator[str]:
    yield "Held-out networks of one family alone:"
    yield ""
    yield "| family | networks | within ±10 % | within ±5 % | mean error |"
    yield "|---|---:|---:|---:|---:|"
    for name, e in r["by_family"].items():
        hits = f"{percent(e['within_10_percent'])} | {percent(e['within_5_percent'])}"
        yield f"| {name} | {e['n']} | {hits} | {percent(e['mape'])} |"
    yield from ["", "![Families left out](families.png)", ""]
    yield (
        "Left out: fitted to every measured network without the family (held-out ones among them) and to so many of the "
        "calibration that have it, in random order; tested on the held-out networks that have it."
    )
    counts = sorted({e["added"] for e in r.get("families", [])})
    yield ""
    yield (
        "| family | without it | tested on | "
        + " | ".join(f"+{n}" for n in counts)
        + " | back to 95 % at ±10 % |"
    )
    yield "|---|---:|---:|" + "---:|" * (len(counts) + 1)
    for family in FAMILIES:
        rows = {e["added"]: e for e in r.get("families", []) if e["family"] == family}
        if rows:
            hits = [percent(rows[n]["within_10_percent"]) if n in rows else "–" for n in counts]
            back = next(
                (str(n) for n in counts if n in rows and rows[n]["within_10_percent"] >= 0.95), "not reached"
            )
            yield f"| {family} | {rows[0]['others']} | {rows[0]['n']} | {' | '.join(hits)} | {back} |"


def _sizes(r: dict[str, Any]) -> Iterator[str]:
    yield "| samples | model | within ±10 % | within ±5 % | mean error |"
    yield "|---:|---|---:|---:|---:|"
    for e in r["sizes"]:
        hits = f"{percent(e['within_10_percent'])} | {percent(e['within_5_percent'])}"
        yield f"| {e['samples']} | {e['model']} | {hits} | {percent(e['mape'])} |"


def _bound(r: dict[str, Any]) -> Iterator[str]:
    splits, bound = r["splits"], r["bound"]
    low, high = bound["interval"]
    yield (
        f"Asked: a latency under which a network is with a probability of {percent(PROBABILITY, 0)}. In {len(splits)} random "
        f"splits of all networks drawn at random ({splits[0]['n']} of them held out) it covered "
        f"{percent(_coverage(splits))}, from {percent(min(s['covered'] / s['n'] for s in splits))} to "
        f"{percent(max(s['covered'] / s['n'] for s in splits))}; {percent(PROBABILITY, 0)} are in the interval "
        f"of {_inside(splits)} of the splits. (Not in 95 % of them even for an exact bound, as each is estimated from as many networks as it is tested on.)"
    )
    yield (
        f"That of the calibration itself, {bound['margin']:.3f} times the prediction, covers {bound['covered']} of the "
        f"{bound['n']} held-out networks ({percent(low)} to {percent(high)})."
    )


def _repeat(r: dict[str, Any], facts: dict[str, Any]) -> Iterator[str]:
    target, seconds = facts["target"], facts["seconds"]
    yield f"```sh\n{facts['command']}\n```"
    yield ""
    yield f"- {target['cpu']['name']}, {target['runtime']} {target['runtime_version']}, {target['threads']} thread(s)"
    slowest, fastest = r["calibration_ms"][-1], r["calibration_ms"][0]
    yield f"- the calibration's networks take {fastest:.3g} to {slowest:.3g} ms"
    spent = ", ".join(f"{name.replace('_', ' ')} {duration(value)}" for name, value in seconds.items())
    yield f"- time: {spent}"
    yield f"- begun {facts['started']}, nassuite at commit {facts['environment'].get('commit')}"


def _inside(splits: list[dict[str, Any]]) -> int:
    return sum(s["interval"][0] <= PROBABILITY <= s["interval"][1] for s in splits)


def _coverage(splits: list[dict[str, Any]]) -> float:
    return float(sum(s["covered"] for s in splits) / sum(s["n"] for s in splits))


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"


# --- figures ----------------------------------------------------------------------------------------


def _draw_predicted(figure: Any, r: dict[str, Any]) -> None:
    ms = np.array([n["measured_ms"] for n in r["networks"]])
    names = list(r["errors"])
    panels = figure.subplots(1, len(names), sharey=True)
    for axes, name, colour in zip(panels, names, COLOURS, strict=False):
        miss = 100 * (np.array([n[name] for n in r["networks"]]) / ms - 1)
        axes.axhspan(-10, 10, color="#eef1f4")
        axes.axhline(0, color="#59626e", linewidth=0.8)
        axes.scatter(ms, miss, s=10, color=colour, alpha=0.6, linewidths=0)
        axes.set_title(f"{name}: {percent(r['errors'][name]['within_10_percent'])} within ±10 %", fontsize=9)
        axes.set_xlabel("measured, ms")
    panels[0].set_ylabel("predicted against measured, %")


def _draw_samples(figure: Any, r: dict[str, Any]) -> None:
    axes = figure.add_subplot()
    x = [e["samples"] for e in r["sizes"]]
    for (name, label), colour in zip(
        (("within_10_percent", "±10 %"), ("within_5_percent", "±5 %")), COLOURS, strict=False
    ):
        axes.plot(x, [100 * e[name] for e in r["sizes"]], marker="o", color=colour, label=f"within {label}")
    axes.set_xlabel("samples in the order in which they were measured")
    axes.set_ylabel("held-out networks, %")
    axes.legend(frameon=False)


def _draw_families(figure: Any, r: dict[str, Any]) -> None:
    axes = figure.add_subplot()
    places = {n: i for i, n in enumerate(sorted({e["added"] for e in r.get("families", [])}))}
    for family, colour in zip(FAMILIES, COLOURS, strict=True):
        rows = [e for e in r.get("families", []) if e["family"] == family]
        if rows:
            hits = [100 * e["within_10_percent"] for e in rows]
            axes.plot([places[e["added"]] for e in rows], hits, marker="o", color=colour, label=family)
    axes.axhline(95, color="#59626e", linewidth=0.8, linestyle=(0, (5, 4)))
    axes.set_xticks(list(places.values()), [str(n) for n in places])
    axes.set_xlabel("samples of the family that had been left out")
    axes.set_ylabel("within ±10 %, %")
    axes.legend(frameon=False)


def _draw_bound(figure: Any, r: dict[str, Any]) -> None:
    axes = figure.add_subplot()
    for position, split in enumerate(sorted(r["splits"], key=lambda s: s["covered"] / s["n"])):
        low, high = split["interval"]
        axes.plot([position] * 2, [100 * low, 100 * high], color=COLOURS[0], linewidth=1.2)
        axes.plot(position, 100 * split["covered"] / split["n"], marker="o", color=COLOURS[0], markersize=4)
    axes.axhline(100 * PROBABILITY, color="#59626e", linewidth=0.8, linestyle=(0, (5, 4)))
    axes.set_xlabel("random split, sorted; bars are 95 % binomial intervals")
    axes.set_ylabel("under the bound, %")
