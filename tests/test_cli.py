"""What a user meets: one line and exit code 2 for what is refused, commands that tell."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from command_line import NASSUITE, on_a_terminal
from tiny_runs import SPACE, Interruption

from nassuite import study
from nassuite.errors import InputError
from nassuite.progress import Progress


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
        ("fly", "nassuite: there is no command 'fly' (see nassuite --help)"),
        ("serach", "nassuite: there is no command 'serach': did you mean search? (see nassuite --help)"),
        ("space shwo", "nassuite space: there is no command 'shwo': did you mean show?"),
        ("status a b", "nassuite status: unrecognized arguments: b (see nassuite status --help)"),
        (
            "prune mobilenet_v2 --speedupp 2",
            "unrecognized arguments: --speedupp 2: did you mean --speedup? (see nassuite prune --help)",
        ),
        ("latency measure a --thread=2 --sizes 3", "did you mean --size? (see nassuite latency measure --help)"),
        ("space show mobil", "no search space 'mobil': did you mean mobile? expected one of henet, micro,"),
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


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ("search --data folder:a --budget-ms 5 --budget-ms 3 --out b", "searching folder:a for 5 and 3 ms, into b"),
        ("search --objective pareto --out b", "searching digits for the whole front, into b"),
        ("search --resume a", "going on with a"),
        ("train mobilenet_v2 --out b", "training mobilenet_v2 on digits, into b"),
        ("prune a --speedup 2 --out b", "pruning a, into b"),
        ("prune a --sensitivity --out b", "cutting each layer of a, into b"),
        ("distill a --teacher b --out c", "a taught by b, into c"),
        ("quantize a --out b", "quantising a, into b"),
        ("audit a", "auditing a"),
        ("export a --out b", "exporting a, into b"),
        ("zoo compare a b --out c", "comparing a, b, into c"),
        ("worker a", "joining a"),
    ],
)  # fmt: skip
def test_a_long_command_says_first_what_it_is_about_to_do(nassuite, monkeypatch, arguments, said):
    def starting(_, text):
        raise Interruption(text)

    monkeypatch.setattr(Progress, "starting", starting)
    with pytest.raises(Interruption, match=f"^{re.escape(said)}$"):
        nassuite(*arguments.split())


def test_it_is_said_before_torch_is_imported():
    command = [sys.executable, "-X", "importtime", *NASSUITE[1:], "search", "--resume", "nowhere"]
    out = on_a_terminal(command, columns=80)
    imported = re.search(r"\| +torch$", out, re.MULTILINE)
    assert -1 < out.index("going on with nowhere") < imported.start()


@pytest.mark.parametrize("arguments", [["space", "list"], ["status", "RUN"]])
def test_a_reader_that_has_seen_enough_is_no_error(tiny_run, arguments):
    command = [*NASSUITE, *(str(tiny_run.run) if a == "RUN" else a for a in arguments)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        process.stdout.close()
        assert process.stderr.read() == ""
        assert process.wait() == 0


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


def test_completion_is_a_script_that_knows_the_commands(nassuite):
    code, script, _ = nassuite("completion", "bash")
    assert code == 0
    checked = subprocess.run(["bash", "-n"], input=script, text=True, capture_output=True, check=False)
    assert (checked.returncode, checked.stderr) == (0, "")
    for word in ("certify", "--budget-ms", "search-dilations"):
        assert word in script
