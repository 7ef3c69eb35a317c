"""What a user meets: one line and exit code 2 for what is refused, tables that fit, commands that tell."""

import os
import pty
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from tiny_runs import SPACE, Interruption

from nassuite import cli, study
from nassuite.errors import InputError
from nassuite.settings import Settings

NASSUITE = [sys.executable, "-m", "nassuite"]


@pytest.fixture
def nassuite(capsys) -> Callable[..., tuple[int, str, str]]:
    """Runs a command here; gives its exit code, stdout and stderr."""

    def run(*arguments: object) -> tuple[int, str, str]:
        try:
            code = cli.main([str(argument) for argument in arguments])
        except SystemExit as ended:
            code = int(ended.code or 0)
        return code, *capsys.readouterr()

    return run


@pytest.fixture
def here(tmp_path, monkeypatch) -> Path:
    """A current folder with a few things that cannot be searched."""
    monkeypatch.chdir(tmp_path)
    for folder in ("empty", "one/cat"):
        Path(folder).mkdir(parents=True)
    Path("one/cat/a.png").touch()
    Path("file").touch()
    Path("typo.toml").write_text(SPACE.replace("kernel", "kernal", 1))
    Path("study.toml").write_text("budjet_ms = [1]")
    return tmp_path


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("", "the following arguments are required: COMMAND"),
        ("fly", "invalid choice: 'fly'"),
        ("search", "no latency budget: give --budget-ms"),
        ("search --objective mnas", "no latency budget: give --budget-ms"),
        ("search --objective pareto --budget-ms 1", "--objective pareto looks for the whole front"),
        ("search --objective pareto --max-params 9 --data digits", "--max-params 9: no architecture of the space micro"),
        ("search --budget-ms 1 --init a --from b", "b: no such run directory"),
        ("search --budget-ms 1 --init nowhere", "nowhere: no such run directory"),
        ("search --budget-ms 0", "--budget-ms 0: expected a positive number"),
        ("search --budget-ms -3", "--budget-ms -3: expected a positive number"),
        ("search --budget-ms nan", "--budget-ms nan: expected a positive number"),
        ("search --budget-ms inf", "--budget-ms inf: expected a positive number"),
        ("search --budget-ms soon", "invalid float value: 'soon'"),
        ("search --budget-ms 1 --sampler luck", "invalid choice: 'luck'"),
        ("search --budget-ms 1 --colour red", "unrecognized arguments: --colour red"),
        ("search --budget-ms 1 --seed -1", "--seed -1: expected 0 to"),
        ("search --budget-ms 1 --data nonsense", "unknown data 'nonsense'"),
        ("search --budget-ms 1 --data folder:nowhere", "no folder 'nowhere'"),
        ("search --budget-ms 1 --data folder:empty", "no images in empty"),
        ("search --budget-ms 1 --data folder:one", "only one class, 'cat', in one"),
        ("search --budget-ms 1 --size 4", "--size 4: expected 8 or more"),
        ("search --budget-ms 1 --size 16", "--size 16: the space micro is for 32 pixels"),
        ("search --budget-ms 1 --train-images 5", "5 training images for 10 classes"),
        ("search --budget-ms 1 --space nope", "no search space 'nope': expected one of henet, micro, mobile, tiny"),
        ("search --budget-ms 1 --space typo.toml", "typo.toml: stages[0].kernal = [3]: expected no such key"),
        ("search --budget-ms 1 --threads 999", "--threads 999: this process may use 1 to"),
        ("search --budget-ms 1 --study nope", "no study 'nope'"),
        ("search --budget-ms 1 --study study.toml", "study.toml: no setting 'budjet_ms'"),
        ("search --budget-ms 1 --out file", "--out file: that is a file"),
        ("search --budget-ms 1 --out file/below", "--out file/below: cannot write to"),
        ("search --budget-ms 1 --out one", "--out one is not empty"),
        ("search --budget-ms 1 --from nowhere", "nowhere: no such run directory"),
        ("search --resume nowhere", "nowhere: no such run directory"),
        ("search --resume one", "one is no run directory: it has no study.toml"),
        ("search --resume one --seed 3 --out x", "leave out --seed, --out"),
        ("status nowhere", "nowhere: no such run directory"),
        ("status one", "one is no run directory"),
        ("report one", "no report in 'one': expected the file records.json"),
        ("report nowhere", "no report in 'nowhere'"),
        ("space", "the following arguments are required: COMMAND"),
        ("space show nope", "no search space 'nope'"),
        ("space show typo.toml", "typo.toml: stages[0].kernal"),
    ],
)  # fmt: skip
def test_what_is_refused_is_one_line_and_exit_code_2(nassuite, here, arguments, message):
    before = sorted(here.rglob("*"))
    code, out, err = nassuite(*arguments.split())
    assert (code, out) == (2, "")
    assert message in err
    assert err.startswith("nassuite")
    assert err.count("\n") == 1
    assert sorted(here.rglob("*")) == before


