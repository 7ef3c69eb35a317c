"""The pictures of a search's report: decided once for the page, the Markdown and the files."""

from __future__ import annotations

from nassuite.report import anatomy, charts
from nassuite.report.architecture import draw
from nassuite.report.content import Deployment, ReportContent
from nassuite.report.drawing import Drawing, beside
from nassuite.report.words import budget
from nassuite.spec import Arch

WIDE = 760  # pixels of an architecture

Pictures = dict[str, Drawing]


def pictures(content: ReportContent) -> Pictures:
    """All but the Pareto chart by the name of their file, in the order of the page; one with nothing to show is left out."""
    found: Pictures = {}
    if content.predictor and content.predictor.points:
        found["predictor"] = charts.predictor_chart(content.predictor)
    if content.ranking and content.ranking.points:
        found["ranking"] = charts.ranking_chart(content.ranking)
    if content.history and content.history.points:
        found["history"] = charts.history_chart(content.history)
    if content.choices:
        found |= {
            f"choices-{what}": anatomy.choice_chart(content.choices, what) for what in ("accuracy", "latency")
        }
    if content.training:
        found["training"] = beside(
            *charts.training_charts(content.training, content.metric), title="Training of the supernet"
        )
    for deployment in content.deployed:
        found |= _of_winner(deployment)
    return found


def of_budget(kind: str, deployment: Deployment) -> str:
    """The name of the picture of that kind: architecture, time or cuts."""
    return f"{kind}-{deployment.budget_ms:g}ms"


def _of_winner(deployment: Deployment) -> Pictures:
    arch = Arch.from_json(deployment.arch_json)
    title = f"The winner for {budget(deployment.budget_ms)}"
    found = {"architecture": draw(arch, deployment.costs, width=WIDE, title=title)}
    if deployment.times and deployment.times.parts:
        found["time"] = anatomy.time_chart(deployment)
    if any(cut.after < cut.before for cut in deployment.cuts):
        found["cuts"] = anatomy.cut_chart(deployment)
    return {of_budget(kind, deployment): drawing for kind, drawing in found.items()}
