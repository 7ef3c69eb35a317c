import subprocess
import sys
from pathlib import Path

import pytest
import torch

from nassuite.checkpoints import FileCheckpoints
from nassuite.errors import Busy, InputError
from nassuite.records import SCHEMA_VERSION, read_toml, write_toml
from nassuite.run_directory import RunDirectory, read_record
from nassuite.settings import Settings
from nassuite.train.loop import Checkpoint

FACTS = {"command": "c", "started": "s", "data_digest": "d", "space_digest": "e", "target": "t"}


@pytest.fixture
def run(tmp_path) -> RunDirectory:
    run = RunDirectory(tmp_path / "run")
    run.create()
    run.write_settings(Settings(budget_ms=(2.0,)), FACTS)
    return run


def test_settings_and_facts_come_back(run):
    settings, facts = run.read_settings()
    assert settings == Settings(budget_ms=(2.0,))
    assert FACTS.items() <= facts.items()


def test_a_run_of_another_version_is_refused(run):
    table = read_toml(run.study)
    write_toml(run.study, table | {"schema_version": SCHEMA_VERSION + 1})
    with pytest.raises(
        InputError, match=f"another version of nassuite .schema {SCHEMA_VERSION + 1}, this one has"
    ):
        run.read_settings()


@pytest.mark.parametrize("lost", ["settings", "target", "started", "schema_version"])
def test_a_study_file_that_lacks_something_is_named(run, lost):
    table = read_toml(run.study)
    del table[lost]
    write_toml(run.study, table)
    with pytest.raises(InputError, match=f"study.toml is damaged: it lacks {lost}"):
        run.read_settings()


def test_a_new_run_takes_a_new_or_empty_folder(tmp_path):
    RunDirectory(tmp_path / "a" / "b").create()
    (tmp_path / "a" / "b" / ".lock").touch()  # of a command that was killed as it began
    RunDirectory(tmp_path / "a" / "b").create()
    assert [path.name for path in (tmp_path / "a" / "b").iterdir()] == [".lock"]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("full", "is not empty"),
        ("file", "that is a file"),
        ("file/below", "cannot write to .*file"),
        ("x" * 300, "File name too long"),
        ("/proc/nothing/here", "cannot create it|cannot write"),
    ],
)
def test_a_place_that_will_not_do_is_refused_and_left_alone(tmp_path, name, message):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "photo.jpg").touch()
    (tmp_path / "file").touch()
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(InputError, match=message):
        RunDirectory(tmp_path / name).create()
    assert sorted(tmp_path.rglob("*")) == before


def test_a_run_is_not_overwritten_but_resumed(run):
    with pytest.raises(InputError, match=f"is a search: go on with nassuite search --resume {run.root}, or"):
        run.create()


def test_a_second_process_is_refused_and_a_killed_one_holds_nothing(run):
    code = (
        "import sys, time; from pathlib import Path; from nassuite.run_directory import RunDirectory\n"
        "with RunDirectory(Path(sys.argv[1])).locked(): print('held', flush=True); time.sleep(60)"
    )
    command = [sys.executable, "-c", code, str(run.root)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        assert run.in_use()
        with pytest.raises(Busy, match="in use by another nassuite process"), run.locked():
            pass
        process.kill()
    assert not run.in_use()
    with run.locked():
        pass


def test_looking_at_a_run_that_never_began_makes_no_lock(tmp_path):
    assert not RunDirectory(tmp_path).in_use()
    assert list(tmp_path.iterdir()) == []


def test_a_stage_adds_up_over_its_attempts_and_is_done_once(run):
    with pytest.raises(RuntimeError), run.stage("search"):
        raise RuntimeError
    assert run.stages_done() == set()
    for _ in range(2):
        with run.stage("search"):
            pass
    assert run.stages_done() == {"search"}
    assert len(run.stages.read_text().splitlines()) == 2
    assert run.stage_seconds() == {"search": 0.0}


def test_checkpoints_come_back_with_their_values(tmp_path):
    checkpoints = FileCheckpoints(tmp_path / "deep" / "c.safetensors")
    assert checkpoints.load() is checkpoints.meta() is None
    tensors = {"a": torch.arange(6.0).view(2, 3).T, "b": torch.tensor(3)}
    checkpoints.save(Checkpoint(tensors, {"step": 4, "log": [{"loss": 0.5}]}))
    found = checkpoints.load()
    assert found is not None
    assert found.meta == checkpoints.meta() == {"step": 4, "log": [{"loss": 0.5}]}
    assert all(torch.equal(found.tensors[name], tensor) for name, tensor in tensors.items())


@pytest.mark.parametrize("keep", [0, 5, 40, -1])
def test_a_checkpoint_cut_short_is_named(tmp_path, keep):
    checkpoints = FileCheckpoints(tmp_path / "c.safetensors")
    checkpoints.save(Checkpoint({"a": torch.ones(100)}, {}))
    checkpoints.path.write_bytes(checkpoints.path.read_bytes()[:keep])
    with pytest.raises(InputError, match=r"c\.safetensors is damaged .*: delete it to train again"):
        checkpoints.load()


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", '"text"'])
def test_a_damaged_record_is_named(tmp_path: Path, content):
    (tmp_path / "card.json").write_text(content)
    with pytest.raises(InputError, match=r"card\.json is damaged .*: delete it"):
        read_record(tmp_path / "card.json", "variants")
