"""nassuite prune: targets met as measured, the result reloaded bit for bit, refusals."""

import dataclasses
import json

import pytest
import torch
from deterministic_meter import deterministic_meter

from nassuite.cli import main
from nassuite.compress.verify import mask_equivalence
from nassuite.errors import InputError
from nassuite.models import load_model
from nassuite.onnx_export import run_onnx
from nassuite.prune_settings import PruneSettings
from nassuite.pruning import prune_model
from nassuite.train_settings import TrainSettings
from nassuite.training import train_model

TRAINING = TrainSettings(
    model="resnet20_cifar", data="digits", size=16, train_images=128, epochs=1, batch_size=32
)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    return train_model(TRAINING, out=tmp_path_factory.mktemp("trained") / "run").folder


def settings_for(folder, **target):
    return PruneSettings(model=str(folder), finetune_epochs=0, align=8, **target)


@pytest.mark.parametrize(
    "target", [{"speedup": 1.3}, {"target_macs": 0.5}, {"target_params": 0.6}, {"ratio": 0.25}], ids=str
)
def test_targets_are_met_and_the_cut_is_exact(trained, tmp_path, target):
    found = prune_model(settings_for(trained, **target), out=tmp_path / "out", meter=deterministic_meter)
    dense, pruned = found.rows
    assert found.met
    if "speedup" in target:
        assert 1 / pruned.ratio >= 1.3
    elif "target_macs" in target:
        assert 0.2 < pruned.macs / dense.macs <= 0.5
    elif "target_params" in target:
        assert pruned.params / dense.params <= 0.6
    else:
        assert pruned.macs < dense.macs
    images = torch.rand(4, 1, 16, 16, generator=torch.Generator().manual_seed(0))
    smaller = load_model(tmp_path / "out")
    assert mask_equivalence(load_model(trained), smaller, found.record.history, images) <= 1e-4
    with torch.no_grad():
        logits = smaller(images).numpy()
    assert abs(run_onnx(tmp_path / "out" / "model.onnx", images.numpy()) - logits).max() < 1e-3
    written = json.loads((tmp_path / "out" / "pruning.json").read_text())
    assert written["models"][1]["macs"] == pruned.macs
    assert all(layer["reason"] for layer in written["kept"])


def test_a_latency_is_certified(trained, tmp_path):
    loose = prune_model(settings_for(trained, ratio=0.1), out=tmp_path / "loose", meter=deterministic_meter)
    wanted = loose.rows[0].p50_ms * 0.85
    found = prune_model(
        settings_for(trained, target_ms=wanted), out=tmp_path / "out", meter=deterministic_meter
    )
    assert found.certificate is not None
    assert found.met == (found.certificate.verdict == "pass")
    assert found.rows[1].p50_ms <= wanted
    assert (tmp_path / "out" / "certificate.json").is_file()


def test_distillation_moves_the_weights_and_a_pruned_model_is_pruned_no_further_by_accident(
    trained, tmp_path
):
    settings = dataclasses.replace(settings_for(trained, ratio=0.25), finetune_epochs=1, batch_size=32)
    found = prune_model(settings, out=tmp_path / "out", meter=deterministic_meter)
    again = load_model(tmp_path / "out").state_dict()
    plain = prune_model(settings_for(trained, ratio=0.25), out=tmp_path / "plain", meter=deterministic_meter)
    untouched = load_model(plain.folder).state_dict()
    assert {k: v.shape for k, v in again.items()} == {k: v.shape for k, v in untouched.items()}
    assert any(not torch.equal(again[name], untouched[name]) for name in again)
    assert found.record.history == plain.record.history


def test_no_ratio_is_enough(trained, tmp_path):
    with pytest.raises(InputError, match="no pruning reaches target-ms"):
        prune_model(settings_for(trained, target_ms=1e-6), out=tmp_path / "out", meter=deterministic_meter)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "give one target"),
        (["--speedup", "2", "--ratio", "0.5"], "give one target"),
        (["--speedup", "0.9"], "--speedup 0.9"),
        (["--ratio", "1"], "--ratio 1"),
        (["--target-ms", "nan"], "--target-ms nan"),
        (["--ratio", "0.5", "--align", "0"], "--align 0"),
        (["--ratio", "0.5", "--data", "folder:/nowhere"], "/nowhere"),
    ],
)
def test_refused_in_one_line(trained, tmp_path, arguments, message, capsys):
    assert main(["prune", str(trained), *arguments, "--out", str(tmp_path / "out")]) == 2
    err = capsys.readouterr().err.strip()
    assert message in err
    assert not (tmp_path / "out").exists()
    assert main(["prune", str(tmp_path), "--ratio", "0.5", "--out", str(tmp_path / "out")]) == 2
