"""A run that was stopped and resumed comes to what one that was not stopped came to."""

import os
import random
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from deterministic_meter import deterministic_meter
from tiny_runs import (
    IMPOSSIBLE_MS,
    LOOSE_MS,
    TIGHT_MS,
    InterruptingProgress,
    Interruption,
    Result,
    result,
    settings,
    stages_done,
    write_photos,
    write_space,
)  # fmt: skip

from nassuite.errors import InputError
from nassuite.progress import SILENT
from nassuite.report import read_report
from nassuite.run_directory import STAGES
from nassuite.study import search

SCRIPT = Path(__file__).with_name("resumable_run.py")
RANDOM_KILLS = 5


def assert_same_run(run: Path, whole: Result) -> None:
    again = result(run)
    assert again.trials == whole.trials
    assert again.samples == whole.samples
    assert again.finalists == whole.finalists
    assert again.variants == whole.variants
    assert again.files == whole.files
    assert stages_done(run) == list(STAGES)
    assert read_report(run / "report").deployed
    assert (run / "report" / "index.html").read_text().endswith("</html>\n")


def test_interrupted_in_every_stage_it_ends_as_if_it_had_not_been(tiny_run, tmp_path):
    progress = InterruptingProgress(
        {
            "latency samples": 1,
            "supernet": 7,
            "search": 5,
            "training the winner": 4,
            "exporting and quantising": 1,
        }
    )
    places, stopped = list(progress.after), []
    wanted = settings(tiny_run.folder, LOOSE_MS, TIGHT_MS, IMPOSSIBLE_MS)
    while not stopped or stopped[-1] != "not":
        try:
            search(
                None if stopped else wanted, out=tmp_path / "run", resume=bool(stopped),
                meter=deterministic_meter, progress=progress,
            )  # fmt: skip
            stopped.append("not")
        except Interruption as place:
            stopped.append(str(place))
    assert stopped == [*places, "not"]
    assert_same_run(tmp_path / "run", result(tiny_run.run))
    # Nothing twice: the supernet's steps since its last epoch are the most that an interruption costs.
    assert progress.steps["search"] == 14
    assert progress.steps["supernet"] == 3 * 4 + 7 % 4


def test_a_finished_run_is_told_again_and_not_touched(tiny_run):
    def files() -> dict[Path, bytes]:
        # Opening an Optuna study adds a line to its journal.
        kept = [p for p in tiny_run.run.rglob("*") if p.is_file() and "journal" not in p.name]
        return {path: path.read_bytes() for path in kept}

    before = files()
    outcome = search(
        out=tiny_run.run, resume=True, meter=lambda *_, **__: pytest.fail("measured"), progress=SILENT
    )
    assert outcome == tiny_run.outcome
    assert files() == before


def test_only_a_run_with_these_budgets_is_resumed(tiny_run, tmp_path):
    with pytest.raises(InputError, match=r"that run has the budgets 0.5 0.08 0.01 ms; for others use --from"):
        search(out=tiny_run.run, resume=True, expected_budgets=[7.0], meter=deterministic_meter)
    with pytest.raises(InputError, match="no such run directory"):
        search(out=tmp_path / "nowhere", resume=True, meter=deterministic_meter)
    with pytest.raises(InputError, match=r"it has no study.toml"):
        search(out=tmp_path, resume=True, meter=deterministic_meter)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("what", ["the images", "the search space"])
def test_a_run_does_not_go_on_with_other_images_or_another_space(tiny_run, tmp_path, what):
    shutil.copytree(tiny_run.folder, tmp_path, dirs_exist_ok=True)
    study = tmp_path / "run" / "study.toml"
    study.write_text(study.read_text().replace(str(tiny_run.folder), str(tmp_path)))
    if what == "the images":
        next((tmp_path / "photos" / "train" / "one").iterdir()).unlink()
    else:
        space = tmp_path / "space.toml"
        space.write_text(space.read_text().replace("expand = [2]", "expand = [3]"))
    with pytest.raises(InputError, match=f"{what} .* changed since it began"):
        search(out=tmp_path / "run", resume=True, meter=deterministic_meter, progress=SILENT)


def test_a_run_does_not_go_on_where_latencies_are_others(tiny_run, tmp_path):
    shutil.copytree(tiny_run.run, tmp_path / "run")
    study = tmp_path / "run" / "study.toml"
    study.write_text(study.read_text().replace('target = "onnxruntime | ', 'target = "onnxruntime | 0.'))
    with pytest.raises(InputError, match="latencies do not compare"):
        search(out=tmp_path / "run", resume=True, meter=deterministic_meter, progress=SILENT)


