"""The report as one HTML page that needs no network and no other file."""

from __future__ import annotations

from collections.abc import Iterable

from nassuite.report import charts, tables
from nassuite.report.content import Deployment, ReportContent
from nassuite.report.drawing import draw, families
from nassuite.report.front import Front, build_front
from nassuite.report.markup import Markup, element, join
from nassuite.report.style import SCRIPT, style_sheet
from nassuite.report.words import budget
from nassuite.spec import Arch

_POLICY = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'"


def page(content: ReportContent) -> str:
    """The whole page. The same content gives the same text."""
    sections = [
        _answer(content),
        _pareto(content),
        _trust(content),
        _deployed(content),
        *(_architecture(deployment) for deployment in content.deployed),
        _training(content),
        _repeat(content),
        _notes(content),
    ]
    head = element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("meta", http_equiv="Content-Security-Policy", content=_POLICY),
        element("title", f"{tables.headline(content)} · nassuite"),
        element("style", Markup(style_sheet())),
    )
    script = element("script", Markup(SCRIPT))
    body = element("body", element("main", *sections, _footer()), script)
    return f"<!doctype html>\n{element('html', head, body, lang='en')}\n"


def _answer(content: ReportContent) -> Markup:
    run = content.run
    parts = [
        element("p", f"nassuite report · run {run.name}", class_="run"),
        element("h1", tables.headline(content)),
        element("p", tables.lede(content), class_="lede"),
    ]
    if run.misses:
        items = element("ul", *(element("li", miss) for miss in run.misses))
        parts.append(
            element("section", element("h2", "What this run does not reach"), items, class_="misses")
        )
    cards = [_card(answer) for answer in tables.answers(content)]
    parts.append(element("div", *cards, class_="answers"))
    if run.predict:
        parts += [element("h3", "How to run it"), element("pre", element("code", run.predict), tabindex=0)]
    return element("header", *parts)


def _card(answer: tables.Answer) -> Markup:
    facts = [
        element(
            "div",
            element("dt", label),
            element("dd", element("span", value, class_="value"), element("small", remark)),
        )
        for label, value, remark in answer.facts
    ]
    verdict = element("p", answer.verdict, class_=f"verdict {'met' if answer.met else 'missed'}")
    path = element("p", element("code", answer.path), class_="path") if answer.path else ""
    return element(
        "article", element("h3", answer.title), path, element("dl", *facts), verdict, class_="answer"
    )


def _pareto(content: ReportContent) -> Markup:
    front = build_front(content)
    if not front.marks:
        return _section("Accuracy against latency", element("p", front.summary))
    figure = element(
        "figure",
        charts.pareto_chart(front, content, width=charts.WIDE[0], height=charts.WIDE[1], class_="wide"),
        charts.pareto_chart(front, content, width=charts.NARROW[0], height=charts.NARROW[1], class_="narrow"),
        charts.legend(front),
        element(
            "output",
            "Point at a mark, or step through them with the tabulator key, to see its architecture.",
            class_="pick",
            hidden="hidden",
        ),
        element("figcaption", _pareto_caption(front, content)),
        class_="pareto",
    )
    table = _table(tables.front_table(content), "front")
    rows = element("details", element("summary", "The front as a table"), table) if front.steps else ""
    return _section("Accuracy against latency", element("p", front.summary), figure, rows)


def _pareto_caption(front: Front, content: ReportContent) -> str:
    words = [
        "All accuracies of this chart are on validation images; test accuracies are in the tables.",
        "Small blue and grey marks: weights inherited from the supernet, latency predicted.",
        f"Deployed marks: after fine-tuning, p{content.percentile} of the exported file as measured; "
        "an outline marks the file that was chosen.",
    ]
    if front.omitted:
        words.append(
            f"{front.omitted:,} dominated architectures are not drawn: outside the axes, or too many."
        )
    beyond = [b for b in content.budgets_ms if b > front.latency_limits_ms[1]]
    if beyond:
        words.append(f"Beyond the right edge: budget {', '.join(budget(b) for b in beyond)}.")
    return " ".join(words)


def _trust(content: ReportContent) -> Markup:
    words = tables.predictor_words(content)
    predictor = [element("p", words, class_="remark")]
    if content.predictor and content.predictor.points:
        predictor = [element("p", f"{words} Band: within 10 %.", class_="remark")]
        predictor = [_figure(charts.predictor_chart(content.predictor)), *predictor]
    history = [element("p", tables.history_words(content), class_="remark")]
    if content.history and content.history.points:
        history = [_figure(charts.history_chart(content.history)), *history]
    parts = [
        element(
            "div",
            element("section", element("h2", "How far to trust the predictor"), *predictor),
            element("section", element("h2", "How the search went"), *history),
            class_="pair",
        )
    ]
    if content.ranking:
        parts += [
            element("h3", "How far to trust the supernet's ranking"),
            _figure(charts.ranking_chart(content.ranking)),
            element("p", tables.ranking_words(content.ranking), class_="remark"),
            _table(tables.ranking_table(content.ranking), "ranking"),
        ]
    if content.finalists:
        parts += [
            element("h3", "Finalists, exported and measured"),
            _table(tables.finalist_table(content), "finalists"),
            element(
                "p",
                "A/A ratio: the reference measured against itself in the same rounds; 1 on a quiet machine.",
                class_="remark",
            ),
        ]
    return join(parts)


