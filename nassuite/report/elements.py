"""The parts that every page of a report is put together from."""

from __future__ import annotations

import re
from collections.abc import Iterable

from nassuite.report import charts
from nassuite.report.chart import Chart
from nassuite.report.markup import Markup, element, join
from nassuite.report.paints import ENLARGED
from nassuite.report.style import SCRIPT, style_sheet
from nassuite.report.svg import inline, marker
from nassuite.report.tables import WORDS, Answer, Table

_POLICY = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'"


def document(title: str, chart: Chart, *parts: object) -> str:
    """A whole page that needs no network and no other file; ``chart`` brings the colours of its marks."""
    head = element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("meta", http_equiv="Content-Security-Policy", content=_POLICY),
        element("title", f"{title} · nassuite"),
        element("style", Markup(style_sheet(chart.styles))),
    )
    footer = element("footer", "Every number of this page is in records.json beside it.")
    body = element("body", element("main", *parts, footer), element("script", Markup(SCRIPT)))
    return f"<!doctype html>\n{element('html', head, body, lang='en')}\n"


def section(title: str, *parts: object) -> Markup:
    return element("section", element("h2", title), *parts)


def prose(words: str) -> list[object]:
    """Text in which options stay whole: browsers break a line after any hyphen."""
    pieces = re.split(r"(--[a-z][a-z-]*)", words)
    return [
        element("span", piece, class_="option") if number % 2 else piece
        for number, piece in enumerate(pieces)
    ]


def remark(words: str) -> Markup:
    return element("p", *prose(words), class_="remark")


def command(words: str) -> Markup:
    return element("pre", element("code", *prose(words)), class_="command")


def figure(*parts: Markup) -> Markup:
    return element("figure", *parts)


def pair(*parts: Markup) -> Markup:
    """Side by side where there is room."""
    return element("div", *parts, class_="pair")


def folded(title: str, *parts: object) -> Markup:
    return element("details", element("summary", title), *parts)


def definitions(rows: Iterable[tuple[str, str]]) -> Markup:
    return element("dl", *(join([element("dt", key), element("dd", *prose(value))]) for key, value in rows))


def pareto(chart: Chart, caption: str) -> Markup:
    """The chart for wide and for narrow pages, its legend, and a line that shows what is pointed at."""
    return element(
        "figure",
        inline(charts.pareto_chart(chart, *charts.WIDE, em=ENLARGED), class_="wide", role="group"),
        inline(charts.pareto_chart(chart, *charts.NARROW), class_="narrow", role="group"),
        legend(chart),
        element(
            "output",
            "Point at a mark, or step through them with the tabulator key, to see its architecture.",
            class_="pick",
            hidden="hidden",
        ),
        element("figcaption", *prose(caption)),
        class_="pareto",
    )


def legend(chart: Chart) -> Markup:
    """The keys of the markers in use, as a list that wraps."""
    items = [
        element(
            "li",
            element(
                "svg",
                marker(chart.styles[kind].marker, (8, 8), class_=charts.mark_class(kind, chart)),
                viewBox="0 0 16 16",
                aria_hidden="true",
            ),
            chart.styles[kind].legend,
        )
        for kind in chart.kinds
    ]
    return element("ul", *items, class_="legend")


def card(answer: Answer) -> Markup:
    facts = [
        element(
            "div",
            element("dt", label),
            element("dd", element("span", value, class_="value"), element("small", words)),
        )
        for label, value, words in answer.facts
    ]
    verdict = element("p", *prose(answer.verdict), class_=f"verdict {'met' if answer.met else 'missed'}")
    path = element("p", element("code", answer.path), class_="path") if answer.path else ""
    return element(
        "article", element("h3", answer.title), path, element("dl", *facts), verdict, class_="answer"
    )


def table(content: Table, class_: str) -> Markup:
    """A table that scrolls inside its own box where the page is too narrow for it."""

    def cell(column: int, value: str, tag: str) -> Markup:
        words = content.header[column] in WORDS
        kind = "chosen" if column == content.chosen else "words" if words else None
        scope = {"thead": "col", "tbody": "row"}[tag] if column == 0 or tag == "thead" else None
        return element("th" if scope else "td", value, class_=kind, scope=scope)

    def row(values: Iterable[str], tag: str) -> Markup:
        return element("tr", *(cell(column, value, tag) for column, value in enumerate(values)))

    head = element("thead", row(content.header, "thead"))
    body = element("tbody", *(row(values, "tbody") for values in content.rows))
    return element("div", element("table", head, body, class_=class_), class_="scroll", tabindex=0)
