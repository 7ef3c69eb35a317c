"""nassuite train: what it writes, that it goes on where it stopped, and what it refuses."""

import dataclasses
import json

import numpy as np
import pytest
import torch

from nassuite import classifying
from nassuite.classifying import for_training
from nassuite.cli import main
from nassuite.data import DataConfig, load_data
from nassuite.errors import InputError
from nassuite.models import load_model, read_description
from nassuite.onnx_export import run_onnx
from nassuite.train_settings import TrainSettings
from nassuite.training import train_model
from nassuite.zoo.create import for_images

SMALL = TrainSettings(
    model="mobilenet_v2(width_mult=0.1)",
    data="digits",
    size=16,
    train_images=96,
    epochs=2,
    batch_size=32,
    seed=3,
)


def weights(folder):
    return load_model(folder).state_dict()


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    return train_model(SMALL, out=tmp_path_factory.mktemp("training") / "run")


def test_the_file_the_weights_and_the_result_agree(trained):
    data = load_data(DataConfig("digits", size=16, seed=3, train_images=96))
    images = torch.cat([x for x, _ in data.test.batches(512, channels_last=False)])
    logits = run_onnx(trained.folder / "model.onnx", images.numpy())
    model = load_model(trained.folder)
    with torch.no_grad():
        np.testing.assert_allclose(model(images).numpy(), logits, rtol=1e-3, atol=1e-4)
    assert trained.test["n"] == len(images)
    assert trained.test["correct"] == (logits.argmax(1) == data.test.labels.numpy()).sum()
    assert sum(map(sum, trained.test["confusion"])) == len(images)
    assert (trained.folder / "labels.txt").read_text().split() == list(data.labels)
    assert read_description(trained.folder).model == "mobilenet_v2(width_mult=0.1, stem_stride=1)"
    log = json.loads((trained.folder / "log.json").read_text())
    assert [entry["epoch"] for entry in log] == [1, 2]
    assert trained.val == log[-1]["val"]


def test_a_training_that_was_stopped_ends_the_same(trained, tmp_path, monkeypatch):
    class Stop(Exception):
        pass

    original = classifying.score
    monkeypatch.setattr(classifying, "score", lambda *a, **k: (_ for _ in ()).throw(Stop()))
    with pytest.raises(Stop):
        train_model(SMALL, out=tmp_path / "run")
    monkeypatch.setattr(classifying, "score", original)
    again = train_model(None, out=tmp_path / "run", resume=True)
    mine, theirs = weights(again.folder), weights(trained.folder)
    assert all(torch.equal(mine[name], theirs[name]) for name in theirs)
    assert again.test == trained.test


def test_a_finished_training_is_read_and_not_repeated(trained, monkeypatch):
    monkeypatch.setattr(classifying, "train_network", None)
    assert train_model(None, out=trained.folder, resume=True).test == trained.test


def test_every_recipe_runs_and_differs(trained, tmp_path):
    base = dataclasses.replace(SMALL, model="small_networks:plain", epochs=1, train_images=64)
    recipes = {
        "adamw": {"optimizer": "adamw", "schedule": "plateau"},
        "rmsprop": {"optimizer": "rmsprop", "schedule": "cyclic"},
        "mixed": {"mixup": 0.2, "cutmix": 1.0},
        "averaged": {"ema": 0.9, "zero_gamma": "off"},
        "taught": {"teacher": str(trained.folder)},
    }
    found = {}
    for name, recipe in recipes.items():
        result = train_model(dataclasses.replace(base, **recipe), out=tmp_path / name)
        found[name] = weights(result.folder)["network.classifier.weight"]
        assert torch.isfinite(found[name]).all()
    names = list(found)
    assert not any(torch.equal(found[a], found[b]) for a in names for b in names if a < b)


def test_initial_weights_are_those_of_the_other_training(trained, tmp_path, monkeypatch):
    seen = {}

    def nothing(network, split, config, **_):
        seen.update({k: v.clone() for k, v in network.state_dict().items()})
        return [{"epoch": 1, "loss": 0.0, "val": 0.0, "seconds": 0.0}]

    monkeypatch.setattr(classifying, "train_network", nothing)
    train_model(dataclasses.replace(SMALL, seed=9, init=str(trained.folder)), out=tmp_path / "run")
    theirs = weights(trained.folder)
    loaded = [name for name in theirs if name.startswith("network.") and not name.endswith("tracked")]
    assert all(torch.equal(seen[name], theirs[name]) for name in loaded)


