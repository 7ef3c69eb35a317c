"""The comparison of runs as one HTML page, as Markdown, and as files."""

from __future__ import annotations

from pathlib import Path

from nassuite.report import runs_text as says
from nassuite.report.elements import (
    card,
    command,
    definitions,
    document,
    folded,
    pareto,
    remark,
    section,
    table,
)
from nassuite.report.files import write_files
from nassuite.report.markdown import answered, bullets, fenced, markdown_table, plain
from nassuite.report.markup import Markup, element
from nassuite.report.runs import RunComparison


def write_run_comparison(comparison: RunComparison, folder: Path) -> list[Path]:
    """Writes ``index.html``, ``report.md``, ``pareto.svg``, ``pareto.png`` and ``records.json``; returns the paths."""
    return write_files(
        folder, records=comparison.to_json(), chart=says.runs_chart(comparison), markdown=runs_markdown(comparison),
        page=runs_page(comparison),
    )  # fmt: skip


def runs_page(comparison: RunComparison) -> str:
    """The whole page. The same comparison gives the same text."""
    chart = says.runs_chart(comparison)
    cards = [card(answer) for answer in says.answers(comparison)]
    header = element(
        "header",
        element("p", "nassuite compare", class_="run"),
        element("h1", comparison.title),
        element("p", lede(comparison), class_="lede"),
        element("div", *cards, class_="answers"),
        remark(HOW_CHOSEN),
    )
    return document(
        comparison.title, chart, header,
        section("Accuracy against latency", element("p", chart.summary), pareto(chart, _caption(comparison))),
        section(
            "What the runs reached",
            table(says.model_table(comparison, every=False), "models"),
            folded("Every file of every run", table(says.model_table(comparison, every=True), "models")),
        ),
        section(
            "How well they searched", table(says.volume_table(comparison), "volumes"),
            remark(says.volume_words(comparison)),
        ),
        _differences(comparison),
        _repeat(comparison),
    )  # fmt: skip


HOW_CHOSEN = (
    "Under each budget: of every run the model that validation prefers among those that keep it, between equals the one that "
    "the run deploys for it, and of these again the one that validation prefers. Test says how good it is, with an interval of the difference that two samples of such images "
    "would have; all were tested on the same ones, which makes the true interval narrower."
)
SAME = "The runs do not differ in their settings."


def lede(comparison: RunComparison) -> str:
    return (
        f"{len(comparison.runs)} runs on {comparison.data}: {comparison.classes} classes, {comparison.test_images:,} test "
        "images."
    )


def _caption(comparison: RunComparison) -> str:
    words = [
        *comparison.remarks,
        "All accuracies of this chart are on validation images. Lines and dots: searched, latency predicted, weights "
        "inherited from a supernet. Large marks: files as measured, weights trained; an outline marks what a run would deploy.",
    ]
    return " ".join(words)


def _differences(comparison: RunComparison) -> Markup:
    found = says.difference_table(comparison)
    return section("What differs between them", table(found, "settings") if found else element("p", SAME))


def _repeat(comparison: RunComparison) -> Markup:
    blocks = [
        element(
            "section",
            element("h3", run.name),
            definitions(says.repeat_rows(run)),
        )
        for run in comparison.runs
    ]
    return section(
        "How to repeat it",
        command(comparison.command),
        element("div", *blocks, class_="facts"),
    )


def runs_markdown(comparison: RunComparison) -> str:
    """The same as text; its picture is ``pareto.svg`` beside it."""
    parts = [f"# {plain(comparison.title)}", plain(lede(comparison))]
    for answer in says.answers(comparison):
        parts += answered(answer)
    summary = says.summary(comparison)
    parts += [
        plain(HOW_CHOSEN),
        "## Accuracy against latency",
        f"![{plain(summary)}](pareto.svg)",
        plain(summary),
    ]
    parts += [plain(_caption(comparison)), "## What the runs reached"]
    parts += [markdown_table(says.model_table(comparison, every=True))]
    parts += ["## How well they searched", markdown_table(says.volume_table(comparison))]
    parts += [plain(says.volume_words(comparison)), "## What differs between them"]
    found = says.difference_table(comparison)
    parts += [
        markdown_table(found) if found else SAME,
        "## How to repeat it",
        fenced(comparison.command, "sh"),
    ]
    parts.append(
        bullets(
            f"{run.name}: " + "; ".join(f"{name}: {value}" for name, value in says.repeat_rows(run))
            for run in comparison.runs
        )
    )
    return "\n\n".join(parts) + "\n"
