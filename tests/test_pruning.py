"""nassuite prune: targets met as measured, the result reloaded bit for bit, interruptions, refusals."""

import dataclasses
import json
import re

import pytest
import torch
from deterministic_meter import deterministic_meter
from tiny_runs import InterruptingProgress, Interruption, ListeningProgress

from nassuite.cli import main
from nassuite.compress.verify import mask_equivalence
from nassuite.errors import Busy, InputError
from nassuite.models import load_model
from nassuite.onnx_export import run_onnx
from nassuite.prune_settings import PruneSettings
from nassuite.pruning import epochs_after, prune_model
from nassuite.records import sha256_file
from nassuite.run_directory import RunDirectory
from nassuite.train_settings import TrainSettings
from nassuite.training import train_model

TRAINING = TrainSettings(
    model="small_networks:plain", data="digits", size=16, train_images=128, epochs=1, batch_size=32, seed=3
)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    return train_model(TRAINING, out=tmp_path_factory.mktemp("trained") / "run").folder


def settings_for(folder, **changes):
    return PruneSettings(**{"model": str(folder), "finetune_epochs": 0, "align": "8", **changes})


def left(found, figure):
    dense, pruned = found.rows
    return getattr(pruned, figure) / getattr(dense, figure)


@pytest.mark.parametrize(
    ("changes", "figure", "most"),
    [
        ({"speedup": 1.4}, "ratio", 1 / 1.4),
        pytest.param(
            {"speedup": 1.3, "strategy": "uniform", "steps": 2, "importance": "lamp"},
            "ratio", 1 / 1.3, marks=pytest.mark.slow,
        ),
        pytest.param(
            {"target_macs": 0.5, "strategy": "latency", "importance": "fpgm"}, "macs", 0.5, marks=pytest.mark.slow
        ),
        ({"target_params": 0.6, "scope": "isomorphic", "importance": "hessian"}, "params", 0.6),
        ({"target_macs": 0.5, "strategy": "netadapt", "steps": 3}, "macs", 0.5),
        ({"ratio": 0.4, "steps": 2}, "macs", 0.8),
    ],
    ids=str,
)  # fmt: skip
def test_targets_are_met_and_the_cut_is_exact(trained, tmp_path, changes, figure, most):
    found = prune_model(settings_for(trained, **changes), out=tmp_path / "out", meter=deterministic_meter)
    assert found.met
    assert 0.1 < left(found, figure) <= most
    images = torch.rand(4, 1, 16, 16, generator=torch.Generator().manual_seed(0))
    smaller = load_model(tmp_path / "out")
    assert mask_equivalence(load_model(trained), smaller, found.record.history, images) <= 1e-4
    with torch.no_grad():
        logits = smaller(images).numpy()
    assert abs(run_onnx(tmp_path / "out" / "model.onnx", images.numpy()) - logits).max() < 1e-3
    written = json.loads((tmp_path / "out" / "pruning.json").read_text())
    assert written["models"][1]["macs"] == found.rows[1].macs
    assert all(layer["after"] % 8 == 0 for layer in written["pruned"])
    assert all(layer["reason"] for layer in written["kept"])


def test_a_latency_is_certified_and_a_pruned_model_is_pruned_further(trained, tmp_path):
    first = prune_model(settings_for(trained, ratio=0.2), out=tmp_path / "first", meter=deterministic_meter)
    wanted = first.rows[1].p50_ms * 0.85
    found = prune_model(
        settings_for(tmp_path / "first", target_ms=wanted), out=tmp_path / "out", meter=deterministic_meter
    )
    assert found.certificate is not None
    assert found.met == (found.certificate.verdict == "pass") is True
    assert found.rows[1].p50_ms <= wanted
    dense, both = load_model(trained), load_model(tmp_path / "out")
    widths = [m.out_channels for m in both.modules() if isinstance(m, torch.nn.Conv2d)]
    assert sum(widths) < sum(m.out_channels for m in dense.modules() if isinstance(m, torch.nn.Conv2d))
    cuts = json.loads((tmp_path / "out" / "model.json").read_text())["cuts"]
    assert len(cuts["history"]) == len(first.record.history) + len(found.record.history)
    assert cuts["history"][0][0] == first.record.history[0][0]
    card = json.loads((tmp_path / "out" / "card.json").read_text())
    assert card["hashes"]["model.onnx"] == sha256_file(tmp_path / "out" / "model.onnx")
    right = sum(row[n] for n, row in enumerate(card["confusion"]))
    assert right / sum(map(sum, card["confusion"])) == pytest.approx(found.rows[1].test)
    assert (tmp_path / "out" / "predict.py").is_file()