def _deployed(content: ReportContent) -> Markup:
    parts = [element("div", *(_variants(d, content) for d in content.deployed), class_="pair variant-sets")]
    if any(variant.test_n for deployment in content.deployed for variant in deployment.variants):
        words = "The file was chosen on validation before test was read; test was read once, for all files."
        parts.append(element("p", words, class_="remark"))
    if not content.deployed:
        parts.append(element("p", "No file was deployed.", class_="remark"))
    if content.baselines:
        parts.append(element("h3", "Baselines under the same data and meter"))
        parts.append(_table(tables.baseline_table(content.baselines, content.metric), "baselines"))
    return _section("Deployed files", *parts)


def _variants(deployment: Deployment, content: ReportContent) -> Markup:
    remarks = [f"{v.name}: {v.notes}" for v in deployment.variants if v.notes]
    return element(
        "section",
        element("h3", f"Budget {budget(deployment.budget_ms)}"),
        _table(tables.variant_table(deployment, content), "variants"),
        *(element("p", remark, class_="remark") for remark in remarks),
    )


def _architecture(deployment: Deployment) -> Markup:
    arch = Arch.from_json(deployment.arch_json)
    costs = deployment.costs
    known = len(costs) == len(arch.blocks) + 2
    caption = "Before pruning. " + ("The bar in a box is its share of all MACs." if known else "")
    parts = [
        element("p", element("code", deployment.arch), class_="arch"),
        families(arch),
        element(
            "figure",
            draw(arch, costs, width=760, class_="wide"),
            draw(arch, costs, width=348, class_="narrow"),
            element("figcaption", caption),
        ),
    ]
    if costs:
        table = _table(tables.cost_table(deployment), "costs")
        parts.append(element("details", element("summary", "Cost of every part"), table))
    return _section(f"The winner for {budget(deployment.budget_ms)}", *parts)


def _training(content: ReportContent) -> Markup:
    if not content.training:
        return Markup("")
    accuracy = charts.accuracy_chart(content.training, content.metric)
    figures = [_figure(chart) for chart in (accuracy, charts.loss_chart(content.training)) if chart]
    words = "The largest and the smallest subnet of the supernet after each epoch, and its loss."
    return _section("Training of the supernet", element("p", words), element("div", *figures, class_="pair"))


def _repeat(content: ReportContent) -> Markup:
    groups = {
        "Settings": tables.setting_rows(content),
        "Host and versions": tables.host_rows(content),
        "Data and space": tables.data_rows(content),
        "Time": tables.time_rows(content),
    }
    blocks = [
        element("section", element("h3", title), _definitions(rows)) for title, rows in groups.items() if rows
    ]
    return _section(
        "How to repeat it",
        element("pre", element("code", content.run.command), class_="command"),
        element("div", *blocks, class_="facts"),
    )


def _notes(content: ReportContent) -> Markup:
    if not content.run.notes:
        return Markup("")
    items = [element("li", note) for note in content.run.notes]
    return _section("Notes", element("ul", *items, class_="notes"))


def _footer() -> Markup:
    return element("footer", "Every number of this page is in records.json beside it.")


def _section(title: str, *parts: object) -> Markup:
    return element("section", element("h2", title), *parts)


def _figure(chart: Markup) -> Markup:
    return element("figure", chart)


def _definitions(rows: Iterable[tuple[str, str]]) -> Markup:
    return element("dl", *(join([element("dt", key), element("dd", value)]) for key, value in rows))


def _table(table: tables.Table, class_: str) -> Markup:
    """A table that scrolls inside its own box where the page is too narrow for it."""

    def cell(column: int, value: str, tag: str) -> Markup:
        words = table.header[column] in tables.WORDS
        class_ = "chosen" if column == table.chosen else "words" if words else None
        scope = {"thead": "col", "tbody": "row"}[tag] if column == 0 or tag == "thead" else None
        return element("th" if scope else "td", value, class_=class_, scope=scope)

    def row(values: Iterable[str], tag: str) -> Markup:
        return element("tr", *(cell(column, value, tag) for column, value in enumerate(values)))

    head = element("thead", row(table.header, "thead"))
    body = element("tbody", *(row(values, "tbody") for values in table.rows))
    return element("div", element("table", head, body, class_=class_), class_="scroll", tabindex=0)
