"""nassuite distill: the training of nassuite train with a teacher, its comparison, resume, refusals."""

import dataclasses
import json

import pytest
import torch
from safetensors.torch import save_file

from nassuite import classifying
from nassuite.cli import main
from nassuite.distilling import distill
from nassuite.errors import InputError
from nassuite.models import load_model, read_description
from nassuite.progress import Progress
from nassuite.train_settings import TrainSettings
from nassuite.training import train_model
from nassuite.zoo import create_model

SMALL = {"data": "digits", "size": 16, "train_images": 96, "batch_size": 32, "seed": 3, "device": "cpu"}
STUDENT = "small_networks:plain"


@pytest.fixture(autouse=True, scope="module")
def _one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def teacher(tmp_path_factory):
    settings = TrainSettings(model="resnet20_cifar", epochs=2, **SMALL)
    return train_model(settings, out=tmp_path_factory.mktemp("teacher") / "run").folder


@pytest.fixture(scope="module")
def compared(teacher, tmp_path_factory):
    out = tmp_path_factory.mktemp("distilled") / "run"
    return distill(STUDENT, teacher=teacher, out=out, compare=True, epochs=2, **SMALL)


def weights(folder):
    return load_model(folder).state_dict()


def same(a, b):
    return all(torch.equal(a[name], b[name]) for name in a)


def test_the_comparison_is_the_training_without_a_teacher(compared, tmp_path):
    plain = TrainSettings(model=STUDENT, epochs=2, keep="best", **SMALL)
    alone = train_model(plain, out=tmp_path / "alone")
    assert compared.alone is not None
    assert same(weights(alone.folder), weights(compared.alone.folder))
    assert not same(weights(alone.folder), weights(compared.student.folder))
    assert compared.gain == pytest.approx(100 * (compared.student.test["accuracy"] - alone.test["accuracy"]))
    record = json.loads((compared.student.folder / "distill.json").read_text())
    assert record["gain_points"] == pytest.approx(compared.gain)
    assert set(record["students"]) == {"with the teacher", "alone"}
    assert record["teacher"]["params"] > record["students"]["alone"]["params"]
    text = (compared.student.folder / "distill.md").read_text()
    assert f"{compared.gain:+.2f} points on test" in text
    assert "temperature 2, weight 0.5 (falling)" in text


@pytest.mark.parametrize("loss", ["dkd", "dist"])
@pytest.mark.parametrize("cache_teacher", ["on", "off"])
def test_every_loss_teaches_something_else(compared, teacher, tmp_path, loss, cache_teacher):
    flags = {**SMALL, "epochs": 1, "loss": loss, "cache_teacher": cache_teacher}
    found = distill(STUDENT, teacher=teacher, out=tmp_path / "out", **flags)
    assert all(torch.isfinite(tensor).all() for tensor in weights(found.student.folder).values())
    other = distill(STUDENT, teacher=teacher, out=tmp_path / "soft", **{**flags, "loss": "soft"})
    assert not same(weights(found.student.folder), weights(other.student.folder))
    assert found.student.settings.temperature == 4
    assert found.gain is None


def test_a_teacher_by_name_is_that_of_the_folder_whose_weights_it_has(teacher, tmp_path, capsys):
    flags = {**SMALL, "train_images": 256, "epochs": 1}
    known = train_model(TrainSettings(model=STUDENT, **{**flags, "epochs": 6}), out=tmp_path / "known").folder
    by_folder = distill(STUDENT, teacher=known, out=tmp_path / "by folder", **flags)
    named = {"teacher": STUDENT, "teacher_weights": str(known / "model.safetensors")}
    by_name = distill(STUDENT, **named, out=tmp_path / "by name", progress=Progress(), **flags)
    assert same(weights(by_name.student.folder), weights(by_folder.student.folder))
    assert "the teacher small_networks:plain is right about" in capsys.readouterr().err


def test_a_teacher_that_knows_no_more_than_chance_is_refused(tmp_path):
    fresh = tmp_path / "fresh.safetensors"
    save_file(create_model("resnet20_cifar", num_classes=10, in_chans=1).state_dict(), fresh)
    with pytest.raises(InputError, match="as chance would be: are the classes"):
        distill(STUDENT, teacher="resnet20_cifar", teacher_weights=str(fresh), out=tmp_path / "out", **SMALL)
    assert not (tmp_path / "out").exists()


