"""``nassuite status`` of all that is no search: what a folder is, how far it is, how to go on."""

import json
from pathlib import Path

import pytest
import torch

from nassuite.checkpoints import FileCheckpoints
from nassuite.records import write_toml
from nassuite.run_directory import RunDirectory
from nassuite.train.loop import Checkpoint


@pytest.fixture(autouse=True)
def _here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def begun(name, file, *, lines=(), **facts):
    """A folder as a command leaves it that was stopped; ``lines`` are what it remembers."""
    Path(name).mkdir()
    write_toml(Path(name, file), {"command": "nassuite", **facts})
    steps = Path(name, "points.jsonl" if file == "sensitivity.toml" else "steps.jsonl")
    steps.write_text("".join(json.dumps({"name": key, "value": value}) + "\n" for key, value in lines))


def trained(path, epochs):
    path.parent.mkdir(exist_ok=True)
    meta = {"step": epochs, "log": [{}] * epochs, "running": []}
    FileCheckpoints(path).save(Checkpoint({"a": torch.zeros(1)}, meta))


def step(met=False):
    return {"record": {}, "value": 0.6, "met": met, "said": "1.04 ms, aim 0.99 ms, dense 1.79 ms"}


def test_a_training(nassuite):
    begun("run", "train.toml", settings={"model": "lenet5", "epochs": 12})
    said = "run: training of lenet5\n  {} of 12 epochs\n{}\n"
    go_on = "continue with: nassuite train --resume run"
    assert nassuite("status", "run") == (0, said.format(0, go_on), "")
    trained(Path("run/checkpoint.safetensors"), 7)
    assert nassuite("status", "run") == (0, said.format(7, go_on), "")
    with RunDirectory(Path("run")).locked():
        assert nassuite("status", "run") == (0, said.format(7, "a process is working on it"), "")
    for name in ("result.json", "model.onnx"):
        Path("run", name).touch()
    assert nassuite("status", "run") == (0, said.format(7, "all done: run/model.onnx"), "")


def test_a_distillation(nassuite):
    begun("run", "train.toml", compare=True, settings={"model": "lenet5", "epochs": 12})
    trained(Path("run/checkpoint.safetensors"), 12)
    trained(Path("run/alone/checkpoint.safetensors"), 3)
    assert nassuite("status", "run")[1].splitlines() == [
        "run: distillation of lenet5",
        "  12 of 12 epochs with the teacher",
        "  3 of 12 epochs without it",
        "continue with: nassuite distill --resume run",
    ]


def test_a_pruning(nassuite):
    remembered = [("dense", 1.0), ("step 0", step()), ("step 1: a to 8", 0.5)]
    begun("run", "prune.toml", lines=remembered, settings={"model": "a", "speedup": 1.8, "steps": 4})
    assert nassuite("status", "run")[1].splitlines() == [
        "run: pruning of a, --speedup 1.8",
        "  1 steps made, 4 planned: 1.04 ms, aim 0.99 ms, dense 1.79 ms",
        "continue with: nassuite prune --resume run",
    ]
    with open("run/steps.jsonl", "a") as file:
        file.write(json.dumps({"name": "step 1", "value": step(met=True)}) + "\n")
    trained(Path("run/training/step-1.safetensors"), 2)
    assert (
        "  the target is met, what is left of the network is distilled, epochs done: 2"
        in nassuite("status", "run")[1]
    )


def test_a_sensitivity_analysis_and_a_quantisation(nassuite):
    begun("curves", "sensitivity.toml", lines=[("a", {}), ("b", {})], settings={"model": "lenet5"})
    assert (
        "  2 points measured\ncontinue with: nassuite prune --resume curves"
        in nassuite("status", "curves")[1]
    )
    made = [("fp32", {}), ("u8s8: layers, the most sensitive first", []), ("u8s8", {})]
    begun("int8", "quantize.toml", lines=made, settings={"model": "lenet5"})
    assert (
        "  variants made: fp32, u8s8\ncontinue with: nassuite quantize --resume int8"
        in nassuite("status", "int8")[1]
    )


def test_a_folder_of_runs_and_one_of_models(nassuite):
    begun("runs", "other.toml")
    Path("runs/a/deploy/1ms").mkdir(parents=True)
    for name in ("study.toml", "deploy/1ms/card.json", "deploy/1ms/model.onnx"):
        Path("runs/a", name).touch()
    begun("runs/b", "prune.toml")
    Path("runs/b/pruning.json").touch()
    model = "runs/a/deploy/1ms: a finished model, runs/a/deploy/1ms/model.onnx\n"
    lines = "runs/a: search, not finished: nassuite search --resume runs/a\nruns/b: pruning, finished\n"
    assert nassuite("status", "runs") == (0, lines, "")
    assert nassuite("status", "runs/a/deploy") == nassuite("status", "runs/a/deploy/1ms") == (0, model, "")
