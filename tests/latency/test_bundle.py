"""Bundles: measured by their own measure.py, read back, and refused where something is wrong with them."""

import hashlib
import json
import shutil
import subprocess
import sys
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
from fake_device import MACHINE, answer, write
from torch import nn

from nassuite.errors import InputError
from nassuite.latency import protocol
from nassuite.latency.bundle import Planned, read_results, write_bundle
from nassuite.latency.meter import Sampling
from nassuite.latency.reference import reference_model
from nassuite.latency.target import Target, target_key
from nassuite.onnx_export import export_onnx

QUICK = Sampling(processes=2, rounds=4, repeats=2, least_rounds=4, warmup=2, group=1)


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    paths = [folder / "small.onnx", folder / "large.onnx"]
    for path, width in zip(paths, (4, 64), strict=True):
        network = nn.Sequential(nn.Conv2d(3, width, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten())
        export_onnx(network, path, input_shape=(3, 32, 32), check=False)
    return paths


def make(folder, models, *, sampling=QUICK, **more):
    planned = [Planned(path.name, partial(shutil.copyfile, path), {"name": path.stem}) for path in models]
    write_bundle(folder, planned, sampling=sampling, about={"kind": "files"}, **more)
    return folder


def run_measure(bundle):
    return subprocess.run(
        [sys.executable, "measure.py"],
        cwd=bundle,
        capture_output=True,
        text=True,
        check=False,
        env={"PATH": ""},
    )


@pytest.fixture(scope="module")
def measured(models, tmp_path_factory):
    """A bundle whose results measure.py wrote, in real processes."""
    bundle = make(tmp_path_factory.mktemp("bundle") / "bundle", models)
    run = run_measure(bundle)
    assert run.returncode == 0, run.stderr
    return bundle


@pytest.fixture
def answered(models, tmp_path):
    return answer(make(tmp_path / "bundle", models))


def test_measured_elsewhere_is_like_measured_here(measured, models):
    found = read_results(measured / "results.json")
    assert target_key(found.target) == Target().key
    assert found.target == Target().describe()
    for (about, m), path in zip(found.models, models, strict=True):
        assert (about["name"], m.file) == (path.stem, path.name)
        assert m.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
        assert [len(process) for process in m.samples_ms] == [8, 8]
        assert m.ratio_low <= m.ratio <= m.ratio_high
    small, large = (m for _, m in found.models)
    assert small.ratio < large.ratio


def test_a_stopped_device_goes_on_where_it_was(models, tmp_path):
    # One process for each model: with two, one may be run again for the other's sake.
    bundle = make(tmp_path / "bundle", models, sampling=replace(QUICK, processes=1))
    assert run_measure(bundle).returncode == 0
    before = {path.name: path.read_bytes() for path in (bundle / "parts").iterdir()}
    results = (bundle / "results.json").read_bytes()
    assert len(before) == 2
    (bundle / "parts" / "1.json").unlink()
    (bundle / "results.json").unlink()
    assert run_measure(bundle).returncode == 0
    after = {path.name: path.read_bytes() for path in (bundle / "parts").iterdir()}
    assert [name for name in before if before[name] != after[name]] == ["1.json"]
    assert (bundle / "results.json").read_bytes() != results
    read_results(bundle / "results.json")


def test_on_a_device_too_processes_out_of_pace_are_run_again(models, tmp_path, monkeypatch):
    bundle = make(tmp_path / "bundle", models[:1], sampling=replace(QUICK, processes=3))
    paces = iter([1.0, 1.6, 1.05, 0.98])

    def worker(request):
        times = np.full((3, request["rounds"], request["repeats"]), 1e6 * next(paces))
        return {"samples_ns": times.tolist(), "cpu_ns": None}

    monkeypatch.setattr(protocol, "run_worker", worker)
    protocol.measure_bundle(bundle)
    runs = json.loads((bundle / "results.json").read_text())["runs"]
    assert [run["rejected"] for run in runs] == [0, 1, 0]
    assert [protocol.Run.of(run).reference_ms for run in runs] == pytest.approx([1.0, 0.98, 1.05])
    assert json.loads((bundle / "parts" / "1.json").read_text())["samples_ns"] == runs[1]["samples_ns"]


def test_the_same_times_give_what_the_formula_says(answered):
    found = read_results(answered)
    assert found.target["cpu"] == {"name": "Cortex-A76", "flags": ["asimd"]}
    assert (found.target["host"], found.target["runtime_version"]) == ("raspberrypi", "1.20.0")
    for _, m in found.models:
        assert m.p50_ms == pytest.approx(m.ratio * m.reference_ms, rel=1e-4)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda b: (b / "manifest.json").unlink(), "manifest.json: no such file"),
        (lambda b: (b / "results.json").unlink(), "results.json: no such file"),
        (lambda b: edit(b / "results.json", '"rejected": 0', '"rejected": 1'), "was changed or cut short"),
        (lambda b: (b / "results.json").write_text("{"), "is damaged"),
        (lambda b: (b / "results.json").write_text("[]"), "not what measure.py writes"),
        (lambda b: (b / "results.json").write_text("{}"), "not what measure.py writes"),
        (lambda b: edit(b / "manifest.json", '"batch": 1', '"batch": 2'), "is not of the bundle"),
        (lambda b: again(b, lambda r: r["runs"].pop()), "lacks 1 of 4 runs"),
        (lambda b: again(b, lambda r: r.update(schema=2)), "another version of nassuite"),
        (lambda b: again(b, lambda r: r["runs"][0].pop("machine")), "not what measure.py writes"),
        (
            lambda b: again(b, lambda r: r["runs"][2].update(machine={**MACHINE, "host": "pi5"})),
            "mixes two machines .raspberrypi, Cortex-A76, onnxruntime 1.20.0; pi5",
        ),
        (
            lambda b: again(b, lambda r: r["runs"][1].update(machine={**MACHINE, "runtime_version": "1.21"})),
            "onnxruntime 1.21",
        ),
    ],
)
def test_what_is_wrong_with_results_is_told_in_one_line(spoil, message, answered):
    spoil(answered.parent)
    with pytest.raises(InputError, match=message) as caught:
        read_results(answered)
    assert "\n" not in str(caught.value)


