"""Other runtimes: torch here, OpenVINO where it is installed; --runtime auto takes the fastest that is right."""

import importlib.util
import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from nassuite.cli import main
from nassuite.errors import InputError
from nassuite.latency import choice, protocol, target
from nassuite.latency.choice import (
    Agreement,
    Contender,
    agreement,
    chosen_target,
    compare_targets,
    fastest,
    outputs,
)
from nassuite.latency.meter import Sampling, measure, measure_each
from nassuite.latency.target import CUDA, RUNTIMES, Target, installed_targets
from nassuite.models import Description, load_model, make_network, save_model
from nassuite.nn.network import Normalised
from nassuite.onnx_export import export_onnx
from nassuite.options import ONNX_RUNTIMES, PRECISIONS, TORCH_RUNTIMES
from nassuite.settings import Settings

QUICK = Sampling(processes=1, rounds=4, repeats=2, least_rounds=4, warmup=2)
MODEL = "mobilenet_v2(width_mult=0.1, stem_stride=1)"
OPENVINO = importlib.util.find_spec("openvino") is not None
needs_openvino = pytest.mark.skipif(not OPENVINO, reason="OpenVINO is not installed")
TORCH = Target("torch")


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A folder as a training leaves it: the same network as weights and as model.onnx."""
    folder = tmp_path_factory.mktemp("trained")
    mean, std = (0.5,) * 3, (0.25,) * 3
    network = Normalised(make_network(MODEL, num_classes=10, in_chans=3), mean, std).eval()
    save_model(folder, network, Description(MODEL, 10, 3, 32, mean, std, tuple("0123456789")))
    export_onnx(network, folder / "model.onnx", input_shape=(3, 32, 32))
    return folder


def test_settings_know_the_runtimes_and_precisions_that_there_are():
    assert {*ONNX_RUNTIMES, *TORCH_RUNTIMES} == set(RUNTIMES)
    assert {name for name, about in RUNTIMES.items() if about.takes == "onnx"} == set(ONNX_RUNTIMES)
    assert {p for about in RUNTIMES.values() for p in about.precisions} == set(PRECISIONS)


def test_torch_computes_what_the_network_computes(trained):
    images = np.random.default_rng(0).random((3, 3, 32, 32), dtype=np.float32)
    with torch.inference_mode():
        expected = load_model(trained)(torch.from_numpy(images)).numpy()
    np.testing.assert_allclose(outputs(trained, TORCH, images), expected, rtol=0, atol=1e-5)
    found = outputs(trained / "model.onnx", Target(), images)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-3 * np.abs(expected).max())


def test_random_inputs_are_the_same_in_every_runtime(trained):
    found = [outputs(trained / "model.onnx", Target(), None, count=3), outputs(trained, TORCH, None, count=3)]
    assert found[0].shape == (3, 10)
    assert agreement(found[1], found[0], known=False).difference < 1e-3


def test_runtimes_are_measured_in_the_same_rounds(trained):
    onnx, eager = measure_each([(trained / "model.onnx", Target()), (trained, TORCH)], sampling=QUICK)
    assert [m.target["runtime"] for m in (onnx, eager)] == ["onnxruntime", "torch"]
    assert onnx.reference_ms == eager.reference_ms
    assert len(eager.samples_ms[0]) == 8
    assert eager.ratio > 0


def test_what_a_runtime_cannot_take_is_named(trained):
    with pytest.raises(InputError, match=r"torch runs networks, not files: give a zoo name"):
        measure([trained / "model.onnx"], TORCH, sampling=QUICK)
    with pytest.raises(ValueError, match="share threads and batch"):
        measure_each([(trained, TORCH), (trained / "model.onnx", Target(batch=2))], sampling=QUICK)


def test_what_is_not_installed_is_named_with_what_installs_it(monkeypatch):
    monkeypatch.setitem(RUNTIMES, "openvino", replace(RUNTIMES["openvino"], distributions=("no-such-thing",)))
    with pytest.raises(InputError, match="openvino is not installed here: pip install no-such-thing"):
        Target("openvino")
    targets = installed_targets(threads=1, batch=1, takes=("onnx", "torch"))
    assert "openvino" not in {target.runtime for target in targets}
    assert {"onnxruntime", "torch"} <= {target.runtime for target in targets}


def test_a_precision_that_a_runtime_has_not_is_refused():
    with pytest.raises(InputError, match=r"--precision bf16: onnxruntime takes f32"):
        Target(precision="bf16")
    assert Target().key == Target(precision="f32").key
    assert "f32" not in Target().key  # records from before there were others say nothing of it


@pytest.mark.parametrize(
    ("found", "precision", "fits"),
    [
        (Agreement(100, 5e-4, 1.0, True), "f32", True),
        (Agreement(100, 5e-3, 1.0, True), "f32", False),
        (Agreement(100, 5e-3, 0.995, True), "bf16", True),
        (Agreement(100, 5e-3, 0.9, True), "bf16", False),
        (Agreement(16, 5e-3, 0.5, False), "bf16", True),
        (Agreement(16, float("nan"), 1.0, False), "bf16", False),
    ],
)
def test_what_a_precision_explains(found, precision, fits):
    assert found.fits(precision) is fits


def test_agreement_is_counted():
    expected = np.array([[0.0, 4.0], [1.0, 0.0]])
    found = np.array([[0.0, 3.6], [1.0, 1.2]])
    assert agreement(found, expected, known=True) == Agreement(2, pytest.approx(0.3), 0.5, True)
    with pytest.raises(InputError, match="gives outputs"):
        agreement(found[:1], expected, known=True)


# Deciding, with made-up times.


def made_up(monkeypatch, milliseconds, wrong=()):
    """Runtimes take what is given; those in ``wrong`` compute something else."""

    def worker(request):
        if "outputs" in request:
            (model,) = request["models"]
            bad = (model["runtime"], model["precision"]) in wrong
            np.save(request["outputs"], np.eye(4)[::-1] if bad else np.eye(4))
            return {}
        models = [request["reference"], *request["models"], request["reference"]]
        times = [milliseconds.get((m["runtime"], m["precision"]), 1.0) for m in models]
        times[0] = times[-1] = 1.0
        shape = (len(models), request["rounds"], request["repeats"])
        return {
            "samples_ns": (1e6 * np.array(times)[:, None, None] * np.ones(shape)).tolist(),
            "cpu_ns": None,
        }

    monkeypatch.setattr(protocol, "run_worker", worker)
    for name in ("openvino", "onnxruntime"):
        monkeypatch.setitem(RUNTIMES, name, replace(RUNTIMES[name], distributions=("numpy",)))


def test_auto_takes_the_fastest_that_is_right(trained, monkeypatch):
    times = {
        ("onnxruntime", "f32"): 3.0,
        ("openvino", "f32"): 2.5,
        ("openvino", "bf16"): 1.5,
        ("openvino", "f16"): 1.0,
    }
    made_up(monkeypatch, times, wrong=[("openvino", "f16")])
    targets = installed_targets(threads=1, batch=1, takes=("onnx",))
    tried = compare_targets({"onnx": trained / "model.onnx"}, targets, sampling=QUICK)
    assert str(fastest(tried).target) == "openvino bf16"
    refused = {str(c.target): c.refusal for c in tried if c.measurement is None}
    assert "outputs within" in refused.pop("openvino f16")
    assert refused == {}
    made = []
    settings = Settings(runtime="auto", precision="f32")
    target = chosen_target(
        settings.runtime, settings.precision, threads=1,
        export=lambda path: made.append(path.write_bytes((trained / "model.onnx").read_bytes())),
    )  # fmt: skip
    assert str(target) == "openvino"
    assert len(made) == 1


def test_a_noisy_measurement_wins_only_among_noisy_ones(trained, monkeypatch):
    made_up(monkeypatch, {})
    (quiet,) = measure([trained / "model.onnx"], Target(), sampling=QUICK)
    noisy = replace(quiet, ratio=0.1, aa_ratios=(1.5,))
    slow, quick = Contender(Target(), measurement=quiet), Contender(Target(), measurement=noisy)
    assert fastest([quick, slow]) is slow
    assert fastest([quick]) is quick
    with pytest.raises(InputError, match="that one; and that"):
        fastest([Contender(Target(), refusal="that one"), Contender(Target(), refusal="and that")])


def test_the_reference_is_on_the_gpu_only_beside_gpu_models_alone(trained, monkeypatch):
    monkeypatch.setitem(RUNTIMES, CUDA, replace(RUNTIMES[CUDA], distributions=("numpy",)))
    seen = []

    def worker(request):
        seen.append(request["reference"]["runtime"])
        return {"samples_ns": np.ones((len(request["models"]) + 2, 4, 2)).tolist(), "cpu_ns": None}

    monkeypatch.setattr(protocol, "run_worker", worker)
    path = trained / "model.onnx"
    measure([path], Target(CUDA), sampling=QUICK)
    measure_each([(path, Target(CUDA)), (path, Target())], sampling=QUICK)
    assert seen == ["onnxruntime-cuda", "onnxruntime"]


STAND_IN = """\
import json, os
import numpy as np
from types import SimpleNamespace