def test_the_best_epoch_is_kept(teacher, tmp_path, monkeypatch):
    accuracies, states = iter([0.2, 0.9, 0.9, 0.1]), []
    original = classifying.predict

    def watched(model, batches):
        states.append({name: tensor.clone() for name, tensor in model.state_dict().items()})
        return original(model, batches)

    monkeypatch.setattr(classifying, "predict", watched)
    true_score = classifying.score
    monkeypatch.setattr(classifying, "score", lambda *a, **k: next(accuracies, None) or true_score(*a, **k))
    flags = {**SMALL, "train_images": 64}
    found = distill(STUDENT, teacher=teacher, out=tmp_path / "out", epochs=4, **flags)
    assert found.student.val == 0.9
    assert same(weights(found.student.folder), states[1])
    record = json.loads((tmp_path / "out" / "distill.json").read_text())
    assert record["students"]["with the teacher"]["best_epoch"] == 2


class Stop(Exception):
    pass


@pytest.mark.parametrize("stop_at", [1, 4])
def test_a_distillation_that_was_stopped_ends_the_same(compared, teacher, tmp_path, monkeypatch, stop_at):
    """In the student's first epoch, and in the comparison's."""
    calls, true_score = [], classifying.score

    def stopping(*arguments, **more):
        calls.append(1)
        if len(calls) == stop_at:  # two epochs, the test, two epochs
            raise Stop
        return true_score(*arguments, **more)

    out = tmp_path / "run"
    monkeypatch.setattr(classifying, "score", stopping)
    with pytest.raises(Stop):
        distill(STUDENT, teacher=teacher, out=out, compare=True, epochs=2, **SMALL)
    monkeypatch.setattr(classifying, "score", true_score)
    assert main(["distill", "--resume", str(out)]) == 0
    assert same(weights(out), weights(compared.student.folder))
    assert same(weights(out / "alone"), weights(compared.student.folder / "alone"))


def test_a_trained_student_starts_from_its_weights(compared, teacher, tmp_path, monkeypatch):
    seen = {}

    def nothing(network, split, config, **_):
        seen.update({name: tensor.clone() for name, tensor in network.state_dict().items()})
        return [{"epoch": 1, "loss": 0.0, "val": 0.0, "seconds": 0.0}]

    monkeypatch.setattr(classifying, "train_network", nothing)
    flags = {name: value for name, value in SMALL.items() if name != "size"}
    student = compared.student.folder
    found = distill(student, teacher=teacher, out=tmp_path / "out", epochs=1, **flags)
    assert same(seen, weights(student))
    description = read_description(found.student.folder)
    assert description == dataclasses.replace(read_description(student))


def test_refused_in_one_line(compared, teacher, tmp_path, capsys):
    student = str(compared.student.folder)
    cases = [
        ([STUDENT], "give a STUDENT and --teacher"),
        ([STUDENT, "--teacher", "/nowhere"], "holds no model"),
        ([STUDENT, "--teacher", str(teacher), "--temperature", "0"], "--temperature 0"),
        ([STUDENT, "--teacher", str(teacher), "--teacher-weight", "2"], "--teacher-weight 2"),
        ([STUDENT, "--teacher", str(teacher), "--loss", "dkd", "--data", "folder:/nowhere"], "/nowhere"),
        (["mobilenet_v7", "--teacher", str(teacher)], "did you mean"),
        ([STUDENT, "--teacher", "resnet20_cifar"], "give --teacher-weights"),
        ([STUDENT, "--teacher", str(teacher), "--teacher-weights", "x.pth"], "has its own"),
        ([STUDENT, "--teacher", "resnet20_cifar", "--teacher-weights", "/nowhere.pth"], "/nowhere.pth"),
        ([STUDENT, "--teacher", "espnetv2_seg", "--teacher-weights", "/nowhere.pth"], "takes classifiers"),
        ([student, "--teacher", str(teacher), "--init", student], "has weights already"),
    ]
    for words, message in cases:
        assert main(["distill", *words, "--out", str(tmp_path / "out")]) == 2
        said = capsys.readouterr().err.strip()
        assert message in said
        assert not (tmp_path / "out").exists()
    assert main(["distill", "--resume", student, "--epochs", "3"]) == 2
    assert "--epochs" in capsys.readouterr().err
    assert main(["distill", "--resume", str(teacher)]) == 2
    assert "without a teacher" in capsys.readouterr().err
    with pytest.raises(InputError, match="takes a student and a teacher"):
        distill(STUDENT, out=tmp_path / "out")