def test_help_and_version(nassuite):
    code, out, _ = nassuite("--help")
    assert code == 0
    assert all(command in out for command in ("search", "report", "status", "space", "doctor"))
    code, out, _ = nassuite("search", "--help")
    assert code == 0
    for name in ("--budget-ms", "--resume", "--from", "--sampler", "--out", "--seed", "--study"):
        assert name in out
    assert nassuite("--version") == (0, "nassuite 0.1.0\n", "")


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (KeyboardInterrupt(), 130, "nassuite: stopped\n"),
        (OSError(28, "No space left on device"), 2, "nassuite: No space left on device\n"),
        (PermissionError(13, "Permission denied", "/x"), 2, "nassuite: Permission denied (/x)\n"),
        (FloatingPointError("the loss is nan; a smaller lr may help"), 2, "nassuite: the loss is nan; a smaller lr may help\n"),
        (InputError("no"), 2, "nassuite: no\n"),
    ],
)  # fmt: skip
def test_what_goes_wrong_on_the_way_is_one_line(nassuite, tmp_path, error, code, line):
    def search(*_, **__):
        raise error

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(study, "search", search)
        found = nassuite("search", "--budget-ms", 1, "--out", tmp_path / "run")
    assert found == (code, "", line)


def test_who_interrupts_a_run_is_told_how_to_go_on(nassuite, tmp_path, monkeypatch):
    def search(*_, out, **__):
        out.mkdir()
        (out / "study.toml").touch()
        raise KeyboardInterrupt

    monkeypatch.setattr(study, "search", search)
    run = tmp_path / "my run"
    code, _, err = nassuite("search", "--budget-ms", 1, "--out", run)
    assert (code, err) == (130, f"nassuite: stopped; go on with: nassuite search --resume '{run}'\n")


def test_a_mistake_of_ours_is_not_hidden(nassuite, tmp_path, monkeypatch):
    def search(*_, **__):
        raise Interruption

    monkeypatch.setattr(study, "search", search)
    with pytest.raises(Interruption):
        nassuite("search", "--budget-ms", 1, "--out", tmp_path / "run")


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


def on_a_terminal(command: list[str], columns: int) -> str:
    ours, theirs = pty.openpty()
    environment = {**os.environ, "COLUMNS": str(columns), "TERM": "xterm", "NO_COLOR": "1"}
    with subprocess.Popen(command, stdout=theirs, stderr=theirs, env=environment):
        os.close(theirs)
        read = b""
        while True:
            try:
                chunk = os.read(ours, 65536)
            except OSError:  # what Linux says at the end
                chunk = b""
            if not chunk:
                break
            read += chunk
    os.close(ours)
    return re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", read.decode()).replace("\r\n", "\n")


