import pytest
from hypothesis import given
from hypothesis import strategies as st

from nassuite.report.markup import Markup, element
from nassuite.report.words import big, count, duration, milliseconds, nice_ticks, percent, size


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (milliseconds(0.28416), "0.284 ms"),
        (milliseconds(4.1), "4.10 ms"),
        (milliseconds(1234.5), "1234 ms"),
        (milliseconds(0), "0 ms"),
        (milliseconds(None), "–"),
        (percent(0.98765), "98.8 %"),
        (percent(None), "–"),
        (count(420), "420"),
        (count(12_345_678), "12.3 M"),
        (size(402_000), "402 kB"),
        (size(12), "12 B"),
        (duration(8.44), "8.4 s"),
        (duration(750), "12 min 30 s"),
        (duration(11_100), "3 h 05 min"),
        (big("4820"), "4,820"),
        (big("32" + "0" * 30), "3.2 × 10³¹"),
        (big("9" * 5000), "1.0 × 10⁵⁰⁰⁰"),
    ],
)
def test_numbers_as_people_read_them(words, expected):
    assert words == expected


@given(st.floats(-1e6, 1e6), st.floats(1e-4, 1e6), st.integers(3, 12))
def test_ticks_are_inside_even_and_about_as_many_as_asked(low, reach, about):
    ticks = nice_ticks(low, low + reach, about=about)
    assert about / 2 - 1 <= len(ticks) <= 2 * about + 1
    slack = 1e-6 * max(abs(low), reach)
    assert all(low - slack <= tick <= low + reach + slack for tick in ticks)


def test_elements_escape_text_and_attributes_but_not_markup():
    assert element("p", "a<b>", Markup("<br/>"), title='"&') == '<p title="&quot;&amp;">a&lt;b&gt;<br/></p>'
    assert element("path", d=1.0, x=-0.001, class_="a", aria_label=None) == '<path d="1" x="0" class="a"/>'
