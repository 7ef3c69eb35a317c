"""A run on several machines: its supernet by torchrun, its search through a database that others join."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import postgres
import pytest
from deterministic_meter import deterministic_meter
from tiny_runs import (
    LOOSE_MS,
    InterruptingProgress,
    Interruption,
    ListeningProgress,
    settings,
    stages_done,
    trials,
    write_photos,
    write_space,
)  # fmt: skip

from nassuite import exploring
from nassuite.cli import main
from nassuite.errors import InputError
from nassuite.joining import join
from nassuite.progress import SILENT
from nassuite.records import read_json
from nassuite.run_directory import STAGES
from nassuite.storage_url import STORAGE_VARIABLE
from nassuite.study import search

TRIALS, FIRST = 14, 5

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("many")
    write_photos(folder)
    write_space(folder)
    return folder


@pytest.fixture(scope="module")
def database():
    if reason := postgres.lacking():
        pytest.skip(reason)
    with postgres.server() as url:
        yield url


@pytest.fixture(scope="module")
def stopped(folder, database):
    """A run that was stopped after some trials of its search."""
    with pytest.raises(Interruption):
        search(
            settings(folder, LOOSE_MS, storage=postgres.with_secret(database)),
            out=folder / "run", meter=deterministic_meter, progress=InterruptingProgress({"search": FIRST}),
            command=["nassuite", "search", f"--storage={postgres.with_secret(database)}"],
        )  # fmt: skip
    return folder / "run"


@pytest.fixture
def secret(database, monkeypatch):
    monkeypatch.setenv(STORAGE_VARIABLE, postgres.with_secret(database))


@pytest.fixture
def copy(stopped, tmp_path):
    return shutil.copytree(stopped, tmp_path / "copied")


@pytest.mark.usefixtures("secret")
class TestRefused:
    def test_another_checkpoint(self, copy):
        path = copy / "supernet" / "checkpoint.safetensors"
        content = bytearray(path.read_bytes())
        content[-1] ^= 1
        path.write_bytes(content)
        with pytest.raises(
            InputError, match=r"the study run-\w{8} in .* is of another supernet \w{12} there, \w{12} here$"
        ):
            join(copy, progress=SILENT)

    def test_another_version(self, copy, monkeypatch):
        monkeypatch.setattr(exploring, "__version__", "9.9")
        with pytest.raises(InputError, match=r"is of another nassuite [\d.]+ there, 9.9 here"):
            join(copy, progress=SILENT)

    def test_other_images(self, copy, folder, tmp_path):
        photos = shutil.copytree(folder / "photos", tmp_path / "photos")
        next((photos / "train").rglob("*.png")).unlink()
        with pytest.raises(InputError, match=r"is of another data \w+ there, \w+ here"):
            join(copy, data=f"folder:{photos}", progress=SILENT)

    def test_a_run_without_storage_or_not_searching_yet(self, copy, capsys):
        (copy / "stages.jsonl").unlink()
        assert main(["worker", str(copy)]) == 2
        assert capsys.readouterr().err == (
            f"nassuite: {copy} is not searching yet: its latencies or its supernet are still to come\n"
        )
        toml = (copy / "study.toml").read_text()
        (copy / "study.toml").write_text(
            "\n".join(line for line in toml.splitlines() if not line.startswith("storage"))
        )
        assert main(["worker", str(copy)]) == 2
        assert "more machines need a search that began with --storage" in capsys.readouterr().err

    def test_what_status_says(self, copy, database, capsys, monkeypatch):
        assert main(["status", str(copy)]) == 0
        assert f"{FIRST} of {TRIALS} architectures, in {database}" in capsys.readouterr().out
        monkeypatch.setenv(STORAGE_VARIABLE, "")
        assert main(["status", str(copy)]) == 0
        assert "how many of them are done is not known: --storage" in capsys.readouterr().out

    def test_a_storage_that_is_not_there(self, copy, capsys):
        where = f"postgresql://nas@127.0.0.1:{postgres.free_port()}/postgres"
        assert main(["worker", str(copy), "--storage", where]) == 2
        told = capsys.readouterr().err
        assert told.startswith(f"nassuite: --storage {where} cannot be used: ")
        assert told.count("\n") == 1


def test_a_worker_does_the_rest_and_the_run_goes_on_without_the_database(
    stopped, database, secret, folder, monkeypatch
):
    joined = join(stopped, progress=SILENT)
    assert (joined.own, joined.done) == (TRIALS - FIRST, TRIALS)
    again = join(stopped, progress=SILENT)
    assert (again.own, again.done) == (0, TRIALS)
    progress = ListeningProgress()
    outcome = search(out=stopped, resume=True, meter=deterministic_meter, progress=progress)
    assert any(f"join with: nassuite worker {stopped}" in line for line in progress.said)
    assert stages_done(stopped) == list(STAGES)
    assert outcome.ok
    done = trials(stopped)
    assert len({str(genes) for genes, _ in done}) == len(done) >= TRIALS
    # All that comes later reads the copy in the run's folder.
    monkeypatch.setenv(STORAGE_VARIABLE, "")
    assert search(out=stopped, resume=True, meter=deterministic_meter, progress=SILENT) == outcome
    secret_words = [postgres.PASSWORD, postgres.with_secret(database).split(":")[2].split("@")[0]]
    for path in stopped.rglob("*"):
        if path.is_file():
            assert not any(word.encode() in path.read_bytes() for word in secret_words), path
    assert read_json(stopped / "report" / "records.json")["run"]["settings"]["storage"] == database


def test_torchrun_trains_the_supernet_that_a_search_goes_on_with(folder, tmp_path):
    run = tmp_path / "run"
    flags = [
        f"--data=folder:{folder / 'photos'}", f"--space={folder / 'space.toml'}", "--batch-size=32", "--calibration=24",
        "--trials=4", "--finetune-epochs=1", "--prune-epochs=0", f"--budget-ms={LOOSE_MS}",
    ]  # fmt: skip

    def torchrun(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
        return subprocess.run(
            [*command, "-m", "nassuite", "train-supernet", *arguments],
            capture_output=True, text=True, check=False, timeout=600,
            env={**os.environ, "GLOO_SOCKET_IFNAME": "lo", "OMP_NUM_THREADS": "1"},
        )  # fmt: skip

    trained = torchrun(*flags, "--epochs=2", "--out", str(run))
    assert trained.returncode == 0, trained.stderr
    assert (
        trained.stdout
        == f"the supernet of {run} is trained; search it with: nassuite search --resume {run}\n"
    )
    assert stages_done(run) == ["supernet"]
    log = read_json(run / "supernet" / "log.json")
    assert [set(entry) for entry in log] == [{"epoch", "loss", "val_largest", "val_smallest", "seconds"}] * 2
    before = (run / "supernet" / "checkpoint.safetensors").read_bytes()
    assert torchrun("--resume", str(run)).returncode == 0
    assert search(out=run, resume=True, meter=deterministic_meter, progress=SILENT).ok
    assert (run / "supernet" / "checkpoint.safetensors").read_bytes() == before

    refused = torchrun(*flags, "--epochs=2", "--out", str(run))
    assert refused.returncode != 0
    lines = [line for line in refused.stderr.splitlines() if line.startswith("nassuite: ")]
    assert lines == [f"nassuite: --out {run} is a finished search: give another folder"]
    assert not Path(tmp_path / "other").exists()
    refused = torchrun(*flags, "--batch-size=3", "--epochs=1", "--out", str(tmp_path / "other"))
    assert "--batch-size 3 for 2 processes leaves some of them less than 2 images" in refused.stderr
    assert not Path(tmp_path / "other").exists()
