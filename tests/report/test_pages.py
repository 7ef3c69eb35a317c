import dataclasses
import json
import re
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import pytest
from sample import empty_content, sample_content

from nassuite.report import ReportContent, read_report, write_report
from nassuite.report.html import page
from nassuite.report.markdown import markdown
from nassuite.report.pictures import pictures
from nassuite.report.tables import answers

CONTENT = sample_content(count=60)
FILES = {"index.html", "report.md", "pareto.svg", "pareto.png", "records.json"}  # beside those in figures
VOID = {"meta", "br", "img"}


class Page(HTMLParser):
    """Collects tags with attributes and text; fails on tags that do not nest."""

    def __init__(self, source):
        super().__init__()
        self.tags, self.words, self.stack, self.headings = [], [], [], []
        self.feed(re.sub('<span class="option">(.*?)</span>', r"\1", source))  # part of its sentence
        self.close()
        assert self.stack == []

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.stack.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.stack.pop() == tag

    def handle_data(self, data):
        if not {"style", "script"} & set(self.stack):
            self.words.append(data)
        if self.stack and self.stack[-1] in ("h1", "h2"):
            self.headings.append(data)

    @property
    def text(self):
        return " ".join(self.words)


def one_evaluation():
    return dataclasses.replace(empty_content(), evaluations=CONTENT.evaluations[:1])


def without_test_set():
    def cut(variant):
        return dataclasses.replace(variant, test_accuracy=None, test_interval=None, test_n=0)

    deployed = tuple(
        dataclasses.replace(d, variants=tuple(cut(v) for v in d.variants), costs=()) for d in CONTENT.deployed
    )
    epochs = tuple(dataclasses.replace(e, val_largest=None, val_smallest=None) for e in CONTENT.training[:1])
    return dataclasses.replace(CONTENT, deployed=deployed, training=epochs, baselines=())


def huge():
    space = dataclasses.replace(CONTENT.run.space, architectures="9" * 5000, max_macs=10**15)
    return dataclasses.replace(CONTENT, run=dataclasses.replace(CONTENT.run, space=space))


def nothing_feasible():
    rows = tuple(dataclasses.replace(e, feasible=(False, False)) for e in CONTENT.evaluations)
    return dataclasses.replace(CONTENT, evaluations=rows, deployed=())


CASES = {
    "whole": lambda: CONTENT,
    "empty": empty_content,
    "one evaluation": one_evaluation,
    "no test set": without_test_set,
    "huge counts": huge,
    "nothing feasible": nothing_feasible,
}


@pytest.mark.parametrize("case", CASES)
def test_drawn_again_from_its_records_every_file_is_the_same(case, tmp_path, monkeypatch):
    # Pixels take most of the time, and test_png.py sees to them.
    monkeypatch.setattr("nassuite.report.files.png", lambda drawing, own: repr((drawing, own)).encode())
    first, second = tmp_path / "first", tmp_path / "second"
    written = write_report(CASES[case](), first)
    assert {path.name for path in written} - {"figures"} == FILES
    write_report(read_report(first), second)
    files = {path.relative_to(first) for path in first.rglob("*.*")}
    assert {path.relative_to(second) for path in second.rglob("*.*")} == files
    for file in files:
        assert (first / file).read_bytes() == (second / file).read_bytes(), file


@pytest.mark.parametrize("case", CASES)
def test_the_page_nests_and_its_drawings_are_well_formed(case):
    content = CASES[case]()
    source = page(dataclasses.replace(content, run=dataclasses.replace(content.run, predict="")))
    parsed = Page(source)
    for drawing in re.findall(r"<svg.*?</svg>", source, re.DOTALL):
        ElementTree.fromstring(drawing)
    assert not re.search(r"\b(nan|inf|None)\b", parsed.text)
    for tag, attributes in parsed.tags:
        if tag == "svg":
            assert attributes.get("aria-label") or attributes.get("aria-hidden")


def test_older_records_are_drawn_without_what_they_lack():
    records = CONTENT.to_json()
    del records["choices"], records["run"]["data"]["digest"]
    for deployment in records["deployed"]:
        del deployment["times"], deployment["cuts"]
    content = ReportContent.from_json(json.loads(json.dumps(records)))
    new = ("Which choices matter", "Where its time goes", "What pruning removed")
    for form in (page, markdown):
        assert all(words in form(CONTENT) for words in new)
        assert not any(words in form(content) for words in new)


@pytest.mark.parametrize("name", ["digits", "cifar10"])
def test_the_committed_reports_can_be_drawn(name):
    folder = Path(__file__).parent.parent.parent / "reports" / name
    content = read_report(folder)
    linked = re.findall(r"!\[[^]]*\]\((.+?)\)", (folder / "report.md").read_text())
    assert len(linked) == 1 + len(pictures(content))
    assert all((folder / link).is_file() for link in linked)
    text = Page(page(content)).text
    for deployment in content.deployed:
        assert f"{100 * deployment.chosen.test_accuracy:.1f} %" in text
        assert deployment.arch in text