@pytest.mark.parametrize(
    ("name", "damage", "message"),
    [
        ("supernet/checkpoint.safetensors", lambda b: b[:1000], "is damaged .*: delete it to train again"),
        ("latency/samples.jsonl", lambda b: b + b"{}\n", "is damaged .*: delete it"),
        ("latency/samples.jsonl", lambda b: b + b"\xff\xfe\n", "is damaged .*: delete it"),
        ("search.journal", lambda b: b.replace(b"op_code", b"op", 3), "is damaged .*: delete it"),
        ("search.journal", lambda b: b"x" + b, "is damaged .*: delete it"),
        ("finalists.json", lambda b: b[:-5], "is damaged .*: delete it"),
        ("finalists.json", lambda b: b"{}", "is damaged .*: delete it"),
        ("deploy/0.5ms/card.json", lambda b: b"[]", "is damaged .*: delete it"),
        ("stages.jsonl", lambda b: b"{}\n", "is damaged: delete it"),
        ("study.toml", lambda b: b[: len(b) // 2], "is damaged: it lacks settings|not a readable TOML file"),
        ("study.toml", lambda b: b"", "lacks schema_version"),
        ("study.toml", lambda b: b.replace(b"schema_version = 1", b"schema_version = 9"), "another version"),
    ],
)  # fmt: skip
def test_damage_is_named_with_the_way_out(tiny_run, tmp_path, name, damage, message):
    shutil.copytree(tiny_run.run, tmp_path / "run")
    path = tmp_path / "run" / name
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(InputError, match=message) as caught:
        search(out=tmp_path / "run", resume=True, meter=deterministic_meter, progress=SILENT)
    assert "\n" not in str(caught.value)


def test_lines_that_a_full_disk_cut_short_do_no_harm(tiny_run, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(tiny_run.run, run)
    for name in ("search.journal", "latency/samples.jsonl", "stages.jsonl"):
        with open(run / name, "ab") as file:
            file.write(b'{"half a li')
    for name in ("deploy/0.08ms", "report", "finalists.json"):
        path = run / name
        path.unlink() if path.is_file() else shutil.rmtree(path)
    for _ in range(2):
        search(out=run, resume=True, meter=deterministic_meter, progress=SILENT)
    whole, again = result(tiny_run.run), result(run)
    assert (again.trials, again.finalists, again.files) == (whole.trials, whole.finalists, whole.files)


def test_a_journal_that_a_killed_process_had_locked_is_free(tiny_run, tmp_path):
    """Optuna's own lock is a link that nobody removes then."""
    shutil.copytree(tiny_run.run, tmp_path / "run")
    (tmp_path / "run" / "search.journal.lock").symlink_to("search.journal")
    outcome = search(out=tmp_path / "run", resume=True, meter=deterministic_meter, progress=SILENT)
    assert outcome.results


# --- kill -9 ----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("killed")
    write_photos(folder)
    write_space(folder)
    return folder


@pytest.fixture(scope="module")
def whole(folder) -> tuple[Result, float]:
    """What an uninterrupted run comes to, and its seconds."""
    started = time.monotonic()
    assert start(folder).wait() == 0
    found = result(folder / "run")
    (folder / "run").rename(folder / "whole")
    return found, time.monotonic() - started


def start(folder: Path) -> subprocess.Popen:
    return subprocess.Popen([sys.executable, str(SCRIPT), str(folder)])


def killed(folder: Path, moment: Callable[[float], bool]) -> bool:
    """Kills the run when ``moment`` (of the seconds that it has run) is there; False if it ended before."""
    process, started = start(folder), time.monotonic()
    while process.poll() is None:
        if moment(time.monotonic() - started):
            process.kill()
            process.wait()
            return True
        time.sleep(0.001)
    assert process.returncode == 0
    return False


@pytest.fixture
def fresh(folder):
    yield folder
    shutil.rmtree(folder / "run")


@pytest.mark.slow
def test_killed_at_five_random_moments(whole, fresh):
    result_of_whole, seconds = whole
    rng = random.Random(0)
    # A resumed run begins anew with its imports, so every piece has to be long enough to get on.
    pieces = [rng.uniform(0.25, 0.6) * seconds for _ in range(RANDOM_KILLS)]
    kills = sum(killed(fresh, lambda ran, piece=piece: ran > piece) for piece in pieces)
    assert kills >= 2, "it ended before it could be killed: take shorter pieces"
    assert start(fresh).wait() == 0
    assert_same_run(fresh / "run", result_of_whole)


@pytest.mark.slow
@pytest.mark.parametrize(
    "fraction", [random.Random(1).uniform(i / 5, (i + 1) / 5) for i in range(RANDOM_KILLS)]
)
def test_killed_once_at_a_random_moment(whole, fresh, fraction):
    result_of_whole, seconds = whole
    killed(fresh, lambda ran: ran > fraction * seconds)
    assert start(fresh).wait() == 0
    assert_same_run(fresh / "run", result_of_whole)


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    [
        "study.toml", "latency/samples.jsonl", "latency/predictor.json", "supernet/checkpoint.safetensors",
        "supernet/log.json", "search.journal", "finalists.json", "training/*-dense.safetensors",
        "training/*-cuts.json", "training/*-pruned.safetensors", "deploy/0.5ms/model.fp32.onnx",
        "deploy/0.5ms/certificate.json", "deploy/0.5ms/card.json", "deploy/0.08ms/card.json", "report/records.json",
        "report/index.html",
    ],
)  # fmt: skip
def test_killed_as_soon_as_a_file_is_there(whole, fresh, name):
    run = fresh / "run"
    assert killed(fresh, lambda _: any(run.glob(name)))
    assert start(fresh).wait() == 0
    assert_same_run(run, whole[0])
    assert not [path for path in run.rglob("*.lock") if os.path.islink(path)]