ExecutionMode = SimpleNamespace(ORT_SEQUENTIAL=0)


class SessionOptions:
    def add_session_config_entry(self, name, value):
        pass


class InferenceSession:
    def __init__(self, path, options, providers):
        with open(os.environ["STAND_IN_LOG"], "a") as log:
            log.write(json.dumps([os.path.basename(path), providers]) + "\\n")

    def get_providers(self):
        return os.environ["STAND_IN_PROVIDERS"].split(",")

    def get_inputs(self):
        return [SimpleNamespace(name="image", type="tensor(float)", shape=["batch", 3, 8, 8])]

    def run(self, outputs, feed):
        return [np.concatenate([np.sum(value).reshape(1, 1) for value in feed.values()])]
"""


@pytest.fixture
def gpu_runtime(tmp_path, monkeypatch):
    """A stand-in for onnxruntime-gpu in the processes that measure; gives what they asked it for."""
    (tmp_path / "stand_in").mkdir()
    (tmp_path / "stand_in" / "onnxruntime.py").write_text(STAND_IN)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "stand_in"))
    monkeypatch.setenv("STAND_IN_LOG", str(tmp_path / "log"))
    monkeypatch.setenv("STAND_IN_PROVIDERS", "CUDAExecutionProvider,CPUExecutionProvider")
    monkeypatch.setitem(RUNTIMES, CUDA, replace(RUNTIMES[CUDA], distributions=("numpy",)))
    monkeypatch.setattr(target, "gpu_name", lambda: "NVIDIA H100, 570.1")
    return lambda: [json.loads(line) for line in (tmp_path / "log").read_text().splitlines()]


@pytest.mark.parametrize(("precision", "tf32"), [("f32", "0"), ("tf32", "1")])
def test_on_the_gpu_models_and_reference_run_with_the_cuda_provider(trained, gpu_runtime, precision, tf32):
    (found,) = measure([trained / "model.onnx"], Target(CUDA, precision=precision), sampling=QUICK)
    wanted = [["CUDAExecutionProvider", {"use_tf32": tf32}], "CPUExecutionProvider"]
    asked = gpu_runtime()
    assert [name for name, _ in asked[:3]] == ["reference.onnx", "model.onnx", "reference.onnx"]
    assert asked[1][1] == wanted
    assert all(providers[0][0] == "CUDAExecutionProvider" for _, providers in asked)
    assert found.cpu_shares == ()  # the processor waits for the GPU: its time says nothing
    assert found.target["gpu"] == "NVIDIA H100, 570.1"
    assert "NVIDIA H100" in Target(CUDA).key
    assert "gpu" not in Target().describe()


def test_a_gpu_that_is_not_there_is_said_in_one_line(trained, gpu_runtime, monkeypatch, capsys):
    monkeypatch.setenv("STAND_IN_PROVIDERS", "CPUExecutionProvider")
    command = ["latency", "measure", str(trained / "model.onnx"), "--runtime", "onnxruntime-cuda"]
    assert main(command) == 2
    told = capsys.readouterr().err.strip()
    assert "its CUDA provider does not start here" in told
    assert len(told.splitlines()) == 1


def test_without_the_gpu_runtime_it_is_said_what_installs_it(trained, monkeypatch, capsys):
    monkeypatch.setitem(RUNTIMES, CUDA, replace(RUNTIMES[CUDA], distributions=("onnxruntime-nowhere",)))
    command = ["certify", str(trained / "model.onnx"), "--budget-ms", "1", "--runtime", "onnxruntime-cuda"]
    assert main(command) == 2
    told = capsys.readouterr().err.strip()
    assert "--runtime onnxruntime-cuda is not installed here: pip install onnxruntime-nowhere" in told
    assert len(told.splitlines()) == 1


# From the command line.


@pytest.mark.slow
def test_auto_from_the_command_line(trained, tmp_path, capsys, monkeypatch):
    quickly = lambda models, **more: measure_each(models, **{**more, "sampling": QUICK})  # noqa: E731
    monkeypatch.setattr(choice, "measure_each", quickly)
    # What torch.compile takes to compile is too long here.
    monkeypatch.delitem(RUNTIMES, "torch-compile")
    out = tmp_path / "found.json"
    assert main(["latency", "measure", str(trained), "--runtime", "auto", "--json", str(out)]) == 0
    said = capsys.readouterr().out
    found = json.loads(out.read_text())
    assert {"onnxruntime", "torch"} <= {entry["target"]["runtime"] for entry in found}
    best = min(found, key=lambda entry: entry["ratio"])
    assert "fastest: " in said
    assert best["target"]["precision"] in ("f32", "bf16", "f16")
    assert said.count("outputs within") >= len(found)


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("latency measure {onnx} --runtime torch", "torch runs networks, not files"),
        ("latency measure {onnx} --runtime tflite", "invalid choice: 'tflite'"),
        ("certify {onnx} --budget-ms 1 --runtime torch", "invalid choice: 'torch'"),
        ("certify {onnx} --budget-ms 1 --precision bf16", "--precision bf16: onnxruntime takes f32"),
        ("latency measure {onnx} --runtime auto --precision tf32", "no installed runtime"),
        ("latency measure {text} --runtime auto", "not an ONNX file"),
    ],
)
def test_refused_in_one_line(command, message, trained, tmp_path, capsys):
    (tmp_path / "text.onnx").write_text("no model")
    places = {"onnx": trained / "model.onnx", "text": tmp_path / "text.onnx"}
    try:
        code = main([word.format(**places) for word in command.split()])
    except SystemExit as stopped:
        code = stopped.code
    assert code == 2
    err = capsys.readouterr().err.strip()
    assert message in err
    assert len(err.splitlines()) == 1


# The real things.


@needs_openvino
def test_openvino_computes_what_onnxruntime_does_and_states_its_precision(trained):
    path = trained / "model.onnx"
    images = np.random.default_rng(0).random((8, 3, 32, 32), dtype=np.float32)
    expected = outputs(path, Target(), images)
    full = outputs(path, Target("openvino"), images)
    assert agreement(full, expected, known=True).fits("f32")
    (measurement,) = measure([path], Target("openvino"), sampling=QUICK)
    assert measurement.target["precision"] == "f32"
    assert measurement.cpu_shares[0] > 0.5
    try:
        reduced = outputs(path, Target("openvino", precision="bf16"), images)
    except InputError as error:
        pytest.skip(str(error))
    assert 0 < np.abs(reduced - full).max() < 0.05 * np.abs(expected).max()


@needs_openvino
def test_openvino_refuses_in_the_same_words(tmp_path):
    bad = tmp_path / "bad.onnx"
    bad.write_bytes(b"not a model")
    with pytest.raises(InputError, match=r"bad.onnx: openvino cannot run it") as caught:
        measure([bad], Target("openvino"), sampling=QUICK)
    assert "\n" not in str(caught.value)


@pytest.mark.slow
def test_torch_compile_is_measured(tmp_path):
    mean, std = (0.5,) * 3, (0.25,) * 3
    network = Normalised(make_network(MODEL, num_classes=10, in_chans=3), mean, std).eval()
    assert isinstance(network, nn.Module)
    save_model(tmp_path, network, Description(MODEL, 10, 3, 32, mean, std, ()))
    try:
        compiled = outputs(tmp_path, Target("torch-compile"), None, count=2)
    except InputError as error:
        pytest.skip(f"torch.compile does not work here: {error}")
    assert agreement(compiled, outputs(tmp_path, TORCH, None, count=2), known=False).difference < 1e-3
    (measurement,) = measure([tmp_path], Target("torch-compile"), sampling=QUICK)
    assert measurement.p50_ms > 0
