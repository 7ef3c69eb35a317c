"""The report of a search as one HTML page."""

from __future__ import annotations

from nassuite.report import anatomy, charts, tables
from nassuite.report.architecture import draw, families
from nassuite.report.content import Deployment, ReportContent
from nassuite.report.elements import (
    card,
    command,
    definitions,
    document,
    figure,
    folded,
    pair,
    pareto,
    remark,
    section,
    table,
)
from nassuite.report.front import Front, build_front
from nassuite.report.markup import Markup, element, join
from nassuite.report.pictures import Pictures, of_budget, pictures
from nassuite.report.svg import inline
from nassuite.report.words import budget
from nassuite.spec import Arch

NARROW = 348  # pixels of an architecture on a phone


def page(content: ReportContent) -> str:
    """The whole page. The same content gives the same text."""
    front, shown = build_front(content), pictures(content)
    sections = [
        _answer(content),
        _pareto(front, content),
        _trust(content, shown),
        _found(content, shown),
        *(_built(deployment, content, shown) for deployment in content.deployed),
        _repeat(content),
        _notes(content),
    ]
    return document(tables.headline(content), front.chart, *sections)


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
    cards = [card(answer) for answer in tables.answers(content)]
    parts.append(element("div", *cards, class_="answers"))
    if run.predict:
        parts += [element("h3", "How to run it"), element("pre", element("code", run.predict), tabindex=0)]
    if line := tables.predict_line(content):
        parts.append(element("p", "Or, in the run directory: ", element("code", line), class_="remark"))
    return element("header", *parts)


def _pareto(front: Front, content: ReportContent) -> Markup:
    chart = front.chart
    if not chart.marks:
        return section("Accuracy against latency", element("p", chart.summary))
    parts = [element("p", chart.summary), pareto(chart, _pareto_caption(front, content))]
    if chart.stairs:
        parts.append(folded("The front as a table", table(tables.front_table(content), "front")))
    if content.baselines:
        parts.append(element("h3", "Baselines under the same data and meter"))
        parts.append(table(tables.baseline_table(content.baselines, content.metric), "baselines"))
    return section("Accuracy against latency", *parts)


def _pareto_caption(front: Front, content: ReportContent) -> str:
    words = [
        "All accuracies of this chart are on validation images; test accuracies are in the tables.",
        "Small blue and grey marks: weights inherited from the supernet, latency predicted.",
        f"Deployed marks: after fine-tuning, p{content.percentile} of the exported file as measured; "
        "an outline marks the file that was chosen.",
    ]
    if front.chart.accuracy.gap:
        words.append("Between the zigzags, where nothing lies, the axis is cut.")
    if front.omitted:
        words.append(
            f"{front.omitted:,} dominated architectures are not drawn: outside the axes, or too many."
        )
    beyond = [b for b in content.budgets_ms if b > front.chart.latency.limits[1]]
    if beyond:
        words.append(f"Beyond the right edge: budget {', '.join(budget(b) for b in beyond)}.")
    return " ".join(words)


def _trust(content: ReportContent, shown: Pictures) -> Markup:
    words = tables.predictor_words(content)
    predictor = [remark(words)]
    if "predictor" in shown:
        predictor = [figure(inline(shown["predictor"])), remark(f"{words} Band: within 10 %.")]
    columns = [element("section", element("h3", "Predicted against measured latency"), *predictor)]
    ranking = [remark(tables.ranking_words(content.ranking) if content.ranking else tables.UNRANKED)]
    if "ranking" in shown:
        ranking.insert(0, figure(inline(shown["ranking"])))
    columns.append(element("section", element("h3", "The supernet's ranking"), *ranking))
    parts = [pair(*columns)]
    if content.ranking:
        parts.append(table(tables.ranking_table(content.ranking), "ranking"))
    if content.finalists:
        parts += [
            element("h3", "Finalists, exported and measured"),
            table(tables.finalist_table(content), "finalists"),
            remark(
                "A/A ratio: the reference measured against itself in the same rounds; 1 on a quiet machine."
            ),
        ]
    return section("How far to trust it", *parts)


