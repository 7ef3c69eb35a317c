"""A worker that comes before its run searches; ``test_many_machines`` has whole searches."""

from tiny_runs import ListeningProgress

from nassuite import joining
from nassuite.run_directory import RunDirectory


def test_a_run_that_is_worked_on_is_waited_for(tmp_path, monkeypatch):
    monkeypatch.setattr(joining, "POLL_SECONDS", 0.0)
    run, progress = RunDirectory(tmp_path), ListeningProgress()
    asked = []

    def at_the_third(run=run) -> bool:
        asked.append(run)
        return len(asked) == 3

    with run.locked():
        assert joining._becomes(run, at_the_third, progress)
    assert progress.said == [f"{tmp_path} is not searching yet: waiting as long as a process works on it"]


def test_one_that_nothing_works_on_is_not(tmp_path):
    progress = ListeningProgress()
    assert not joining._becomes(RunDirectory(tmp_path), lambda: False, progress)
    answers = iter([False, True])
    assert joining._becomes(RunDirectory(tmp_path), lambda: next(answers), progress)
    assert progress.said == []
