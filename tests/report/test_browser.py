"""The pages as a browser sees them: no complaint on its console, nothing wider than the window, at three widths."""

import pytest
from browser import Browser, find_browser
from sample import sample_comparison, sample_content

from nassuite.report.html import page
from nassuite.report.runs_page import runs_page

pytestmark = pytest.mark.skipif(
    find_browser() is None, reason="needs Chromium or Chrome (apt install chromium)"
)

PAGES = {"search": lambda: page(sample_content(count=60)), "runs": lambda: runs_page(sample_comparison())}
WIDER = """[...document.querySelectorAll("main *")].filter(e => !e.closest(".scroll, pre, svg")
  && e.getBoundingClientRect().right > innerWidth + 0.5).map(e => e.tagName + "." + e.className)"""

SPILT = """[...document.querySelectorAll(".answer .value")].filter(e => e.getBoundingClientRect().right
  > e.closest(".answer").getBoundingClientRect().right).map(e => e.textContent)"""
COVERED = """(() => {
  const svg = [...document.querySelectorAll(".pareto svg.chart")].find(e => e.clientWidth > 0);
  const boxes = kind => [...svg.querySelectorAll(kind)].map(e => [e.textContent, e.getBoundingClientRect()]);
  const hits = (a, b) => a.left < b.right && b.left < a.right && a.top + 2 < b.bottom && b.top + 2 < a.bottom;
  const labels = boxes(".label:not([aria-hidden])");
  const others = [...labels, ...boxes(".mark[tabindex]"), ...boxes(".budget-label:not([aria-hidden])")];
  return labels.flatMap(([name, box]) => others.filter(([_, o]) => o !== box && hits(box, o)).map(o => [name, o[0]]));
})()"""


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    opened = Browser(find_browser(), tmp_path_factory.mktemp("profile"))
    yield opened
    opened.close()


@pytest.mark.parametrize("name", PAGES)
def test_the_page_fits_and_nothing_complains(browser, tmp_path, name):
    path = tmp_path / "index.html"
    path.write_text(PAGES[name]())
    browser.errors.clear()
    for width, scheme in ((390, "light"), (800, "dark"), (1280, "light")):
        browser.open(path, width=width, scheme=scheme)
        assert browser.evaluate("document.documentElement.scrollWidth") <= width, width
        assert browser.evaluate(WIDER) == [], width
        assert browser.evaluate(SPILT) == [], width
        assert browser.evaluate(COVERED) == [], width
        # Of the two forms of a drawing one is seen.
        seen = "[...document.querySelectorAll('.pareto svg.chart')].filter(e => e.clientWidth > 0).length"
        assert browser.evaluate(seen) == 1
    assert browser.errors == []


def test_pointing_at_a_mark_shows_its_architecture(browser, tmp_path):
    content = sample_content(count=60)
    path = tmp_path / "index.html"
    path.write_text(page(content))
    browser.open(path, width=1280)
    point = """(() => {
      const mark = document.querySelector(".pareto svg.wide .k-fp32");
      const box = mark.getBoundingClientRect();
      const at = {clientX: box.x + box.width / 2, clientY: box.y + box.height / 2, bubbles: true};
      mark.dispatchEvent(new PointerEvent("pointermove", at));
      return document.querySelector("output.pick").textContent;
    })()"""
    assert content.deployed[0].arch in browser.evaluate(point)


def test_a_complaint_would_be_seen(browser, tmp_path):
    path = tmp_path / "broken.html"
    path.write_text("<script>console.error('no'); nothing.there</script><img src='http://127.0.0.1:9/x.png'>")
    browser.errors.clear()
    browser.open(path, width=390)
    assert len(browser.errors) >= 2
    browser.errors.clear()