def edit(path, old, new):
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


def again(bundle, change):
    results = json.loads((bundle / "results.json").read_text())
    del results["digest"]
    change(results)
    write(bundle, results)


def test_a_damaged_model_is_told_on_the_device(models, tmp_path):
    bundle = make(tmp_path / "bundle", models)
    (bundle / "models" / "large.onnx").write_bytes(b"half a file")
    run = run_measure(bundle)
    assert run.returncode == 2
    assert "large.onnx is not there or damaged: copy the bundle again" in run.stderr
    assert len(run.stderr.strip().splitlines()) == 1
    assert not (bundle / "results.json").exists()


def test_a_model_that_the_device_cannot_run_is_told_there(tmp_path):
    bad = tmp_path / "bad.onnx"
    bad.write_bytes(b"no model")
    run = run_measure(make(tmp_path / "bundle", [bad]))
    assert run.returncode == 2
    assert "bad.onnx: onnxruntime cannot run it: it is not an ONNX file" in run.stderr


def test_a_bundle_is_whole_or_not_there(models, tmp_path):
    def fails(path):
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        write_bundle(
            tmp_path / "bundle", [Planned("a.onnx", fails, {})], sampling=QUICK, about={"kind": "files"}
        )
    assert list(tmp_path.iterdir()) == []
    bundle = make(tmp_path / "bundle", models)
    with pytest.raises(InputError, match="there and not empty"):
        make(bundle, models)
    (tmp_path / "empty").mkdir()
    made = make(tmp_path / "empty", models)
    assert sorted(path.name for path in made.iterdir()) == [
        "manifest.json", "measure.py", "models", "reference.onnx", "worker.py",
    ]  # fmt: skip
    assert (made / "reference.onnx").read_bytes() == reference_model()