def test_distillation_moves_the_weights_and_not_the_cuts(trained, tmp_path):
    settings = settings_for(trained, ratio=0.25)
    plain = prune_model(settings, out=tmp_path / "plain", meter=deterministic_meter)
    tuned = dataclasses.replace(settings, finetune_epochs=1, batch_size=32)
    found = prune_model(tuned, out=tmp_path / "tuned", meter=deterministic_meter)
    assert found.record.history == plain.record.history
    untouched, moved = load_model(plain.folder).state_dict(), load_model(found.folder).state_dict()
    assert {k: v.shape for k, v in moved.items()} == {k: v.shape for k, v in untouched.items()}
    assert any(not torch.equal(moved[name], untouched[name]) for name in moved)


@pytest.mark.parametrize("strategy", ["latency", pytest.param("netadapt", marks=pytest.mark.slow)])
def test_an_interrupted_pruning_goes_on_to_the_same_end(trained, tmp_path, strategy):
    settings = settings_for(
        trained, speedup=1.4, strategy=strategy, steps=2, finetune_epochs=2, batch_size=32, short_images=32
    )
    whole = prune_model(settings, out=tmp_path / "whole", meter=deterministic_meter)
    out = tmp_path / "interrupted"
    trainings = {f"distilling the pruned model, step {number}": 3 for number in (1, 2, 3)}
    progress = InterruptingProgress({"measuring each group": 1, **trainings})
    with pytest.raises(Interruption):
        prune_model(settings, out=out, meter=deterministic_meter, progress=progress)
    stops = 1
    while not (out / "pruning.json").exists():
        try:
            again = prune_model(None, out=out, resume=True, meter=deterministic_meter, progress=progress)
        except Interruption:
            stops += 1
    assert stops >= 2
    assert again.record == whole.record
    assert (out / "model.safetensors").read_bytes() == (whole.folder / "model.safetensors").read_bytes()
    with RunDirectory(out).locked(), pytest.raises(Busy, match="in use by another"):
        prune_model(None, out=out, resume=True, meter=deterministic_meter)
    assert prune_model(None, out=out, resume=True, meter=deterministic_meter).rows == again.rows


def test_the_aim_and_the_steps_that_are_left_are_said(trained, tmp_path):
    settings = settings_for(trained, speedup=1.4, strategy="latency", steps=2)
    progress = ListeningProgress()
    found = prune_model(settings, out=tmp_path / "out", meter=deterministic_meter, progress=progress)
    dense = found.rows[0].p50_ms
    aim = f"{dense / 1.4:.3g} ms"
    assert f"aim: {aim}, 1.4 times as fast as the dense network's {dense:.3g} ms" in progress.said
    first, *_, last = [line for line in progress.said if line.startswith("step ")]
    assert re.fullmatch(rf"step 1: [\d.]+ ms, aim {aim}, dense {dense:.3g} ms; about \d+ more steps?", first)
    assert last.endswith(f"aim {aim}, dense {dense:.3g} ms, enough")


def test_a_pruning_that_an_earlier_version_began_goes_on(trained, tmp_path):
    out = tmp_path / "out"
    settings = settings_for(trained, speedup=1.4, strategy="latency", steps=2)
    whole = prune_model(settings, out=out, meter=deterministic_meter)
    (out / "pruning.json").unlink()
    steps = out / "steps.jsonl"
    steps.write_text(
        re.sub(r'"said": "([\d.]+ ms), aim [\d.]+ ms, dense ', r'"said": "\1 of ', steps.read_text())
    )
    progress = ListeningProgress()
    again = prune_model(None, out=out, resume=True, meter=deterministic_meter, progress=progress)
    assert again.record == whole.record
    assert "aim: 1.4 times as fast as the dense network" in progress.said
    assert any(re.fullmatch(r"step \d: [\d.]+ ms of [\d.]+ ms, enough", line) for line in progress.said)


def test_epochs_are_divided_and_none_is_lost():
    for steps in range(1, 6):
        for epochs in range(8):
            for last in range(steps + 3):
                given = [
                    epochs_after(step, step == last, steps=steps, epochs=epochs) for step in range(last + 1)
                ]
                assert sum(given) == epochs
                assert given[-1] == max(given)