def _found(content: ReportContent, shown: Pictures) -> Markup:
    history = [remark(tables.history_words(content))]
    if "history" in shown:
        history.insert(0, figure(inline(shown["history"])))
    columns = [element("section", element("h3", "How the search went"), *history)]
    facts = content.choices
    if facts:
        traits = [remark(anatomy.trait_words(facts))]
        if facts.traits:
            traits.append(table(anatomy.trait_table(facts), "traits"))
        columns.append(element("section", element("h3", "What the front's architectures share"), *traits))
    parts = [pair(*columns)]
    if facts:
        parts += [
            element("h3", "Which choices matter"),
            pair(
                *(
                    element("section", element("h4", f"For {what}"), figure(inline(shown[f"choices-{what}"])))
                    for what in ("accuracy", "latency")
                )
            ),
            remark(anatomy.choice_words(facts)),
        ]
    if content.training:
        curves = charts.training_charts(content.training, content.metric)
        words = "The largest and the smallest subnet of the supernet after each epoch, and its loss."
        parts += [element("h3", "Training of the supernet"), remark(words)]
        parts.append(pair(*(figure(inline(curve)) for curve in curves)))
    return section("How it was found", *parts)


def _built(deployment: Deployment, content: ReportContent, shown: Pictures) -> Markup:
    """What the winner of one budget is: its files, its architecture, its time by block, what pruning removed."""
    arch = Arch.from_json(deployment.arch_json)
    costs = deployment.costs
    known = len(costs) == len(arch.blocks) + 2
    caption = "Before pruning. " + ("The bar in a box is its share of all MACs." if known else "")
    notes = [f"{v.name}: {v.notes}" for v in deployment.variants if v.notes]
    if any(variant.test_n for variant in deployment.variants):
        notes.append(
            "The file was chosen on validation before test was read; test was read once, for all files."
        )
    variants = table(tables.variant_table(deployment, content), "variants")
    parts = [
        element("div", variants, *map(remark, notes), class_="variant-sets"),
        element("h3", "Architecture"),
        element("p", element("code", deployment.arch), class_="arch"),
        families(arch),
        figure(
            inline(shown[of_budget("architecture", deployment)], class_="architecture wide"),
            inline(draw(arch, costs, width=NARROW), class_="architecture narrow"),
            element("figcaption", caption),
        ),
    ]
    if costs:
        parts.append(folded("Cost of every part", table(tables.cost_table(deployment), "costs")))
    columns = []
    if drawing := shown.get(of_budget("time", deployment)):
        columns.append(
            element(
                "section",
                element("h3", "Where its time goes"),
                figure(inline(drawing)),
                remark(anatomy.time_words(deployment)),
            )
        )
    if drawing := shown.get(of_budget("cuts", deployment)):
        columns.append(
            element(
                "section",
                element("h3", "What pruning removed"),
                figure(inline(drawing)),
                remark(anatomy.cut_words(deployment)),
            )
        )
    if columns:
        parts.append(pair(*columns))
    if deployment.cuts:
        parts.append(folded("Width of every layer", table(anatomy.cut_table(deployment), "cuts")))
    return section(f"The winner for {budget(deployment.budget_ms)}", *parts)


def _repeat(content: ReportContent) -> Markup:
    groups = {
        "Settings": tables.setting_rows(content),
        "Host and versions": tables.host_rows(content),
        "Data and space": tables.data_rows(content),
        "Time": tables.time_rows(content),
    }
    blocks = [
        element("section", element("h3", title), definitions(rows)) for title, rows in groups.items() if rows
    ]
    return section(
        "How to repeat it",
        command(content.run.command),
        element("div", *blocks, class_="facts"),
    )


def _notes(content: ReportContent) -> Markup:
    if not content.run.notes:
        return join([])
    items = [element("li", note) for note in content.run.notes]
    return section("Notes", element("ul", *items, class_="notes"))
