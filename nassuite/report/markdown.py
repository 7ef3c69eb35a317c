"""The report as Markdown: the same answers and tables, for repositories and terminals."""

from __future__ import annotations

from collections.abc import Iterable

from nassuite.report import anatomy, tables
from nassuite.report.architecture import describe
from nassuite.report.content import Deployment, ReportContent
from nassuite.report.evidence import RankingFacts
from nassuite.report.front import build_front
from nassuite.report.pictures import Pictures, of_budget, pictures
from nassuite.report.words import budget
from nassuite.spec import Arch


def markdown(content: ReportContent) -> str:
    """The whole text; its pictures are ``pareto.svg`` and those in ``figures`` beside it."""
    run, shown = content.run, pictures(content)
    parts = [f"# {plain(tables.headline(content))}", plain(tables.lede(content))]
    if run.misses:
        parts += ["**What this run does not reach**", bullets(run.misses)]
    for answer in tables.answers(content):
        parts += answered(answer)
    if run.predict:
        parts += ["How to run it:", fenced(run.predict, "python")]
    if line := tables.predict_line(content):
        parts.append(f"Or, in the run directory: {_code(line)}")
    summary = build_front(content).chart.summary
    parts += ["## Accuracy against latency", f"![{plain(summary)}](pareto.svg)", plain(summary)]
    if content.evaluations:
        parts.append(markdown_table(tables.front_table(content)))
    if content.baselines:
        parts += [
            "### Baselines under the same data and meter",
            markdown_table(tables.baseline_table(content.baselines, content.metric)),
        ]
    parts += _trust(content, shown)
    parts += _found(content, shown)
    parts += [part for deployment in content.deployed for part in _built(deployment, content, shown)]
    if not content.deployed:
        parts.append("No file was deployed.")
    parts += _repeat(content)
    if run.notes:
        parts += ["## Notes", bullets(run.notes)]
    return "\n\n".join(part for part in parts if part) + "\n"


def audit_markdown(ranking: RankingFacts) -> str:
    """What ``nassuite audit`` writes, by itself."""
    return "\n\n".join(["# How far to trust the supernet's ranking", *_ranking(ranking)]) + "\n"


def _ranking(ranking: RankingFacts) -> list[str]:
    return [plain(tables.ranking_words(ranking)), markdown_table(tables.ranking_table(ranking))]


def answered(answer: tables.Answer) -> list[str]:
    """Its title with its path, and what is to be said of it."""
    path = _code(answer.path) if answer.path else ""
    facts = [
        f"{label}: **{value}**" + (f", {remark}" if remark else "") for label, value, remark in answer.facts
    ]
    lines = [f"- {plain(line, keep='*')}" for line in [*facts, answer.verdict]]
    return [f"**{plain(answer.title)}** {path}".strip(), "\n".join(lines)]


def _last_volume(content: ReportContent) -> list[str]:
    if not content.history or not content.history.points:
        return []
    evaluations, volume = content.history.points[-1]
    return [f"Hypervolume {volume:.4g} ms × accuracy after {evaluations:,} distinct evaluations."]


def _trust(content: ReportContent, shown: Pictures) -> list[str]:
    parts = ["## How far to trust it", _picture("predictor", shown), plain(tables.predictor_words(content))]
    if content.ranking:
        parts += ["### The supernet's ranking", _picture("ranking", shown), *_ranking(content.ranking)]
    else:
        parts.append(plain(tables.UNRANKED))
    if content.finalists:
        parts += ["Finalists, exported and measured:", markdown_table(tables.finalist_table(content))]
    return parts


def _found(content: ReportContent, shown: Pictures) -> list[str]:
    parts = ["## How it was found", _picture("history", shown), plain(tables.history_words(content))]
    parts += _last_volume(content)
    facts = content.choices
    if facts:
        parts += [
            "### Which choices matter",
            *(_picture(f"choices-{what}", shown) for what in ("accuracy", "latency")),
            plain(anatomy.choice_words(facts)),
            markdown_table(anatomy.choice_table(facts)),
        ]
        parts += ["### What the front's architectures share", plain(anatomy.trait_words(facts))]
        parts.append(markdown_table(anatomy.trait_table(facts)) if facts.traits else "")
    if content.training:
        parts += ["### Training of the supernet", _picture("training", shown)]
    return parts


def _built(deployment: Deployment, content: ReportContent, shown: Pictures) -> list[str]:
    arch = Arch.from_json(deployment.arch_json)
    parts = [
        f"## The winner for {budget(deployment.budget_ms)}",
        _picture(of_budget("architecture", deployment), shown),
        f"{_code(deployment.arch)}: {plain(describe(arch))}",
        markdown_table(tables.variant_table(deployment, content)),
        bullets(f"{v.name}: {v.notes}" for v in deployment.variants if v.notes),
        markdown_table(tables.cost_table(deployment)) if deployment.costs else "",
    ]
    if deployment.times:
        parts += [
            "### Where its time goes",
            _picture(of_budget("time", deployment), shown),
            plain(anatomy.time_words(deployment)),
            markdown_table(anatomy.time_table(deployment)),
        ]
    if deployment.cuts:
        parts += [
            "### What pruning removed",
            _picture(of_budget("cuts", deployment), shown),
            plain(anatomy.cut_words(deployment)),
            markdown_table(anatomy.cut_table(deployment)),
        ]
    return parts


def _picture(name: str, shown: Pictures) -> str:
    """Nothing where there is none of that name."""
    return f"![{plain(shown[name].label)}](figures/{name}.svg)" if name in shown else ""


def _repeat(content: ReportContent) -> list[str]:
    parts = ["## How to repeat it", fenced(content.run.command, "sh")]
    for title, rows in (
        ("Settings", tables.setting_rows(content)),
        ("Host and versions", tables.host_rows(content)),
        ("Data and space", tables.data_rows(content)),
        ("Time", tables.time_rows(content)),
    ):
        parts += [f"### {title}", bullets(f"{key}: {value}" for key, value in rows)]
    return parts


def markdown_table(table: tables.Table) -> str:
    words = ("", *tables.WORDS, *table.header[:1])
    align = ["---" if name in words else "---:" for name in table.header]
    lines = [_row(table.header), "|" + "|".join(align) + "|", *(_row(row) for row in table.rows)]
    return "\n".join(lines)


def _row(cells: Iterable[str]) -> str:
    return "| " + " | ".join(plain(cell) for cell in cells) + " |"


def bullets(lines: Iterable[str]) -> str:
    return "\n".join(f"- {plain(line)}" for line in lines)


def fenced(code: str, language: str) -> str:
    fence = "```"
    while fence in code:
        fence += "`"
    return f"{fence}{language}\n{code.rstrip()}\n{fence}"


def _code(value: str) -> str:
    return "`" + " ".join(value.replace("`", "'").split()) + "`"


def plain(value: str, *, keep: str = "") -> str:
    """Text that no Markdown reader takes for markup, on one line."""
    for mark in "\\`*_|<>[]#":
        if mark not in keep:
            value = value.replace(mark, _ENTITIES.get(mark, "\\" + mark))
    return " ".join(value.split())


_ENTITIES = {"<": "&lt;", ">": "&gt;"}