def test_the_page_asks_for_nothing_from_outside():
    source = page(CONTENT)
    for tag, attributes in Page(source).tags:
        assert tag not in ("link", "img", "iframe", "base")
        assert not {"src", "href", "xlink:href"} & attributes.keys()
    assert "url(" not in source
    assert "@import" not in source
    policies = [attributes["content"] for _, attributes in Page(source).tags if "http-equiv" in attributes]
    assert len(policies) == 1
    assert policies[0].startswith("default-src 'none'")


def test_options_stay_whole_at_the_end_of_a_line():
    """Browsers break a line after any hyphen."""
    assert '<span class="option">--budget-ms</span> 0.3' in page(CONTENT)
    assert CONTENT.run.command in Page(page(CONTENT)).text


def test_a_seed_that_is_among_the_settings_too_is_shown_once():
    run = dataclasses.replace(CONTENT.run, settings={"seed": 3, "trials": 220})
    text = markdown(dataclasses.replace(CONTENT, run=run))
    assert text.count("- seed: 3\n") == 1


def test_a_page_of_a_long_search_stays_under_three_megabytes():
    rows = CONTENT.evaluations * 50
    assert len(page(dataclasses.replace(CONTENT, evaluations=rows)).encode()) < 3_000_000


def test_the_page_answers_first():
    headings = Page(page(CONTENT)).headings
    assert headings == [
        "cifar10, budgets 0.3 and 0.6 ms",
        "What this run does not reach",
        "Accuracy against latency",
        "How far to trust it",
        "How it was found",
        "The winner for 0.3 ms",
        "The winner for 0.6 ms",
        "How to repeat it",
        "Notes",
    ]


@pytest.mark.parametrize("form", [lambda c: Page(page(c)).text, markdown], ids=["html", "markdown"])
def test_both_forms_show_every_deployed_number_and_the_command(form):
    text = form(CONTENT).replace("\\", "")
    assert CONTENT.run.command in text
    for deployment in CONTENT.deployed:
        for variant in deployment.variants:
            assert f"{100 * variant.test_accuracy:.1f} %" in text
            low, high = variant.test_interval
            assert f"[{100 * low:.1f}, {100 * high:.1f}]" in text
            assert f"{variant.p50_ms:.3f} ms" in text
    for miss in CONTENT.run.misses + CONTENT.run.notes:
        assert miss in text
    assert "4.8 × 10³¹" in text


def test_text_from_outside_is_never_markup():
    nasty = "<script>alert(1)</script>&\"'|`*[x](y)"
    run = dataclasses.replace(
        CONTENT.run,
        name=nasty, command=nasty, misses=(nasty,), notes=(nasty,), predict=nasty, settings={nasty: nasty},
        data=dataclasses.replace(CONTENT.run.data, name=nasty, classes=(nasty, nasty), skipped=(nasty,)),
    )  # fmt: skip
    deployed = tuple(dataclasses.replace(d, arch=nasty) for d in CONTENT.deployed)
    rows = tuple(dataclasses.replace(e, arch=nasty) for e in CONTENT.evaluations)
    content = dataclasses.replace(CONTENT, run=run, deployed=deployed, evaluations=rows)
    parsed = Page(page(content))
    assert [tag for tag, _ in parsed.tags].count("script") == 1
    assert nasty in parsed.text
    outside_code = re.sub(r"```.*?```|`[^`]*`", "", markdown(content), flags=re.DOTALL)
    assert "<script>" not in outside_code
    for drawing in re.findall(r"<svg.*?</svg>", page(content), re.DOTALL):
        ElementTree.fromstring(drawing)


def test_markdown_tables_have_equal_rows_also_with_bars_in_names():
    baselines = (dataclasses.replace(CONTENT.baselines[0], name="a|b", note="c|d"),)
    text = markdown(dataclasses.replace(CONTENT, baselines=baselines))
    for table in re.findall(r"(?:^\|.*\n)+", text, re.MULTILINE):
        widths = {len(re.findall(r"(?<!\\)\|", line)) for line in table.splitlines()}
        assert len(widths) == 1


def test_the_answer_says_a_miss_as_a_miss():
    noisy, met = answers(CONTENT)
    assert (noisy.met, met.met) == (False, True)
    assert "too noisy" in noisy.verdict
    nothing = answers(nothing_feasible())
    assert [answer.met for answer in nothing] == [False, False]
    fastest = min(f.p50_ms for f in CONTENT.finalists)
    assert nothing[0].facts[0][1] == f"{fastest:.3f} ms"


def test_keyboard_reaches_the_front_and_the_deployed_but_not_the_crowd():
    marks = [
        attributes for tag, attributes in Page(page(CONTENT)).tags if "mark" in attributes.get("class", "")
    ]
    reached = {a["class"].split()[1] for a in marks if "tabindex" in a}
    assert reached == {"k-front", "k-finalist", "k-fp32", "k-pruned", "k-int8", "k-baseline"}
