"""``nassuite search``: flags and studies become settings; what it prints, also where it is stopped."""

import os
import re
import signal
import subprocess
import time

import pytest
from command_line import NASSUITE, on_a_terminal
from tiny_runs import SPACE

from nassuite import study
from nassuite.settings import Settings


class Asked(Exception):
    pass


@pytest.fixture
def asked(nassuite, monkeypatch):
    """The arguments of ``study.search`` that a command line comes to."""

    def ask(*arguments: object):
        found = {}

        def search(settings, **more):
            found.update(more, settings=settings)
            raise Asked

        monkeypatch.setattr(study, "search", search)
        with pytest.raises(Asked):
            nassuite("search", *arguments)
        return found

    return ask


def test_flags_become_settings(asked, tmp_path):
    found = asked(
        "--budget-ms", 3, "--budget-ms", 1.5, "--sampler", "tpe", "--seed", 7, "--train-images", 100
    )
    assert found["settings"] == Settings(budget_ms=(3.0, 1.5), sampler="tpe", seed=7, train_images=100)
    assert re.fullmatch(r"runs/digits-3-1.5ms-\d{8}-\d{6}", str(found["out"]))
    assert found["command"][:4] == ["nassuite", "search", "--budget-ms", "3"]
    assert found["reuse"] is None
    assert not found["resume"]


def test_flags_win_over_a_study(asked, tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text("budget_ms = [4]\nepochs = 3\ntrials = 50")
    found = asked("--study", path, "--epochs", 9, "--data", "folder:a/b")
    assert found["settings"] == Settings(budget_ms=(4.0,), epochs=9, trials=50, data="folder:a/b")
    assert str(found["out"]).startswith("runs/b-4ms-")


def test_a_run_from_another_has_its_settings_but_for_the_budgets(asked, tiny_run):
    found = asked("--from", tiny_run.run, "--budget-ms", 7, "--trials", 5)
    theirs = found["settings"]
    assert (theirs.budget_ms, theirs.trials, theirs.epochs, theirs.calibration) == ((7.0,), 5, 3, 24)
    assert theirs.data == f"folder:{tiny_run.folder / 'photos'}"
    assert found["reuse"] == tiny_run.run


def test_what_its_supernet_was_trained_with_cannot_change(nassuite, tiny_run):
    for name, value, theirs in (
        ("epochs", 9, 3),
        ("seed", 5, 0),
        ("lr", 0.5, 0.1),
        ("train-images", 20, None),
    ):
        code, _, err = nassuite("search", "--from", tiny_run.run, "--budget-ms", 7, f"--{name}", value)
        assert code == 2
        assert f"--{name} {value}: the supernet of --from {tiny_run.run} was trained with {theirs}" in err


def test_a_finished_run_is_told_again_with_its_exit_code(nassuite, tiny_run):
    code, out, err = nassuite("search", "--resume", tiny_run.run)
    assert code == 1
    assert err.endswith("taken from train, stratified: 10% for val\n")
    assert err.count("\n") == 1
    lines = out.splitlines()
    assert lines[0].startswith("note: the budget of 0.5 ms does not bind")
    assert [line for line in lines if line.startswith("budget ")] == ["budget 0.5 ms", "budget 0.08 ms"]
    assert sum(line.startswith("* ") for line in lines) == 2
    assert f"deploy {tiny_run.run}/deploy/0.08ms/model.onnx" in lines
    assert any(line.startswith("no architecture keeps 0.01 ms: the fastest, 16px 8 ") for line in lines)
    assert lines[-1] == f"report {tiny_run.run}/report/index.html"


def test_the_table_fits_a_narrow_terminal(tiny_run):
    command = [*NASSUITE, "search", "--resume", str(tiny_run.run)]
    out = on_a_terminal(command, columns=60)
    rows = [line for line in out.splitlines() if re.match(r"[* ] (fp32|int8|pruned)", line)]
    assert len(rows) == 8
    assert max(map(len, rows)) <= 60
    assert all(
        re.search(r" (pass|fail) +\d+\.\d\d +\d+\.\d\d +\d+\.\d-\d+\.\d$", row.rstrip()) for row in rows
    )
    assert "…" not in out


@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, 2])
def test_ctrl_c_in_the_search_is_one_line_and_the_run_goes_on(tmp_path, workers):
    (tmp_path / "space.toml").write_text(SPACE)
    run = tmp_path / "run"
    command = [
        *NASSUITE, "search", "--budget-ms", "50", "--out", str(run), "--space", str(tmp_path / "space.toml"),
        *["--train-images", "200", "--epochs", "1", "--calibration", "24", "--trials", "60", "--finetune-epochs", "1", "--prune-epochs", "1"],
        *f"--workers {workers}".split(),
    ]  # fmt: skip
    journal = run / "search.journal"
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, start_new_session=True) as process:
        while process.poll() is None and not (journal.exists() and journal.stat().st_size > 30_000):
            time.sleep(0.01)
        os.killpg(process.pid, signal.SIGINT)  # as a terminal does
        last = process.stderr.read().splitlines()[-1]
        assert process.wait() == 130
    assert last == f"nassuite: stopped; go on with: nassuite search --resume {run}"
    again = subprocess.run(
        [*NASSUITE, "search", "--resume", str(run)], capture_output=True, text=True, check=False
    )
    assert again.returncode == 0, again.stderr
    assert "Traceback" not in again.stderr
    assert (run / "report" / "index.html").exists()
