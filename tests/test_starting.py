"""``--init``: a supernet that begins with another run's weights."""

import shutil

import pytest
import torch
from deterministic_meter import deterministic_meter
from tiny_runs import CLASSES, LOOSE_MS, TIGHT_MS, InterruptingProgress, Interruption, settings

from nassuite.checkpoints import FileCheckpoints
from nassuite.cli import main
from nassuite.errors import InputError
from nassuite.flow import Flow, prepare
from nassuite.progress import SILENT
from nassuite.run_directory import RunDirectory
from nassuite.starting import CLASSIFIER, start_from
from nassuite.study import search
from nassuite.supernet_training import train_supernet_of_run


def flow_of(tiny_run, folder, **changes) -> Flow:
    wanted = settings(tiny_run.folder, TIGHT_MS, **changes)
    return prepare(RunDirectory(folder / "run"), wanted, progress=SILENT, meter=deterministic_meter)


def trained(run) -> dict[str, torch.Tensor]:
    return FileCheckpoints(RunDirectory(run).supernet).load().tensors


def three_classes(tiny_run, folder) -> str:
    (folder / "photos" / "train").mkdir(parents=True)
    for name in CLASSES[:3]:
        (folder / "photos" / "train" / name).symlink_to(tiny_run.folder / "photos" / "train" / name)
    return f"folder:{folder / 'photos'}"


def space_with(tiny_run, folder, old: str, new: str) -> str:
    text = (tiny_run.folder / "space.toml").read_text()
    assert old in text
    (folder / "other.toml").write_text(text.replace(old, new))
    return str(folder / "other.toml")


def test_all_weights_but_the_classifier_are_the_other_runs(tiny_run, tmp_path):
    """Other classes, and images of another size."""
    space = space_with(tiny_run, tmp_path, "resolution = [16]", "resolution = [24]")
    flow = flow_of(tiny_run, tmp_path, data=three_classes(tiny_run, tmp_path), space=space)
    start_from(flow, RunDirectory(tiny_run.run))
    theirs = trained(tiny_run.run)
    for name, parameter in flow.supernet.named_parameters():
        if name.startswith(CLASSIFIER):
            assert parameter.shape[0] == 3
            assert theirs[f"model.{name}"].shape[0] == 4
        else:
            assert torch.equal(parameter, theirs[f"model.{name}"])
    assert torch.equal(flow.supernet.normalise.mean.flatten(), torch.tensor(flow.data.mean))


def test_the_classifier_is_kept_where_the_classes_are_the_same(tiny_run, tmp_path):
    flow = flow_of(tiny_run, tmp_path, train_images=60)
    start_from(flow, RunDirectory(tiny_run.run))
    theirs = trained(tiny_run.run)
    assert all(torch.equal(p, theirs[f"model.{name}"]) for name, p in flow.supernet.named_parameters())


@pytest.mark.parametrize(
    ("old", "new"),
    [("width = [32]", "width = [40]"), ("expand = [2, 3]", "expand = [2]"), ('"ghost"]', '"dwcb"]')],
)
def test_weights_of_another_space_are_refused(tiny_run, tmp_path, old, new):
    wanted = settings(tiny_run.folder, TIGHT_MS, space=space_with(tiny_run, tmp_path, old, new))
    with pytest.raises(
        InputError, match=r"--init .*: its space \(.*\) is not this run's \(other\)"
    ) as caught:
        search(wanted, out=tmp_path / "run", init=tiny_run.run, meter=deterministic_meter, progress=SILENT)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "run").exists()


def test_what_cannot_be_started_from_is_refused_before_anything_is_written(tiny_run, tmp_path):
    def refused(init, **more) -> str:
        with pytest.raises(InputError) as caught:
            search(
                settings(tiny_run.folder, TIGHT_MS), out=tmp_path / "run", init=init,
                meter=deterministic_meter, progress=SILENT, **more,
            )  # fmt: skip
        assert not (tmp_path / "run").exists()
        return str(caught.value)

    assert "no such run directory" in refused(tmp_path / "nowhere")
    assert "give one" in refused(tiny_run.run, reuse=tiny_run.run)
    (tmp_path / "begun").mkdir()
    shutil.copy(tiny_run.run / "study.toml", tmp_path / "begun")
    assert "its supernet is not trained yet" in refused(tmp_path / "begun")
    shutil.copytree(tiny_run.run / "supernet", tmp_path / "begun" / "supernet")
    shutil.copy(tiny_run.run / "stages.jsonl", tmp_path / "begun")
    checkpoints = FileCheckpoints(RunDirectory(tmp_path / "begun").supernet)
    found = checkpoints.load()
    found.tensors["model.slots.stem.conv.weight"] = found.tensors["model.slots.stem.conv.weight"][:, :1]
    checkpoints.save(found)
    assert "its images have 1 channel(s), these 3" in refused(tmp_path / "begun")


def test_a_run_remembers_what_it_started_from(tiny_run, tmp_path):
    """And goes on without it."""
    other = tmp_path / "other"
    shutil.copytree(tiny_run.run, other)
    run = RunDirectory(tmp_path / "run")
    wanted = settings(tiny_run.folder, LOOSE_MS)

    def interrupted(**how) -> None:
        with pytest.raises(Interruption):
            search(
                out=run.root, meter=deterministic_meter, progress=InterruptingProgress({"supernet": 1}), **how
            )

    interrupted(settings=wanted, init=other)
    assert run.read_settings()[1]["initial"] == str(other)
    assert not run.supernet.exists()
    started = run.initial_supernet.read_bytes()
    shutil.rmtree(other)
    interrupted(resume=True)
    assert run.initial_supernet.read_bytes() == started


def test_a_supernet_alone_starts_from_another_too(tiny_run, tmp_path):
    """And goes on from those weights after an interruption, without that run."""
    other = shutil.copytree(tiny_run.run, tmp_path / "other")
    run = RunDirectory(tmp_path / "run")
    wanted = settings(tiny_run.folder, LOOSE_MS, epochs=1)
    with pytest.raises(Interruption):
        train_supernet_of_run(
            wanted, out=run.root, init=other, progress=InterruptingProgress({"supernet": 1})
        )
    assert run.read_settings()[1]["initial"] == str(other)
    started = FileCheckpoints(run.initial_supernet).load().tensors
    assert torch.equal(
        started["model.slots.stem.conv.weight"], trained(other)["model.slots.stem.conv.weight"]
    )
    shutil.rmtree(other)
    train_supernet_of_run(None, out=run.root, resume=True, progress=SILENT)
    whole = tmp_path / "whole"
    train_supernet_of_run(wanted, out=whole, init=tiny_run.run, progress=SILENT)
    assert all(torch.equal(tensor, trained(whole)[name]) for name, tensor in trained(run.root).items())


def test_what_a_supernet_alone_cannot_start_from_is_refused(tiny_run, tmp_path, capsys):
    flags = [f"--data=folder:{tiny_run.folder / 'photos'}", f"--space={tiny_run.folder / 'space.toml'}"]
    out = tmp_path / "run"
    assert main(["train-supernet", *flags, "--init", str(tmp_path / "nowhere"), "--out", str(out)]) == 2
    assert "nowhere: no such run directory" in capsys.readouterr().err
    assert not out.exists()
    assert main(["train-supernet", "--resume", str(tiny_run.run), "--init", str(tiny_run.run)]) == 2
    assert "--resume goes on with the run's own settings: leave out --init" in capsys.readouterr().err
