"""Every picture of a report has its files, and no others."""

import dataclasses
import re
from html.parser import HTMLParser

import pytest
from sample import empty_content, sample_content

from nassuite.report import write_report
from nassuite.report.charts import training_charts
from nassuite.report.html import page
from nassuite.report.markdown import markdown
from nassuite.report.pictures import pictures

CONTENT = sample_content(count=60)
NAMES = {
    "predictor", "ranking", "history", "training", "choices-accuracy", "choices-latency", "architecture-0.3ms",
    "architecture-0.6ms", "time-0.3ms", "time-0.6ms", "cuts-0.3ms", "cuts-0.6ms",
}  # fmt: skip


class Labels(HTMLParser):
    """What the charts of a page tell those who do not see them."""

    def __init__(self, source):
        super().__init__()
        self.found = []
        self.feed(source)

    def handle_starttag(self, tag, attributes):
        named = dict(attributes)
        if tag == "svg" and "chart" in named.get("class", ""):
            self.found.append(named["aria-label"])


@pytest.fixture
def quick(monkeypatch):
    monkeypatch.setattr("nassuite.report.files.png", lambda drawing, own: b"pixels")


def without(**changes):
    return dataclasses.replace(CONTENT, **changes)


def deployed(**changes):
    return tuple(dataclasses.replace(d, **changes) for d in CONTENT.deployed)


def files(folder):
    return {path.name for path in (folder / "figures").iterdir()}


def both(names):
    return {f"{name}.{kind}" for name in names for kind in ("svg", "png")}


def test_every_chart_of_the_page_has_its_file():
    shown = Labels(page(CONTENT)).found
    labels = {drawing.label for drawing in pictures(CONTENT).values()}
    curves = [drawing.label for drawing in training_charts(CONTENT.training, CONTENT.metric)]
    assert len(curves) == 2
    assert set(shown) == labels - {" ".join(curves)} | set(curves) | {shown[0]}
    assert shown[0].startswith("Validation accuracy against latency")


@pytest.mark.parametrize(
    ("content", "missing"),
    [
        (CONTENT, set()),
        (without(ranking=None), {"ranking"}),
        (without(predictor=None, history=None), {"predictor", "history"}),
        (without(predictor=dataclasses.replace(CONTENT.predictor, points=())), {"predictor"}),
        (without(choices=None, training=()), {"choices-accuracy", "choices-latency", "training"}),
        (without(deployed=deployed(times=None, cuts=())), {"time-0.3ms", "time-0.6ms", "cuts-0.3ms", "cuts-0.6ms"}),
        (without(deployed=deployed(cuts=(CONTENT.deployed[0].cuts[-1],))), {"cuts-0.3ms", "cuts-0.6ms"}),
        (without(deployed=CONTENT.deployed[:1]), {"architecture-0.6ms", "time-0.6ms", "cuts-0.6ms"}),
        (empty_content(), NAMES),
    ],
    ids=["whole", "unranked", "unforeseen", "no point", "unexplored", "untimed", "uncut", "one budget", "empty"],
)  # fmt: skip
def test_what_has_nothing_to_show_is_left_out(content, missing):
    assert pictures(content).keys() == NAMES - missing
    linked = set(re.findall(r"!\[[^]]+\]\(figures/(.+?)\.svg\)", markdown(content)))
    assert linked == NAMES - missing


def test_an_earlier_reports_pictures_go_and_other_files_stay(tmp_path, quick):
    written = write_report(CONTENT, tmp_path)
    assert tmp_path / "figures" in written
    assert files(tmp_path) == both(NAMES)
    others = {"notes.png", "time-lapse.svg", "ranking.csv"}
    for name in others:
        (tmp_path / "figures" / name).write_text("mine")
    write_report(without(ranking=None, deployed=CONTENT.deployed[:1]), tmp_path)
    gone = {"ranking", "architecture-0.6ms", "time-0.6ms", "cuts-0.6ms"}
    assert files(tmp_path) == both(NAMES - gone) | others


def test_a_report_without_pictures_makes_no_folder_for_them(tmp_path, quick):
    written = write_report(empty_content(), tmp_path)
    assert not (tmp_path / "figures").exists()
    assert all(path.is_file() for path in written)


@pytest.mark.slow
def test_the_figures_of_a_report_are_small(tmp_path):
    write_report(sample_content(), tmp_path)
    assert sum(path.stat().st_size for path in (tmp_path / "figures").iterdir()) < 400_000