def test_small_images_get_the_small_stem():
    assert for_images("mobilenet_v2", 32) == "mobilenet_v2(stem_stride=1)"
    assert for_images("mbv2(width_mult=0.5)", 48) == "mobilenet_v2(width_mult=0.5, stem_stride=1)"
    for unchanged in ("mobilenet_v2(stem_stride=2)", "resnet20_cifar", "timm:resnet18"):
        assert for_images(unchanged, 32) == unchanged
    assert for_images("mobilenet_v2", 96) == "mobilenet_v2"


def test_groups_are_learned_unless_the_user_says_otherwise():
    assert for_training("condensenet86_cifar") == "condensenet86_cifar(converted=False)"
    assert for_training("condensenet74(groups=8)") == "condensenet74(groups=8, converted=False)"
    for name in ("condensenet86_cifar(converted=True)", "mobilenet_v2(width_mult=0.5)", "package:factory"):
        assert for_training(name) == name


@pytest.mark.slow
def test_learned_groups_are_saved_in_the_form_that_runs(tmp_path):
    settings = dataclasses.replace(SMALL, model="condensenet86_cifar(groups=8)", train_images=64)
    trained = train_model(settings, out=tmp_path / "run")
    assert trained.settings.model == "condensenet86_cifar(groups=8, converted=False)"
    assert read_description(trained.folder).model == "condensenet86_cifar(groups=8)"
    model = load_model(trained.folder)
    assert sum(p.numel() for p in model.parameters()) == trained.params < 1_000_000
    images = torch.rand(4, 1, 16, 16, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        expected = model(images).numpy()
    np.testing.assert_allclose(run_onnx(trained.folder / "model.onnx", images.numpy()), expected, atol=1e-3)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model": "mobilenet_v7"}, "did you mean"),
        ({"model": "nowhere.at.all:thing"}, "cannot be imported"),
        ({"model": "timm:resnet18"}, "timm"),
        ({"model": "espnet"}, "segmentation"),
        ({"init": "/nowhere.pt"}, "no such file"),
        ({"teacher": "/nowhere"}, "holds no model"),
    ],
)
def test_what_is_refused_leaves_nothing_behind(tmp_path, change, message):
    with pytest.raises(InputError, match=message):
        train_model(dataclasses.replace(SMALL, **change), out=tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("epochs", 0), ("batch_size", 1), ("optimizer", "adam"), ("schedule", "step"), ("mixup", -1.0), ("ema", 1.0),
        ("label_smoothing", 1.0), ("lr", 0.0), ("lr", float("nan")), ("seed", -1), ("warmup", 1.5), ("ema", float("nan")),
    ],
)  # fmt: skip
def test_settings_that_make_no_sense(field, value):
    with pytest.raises(InputError, match=field.replace("_", "-")):
        dataclasses.replace(SMALL, **{field: value})


def test_from_the_command_line(tmp_path, capsys):
    out = str(tmp_path / "run")
    command = ["train", "lenet5(stem_stride=2)", "--data", "digits", "--train-images", "64", "--epochs", "1"]
    assert main([*command, "--batch-size", "32", "--out", out]) == 2  # lenet5 has no such option
    assert "no option 'stem_stride'" in capsys.readouterr().err
    command[1] = "lenet5"
    assert main([*command, "--batch-size", "32", "--out", out]) == 0
    assert "lenet5: test" in capsys.readouterr().out
    assert main([*command, "--out", out]) == 2
    assert f"--out {out} is a finished training: give another folder" in capsys.readouterr().err
    assert main(["train", "--resume", out]) == 0
    assert main(["train", "--resume", out, "--epochs", "3"]) == 2
    assert main(["train", "--resume", str(tmp_path)]) == 2
    assert main(["train"]) == 2
    assert "no network" in capsys.readouterr().err
