import itertools
import re

import pytest

from nassuite import progress
from nassuite.progress import SILENT, Progress


@pytest.fixture
def clock(monkeypatch):
    """Every look at the clock is a second later."""
    ticks = itertools.count()
    monkeypatch.setattr(progress.time, "monotonic", lambda: float(next(ticks)))


def test_items_pass_through_unchanged(capsys):
    for reporter in (SILENT, Progress()):
        assert list(reporter.track(range(5), "work")) == [0, 1, 2, 3, 4]
        assert list(reporter.track(iter("ab"), "work")) == ["a", "b"]
        assert list(reporter.track([], "work")) == []
    assert capsys.readouterr() == ("", "")


def test_quick_work_is_quiet_and_slow_work_says_how_much_is_left(clock, capsys):
    list(Progress().track(range(2), "quick"))
    assert capsys.readouterr().err == ""
    list(Progress().track(range(10), "slow"))
    assert capsys.readouterr().err == "slow: 3/10 steps, 7 s left\n"


def test_lines_come_every_quarter_of_a_minute(clock, capsys):
    list(Progress().track(range(40), "slow"))
    counts = [line.split()[1] for line in capsys.readouterr().err.splitlines()]
    assert counts == ["3/40", "19/40", "35/40"]


def test_a_resumed_count_goes_on(clock, capsys):
    list(Progress().track(range(6, 10), "search", total=10, done=6, unit="architectures"))
    assert capsys.readouterr().err == "search: 9/10 architectures, 1 s left\n"
    list(Progress().track(range(6, 10), "search", done=6))
    assert capsys.readouterr().err == "search: 9/10 steps, 1 s left\n"


def test_an_unknown_total(clock, capsys):
    list(Progress().track(iter(range(4)), "reading", unit="files"))
    assert capsys.readouterr().err == "reading: 3/? files\n"


def test_silence(clock, capsys):
    SILENT.say("hello")
    list(SILENT.track(range(50), "slow"))
    assert capsys.readouterr() == ("", "")


def test_nothing_goes_to_stdout(clock, capsys):
    Progress().say("hello")
    assert capsys.readouterr() == ("", "hello\n")


def test_a_bar_on_a_terminal_ends_with_its_loop(monkeypatch, capsys):
    monkeypatch.setattr(progress.sys.stderr, "isatty", lambda: True, raising=False)
    monkeypatch.setattr(progress, "QUIET_SECONDS", -1.0)
    assert list(Progress().track(range(3), "work", unit="files")) == [0, 1, 2]
    assert re.search(r"3/3\S* files, left", capsys.readouterr().err)
    with pytest.raises(ZeroDivisionError):
        [1 / 0 for _ in Progress().track(range(3), "work")]
    # A bar that was left running would make this second one an error in rich.
    assert list(Progress().track(range(3), "again")) == [0, 1, 2]


def test_what_is_about_to_happen_is_shown_on_a_terminal_until_it_does(monkeypatch, capsys):
    with Progress().starting("searching"):
        assert capsys.readouterr() == ("", "")
    monkeypatch.setattr(progress.sys.stderr, "isatty", lambda: True, raising=False)
    monkeypatch.setenv("COLUMNS", "20")
    with Progress().starting("searching " + 5 * "photos "):
        assert capsys.readouterr() == ("", "searching photos ph")
    assert capsys.readouterr() == ("", progress.CLEARED_LINE)
    with pytest.raises(ZeroDivisionError), Progress().starting("searching"):
        raise ZeroDivisionError
    assert capsys.readouterr().err == f"searching{progress.CLEARED_LINE}"
    with SILENT.starting("searching"):
        assert capsys.readouterr() == ("", "")