def test_what_cannot_be_reached_is_said_before_anything_is_written(trained, tmp_path):
    for changes, message in (
        (
            {"target_ms": 1e-6},
            "no pruning reaches target-ms 1e-06: with every channel removed that can be it is",
        ),
        ({"target_ms": 1e6}, "meets it as it is"),
        ({"target_macs": 0.5, "align": "512"}, "nothing of it can be pruned exactly"),
    ):
        with pytest.raises(InputError, match=message):
            prune_model(settings_for(trained, **changes), out=tmp_path / "out", meter=deterministic_meter)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["RUN"], "give one target"),
        (["RUN", "--speedup", "2", "--ratio", "0.5"], "give one target"),
        (["RUN", "--speedup", "0.9"], "--speedup 0.9"),
        (["RUN", "--ratio", "1"], "--ratio 1"),
        (["RUN", "--target-ms", "nan"], "--target-ms nan"),
        (["RUN", "--ratio", "0.5", "--align", "0"], "--align 0"),
        (["RUN", "--ratio", "0.5", "--align", "many"], "--align many"),
        (["RUN", "--ratio", "0.5", "--strategy", "latency"], "give another target"),
        (
            ["RUN", "--speedup", "2", "--strategy", "uniform", "--scope", "global"],
            "goes with --strategy global",
        ),
        (["RUN", "--ratio", "0.5", "--data", "folder:/nowhere"], "/nowhere"),
        (["RUN", "--ratio", "0.5", "--weights", "w.pt"], "has its own"),
        (["--ratio", "0.5"], "no model"),
        (["/nowhere", "--ratio", "0.5"], "no such folder"),
        (["mobilenet_v7", "--ratio", "0.5", "--data", "digits"], "no network named 'mobilenet_v7'"),
        (["resnet20_cifar", "--ratio", "0.5"], "give --data"),
        (["espnet", "--ratio", "0.5", "--data", "digits"], "takes classifiers"),
        (["small_networks:raising", "--ratio", "0.5", "--data", "digits"], "raised RuntimeError: the moon"),
        (["small_networks:of_seven_classes", "--ratio", "0.5", "--data", "digits"], "logits of 10 classes"),
        (
            ["small_networks:unprunable", "--ratio", "0.5", "--data", "digits", "--size", "16"],
            "nothing of it",
        ),
        (["--resume", "/nowhere"], "is no pruning"),
        (["--resume", "RUN", "--ratio", "0.5"], "leave out --ratio"),
    ],
)
def test_refused_in_one_line(trained, tmp_path, arguments, message, capsys):
    arguments = [str(trained) if argument == "RUN" else argument for argument in arguments]
    out = [] if "--resume" in arguments else ["--out", str(tmp_path / "out")]
    assert main(["prune", *arguments, *out]) == 2
    err = capsys.readouterr().err.strip().splitlines()
    assert message in err[-1]
    assert "Traceback" not in "".join(err)
    assert not (tmp_path / "out").exists()


def test_weights_of_another_shape_are_named(trained, tmp_path, capsys):
    weights = str(trained / "model.safetensors")
    command = [
        "prune",
        "resnet20_cifar",
        "--ratio",
        "0.5",
        "--data",
        "digits",
        "--size",
        "16",
        "--weights",
        weights,
    ]
    assert main([*command, "--out", str(tmp_path / "out")]) == 2
    assert f"{weights} does not fit" in capsys.readouterr().err


def test_a_network_by_name_with_weights_is_the_trained_one(trained, tmp_path):
    settings = settings_for(
        "small_networks:plain", weights=str(trained / "model.safetensors"), data="digits", size=16,
        train_images=128, seed=3, ratio=0.25,
    )  # fmt: skip
    by_name = prune_model(settings, out=tmp_path / "name", meter=deterministic_meter)
    by_folder = prune_model(
        settings_for(trained, ratio=0.25, seed=3), out=tmp_path / "folder", meter=deterministic_meter
    )
    assert by_name.record.history == by_folder.record.history
    theirs = load_model(by_name.folder).state_dict()
    for name, tensor in load_model(by_folder.folder).state_dict().items():
        assert torch.equal(theirs[name], tensor) or name.endswith("num_batches_tracked")