@pytest.mark.parametrize("arguments", [["space", "list"], ["status", "RUN"]])
def test_a_reader_that_has_seen_enough_is_no_error(tiny_run, arguments):
    command = [*NASSUITE, *(str(tiny_run.run) if a == "RUN" else a for a in arguments)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        process.stdout.close()
        assert process.stderr.read() == ""
        assert process.wait() == 0


def files_in(folder):
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_the_report_is_drawn_again_the_same_from_its_records_alone(nassuite, tiny_run, tmp_path):
    folder = tiny_run.run / "report"
    names = {"index.html", "report.md", "pareto.svg", "pareto.png", "records.json", "figures"}
    before = files_in(folder)
    assert {path.parts[0] for path in before} == names
    again = tmp_path / "run" / "report"
    again.mkdir(parents=True)
    shutil.copy(folder / "records.json", again)
    code, out, _ = nassuite("report", tmp_path / "run")
    assert code == 0
    assert set(out.split()) == {str(again / name) for name in names}
    assert files_in(again) == before


def test_status_of_a_finished_run(nassuite, tiny_run):
    code, out, _ = nassuite("status", tiny_run.run)
    assert code == 0
    head, *stages, tail = out.splitlines()
    assert "space.toml, 0.5, 0.08, 0.01 ms, begun 20" in head
    assert [line.split()[:2] for line in stages] == [
        [stage, "done"] for stage in ("latency", "supernet", "search", "finalists", "deploy", "report")
    ]
    for part in ("24 of 24 samples", "3 of 3 epochs", "14 of 14 architectures", "models for 2 of 3 budgets"):
        assert part in out
    assert tail == f"all done: {tiny_run.run}/report/index.html"


def test_status_of_a_run_that_was_stopped_or_is_running(nassuite, tiny_run, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(tiny_run.run, run)
    stages = (run / "stages.jsonl").read_text().splitlines()
    (run / "stages.jsonl").write_text("\n".join(stages[:2]) + "\n")
    for name in ("deploy", "report"):
        shutil.rmtree(run / name)
    (run / "search.journal").unlink()
    _, out, _ = nassuite("status", run)
    assert [line.split()[1] for line in out.splitlines()[1:7]] == ["done", "done", "next", *["left"] * 3]
    assert "0 of 14 architectures" in out
    assert out.endswith(f"continue with: nassuite search --resume {run}\n")
    assert not (run / "search.journal").exists()

    code = "import sys, time; from pathlib import Path; from nassuite.run_directory import RunDirectory\n"
    code += "with RunDirectory(Path(sys.argv[1])).locked(): print(flush=True); time.sleep(60)"
    with subprocess.Popen([sys.executable, "-c", code, str(run)], stdout=subprocess.PIPE) as process:
        process.stdout.readline()
        _, out, _ = nassuite("status", run)
        assert out.splitlines()[3].split()[:2] == ["search", "running"]
        assert out.endswith("a process is working on it\n")
        code, _, err = nassuite("search", "--resume", run)
        assert (code, err) == (
            2,
            f"nassuite: {run} is in use by another nassuite process: wait for it or stop it\n",
        )
        process.kill()


def test_spaces_are_listed_and_shown(nassuite):
    code, out, _ = nassuite("space", "list")
    assert (code, out.split()) == (0, ["henet", "micro", "mobile", "tiny"])
    code, out, _ = nassuite("space", "show", "tiny")
    assert code == 0
    for part in (
        "architectures",
        "inverted_residual ghost shuffle dwcb",
        "smallest: ",
        "largest: ",
        "M MACs",
    ):
        assert part in out


def test_doctor_says_what_there_is_and_what_is_wrong(nassuite, tmp_path):
    code, out, _ = nassuite("doctor")
    assert code == 0
    assert [line.split()[0] for line in out.splitlines()] == [
        "cpu", "system", "packages", "device", "runtime", "runtimes", "disk", "data",
    ]  # fmt: skip
    assert "digits: 1079 train, 359 val, 359 test images, 10 classes, 0 unreadable" in out
    code, out, err = nassuite("doctor", "--data", f"folder:{tmp_path}")
    assert (code, err) == (2, "")
    assert out.splitlines()[-1].startswith(f"data     no images in {tmp_path}")


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


def test_completion_is_a_script_that_knows_the_commands(nassuite):
    code, script, _ = nassuite("completion", "bash")
    assert code == 0
    checked = subprocess.run(["bash", "-n"], input=script, text=True, capture_output=True, check=False)
    assert (checked.returncode, checked.stderr) == (0, "")
    for word in ("certify", "--budget-ms", "search-dilations"):
        assert word in script
