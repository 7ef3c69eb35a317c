"""Devices by name: planned, imported, asked; what they have not measured is written as a bundle."""

import json
import shutil

import pytest
from deterministic_meter import deterministic_meter
from fake_device import answer
from small_spaces import DIGIT
from torch import nn

from nassuite.cli import main
from nassuite.errors import DeviceNeeded, InputError
from nassuite.latency.certificate import check
from nassuite.latency.devices import StoredMeter, find_device, import_results
from nassuite.latency.meter import CALIBRATION, CERTIFICATE
from nassuite.latency.target import Target
from nassuite.onnx_export import export_onnx

SPACE = """\
resolution = [16]

[stem]
width = [8]
stride = 1

[[stages]]
width = [8, 16]
depth = [1, 2]
stride = 2
operator = ["inverted_residual", "ghost"]
kernel = [3]
expand = [2]

[head]
width = [16]
"""


@pytest.fixture(autouse=True)
def data_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "share"))


@pytest.fixture(scope="module")
def planned(tmp_path_factory):
    """A bundle of a small space, and the space's file; not measured yet."""
    folder = tmp_path_factory.mktemp("planned")
    (folder / "own.toml").write_text(SPACE)
    words = f"latency plan --space {folder / 'own.toml'} --samples 24 --classes 4 --out {folder / 'bundle'}"
    assert main(words.split()) == 0
    return folder


@pytest.fixture
def bundle(planned, tmp_path):
    return shutil.copytree(planned / "bundle", tmp_path / "bundle")


@pytest.fixture
def device(bundle):
    return import_results(answer(bundle), "rpi4")[0]


def write_model(path, width=8):
    network = nn.Sequential(nn.Conv2d(3, width, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    export_onnx(network, path, input_shape=(3, 16, 16), check=False)
    return path


def space_of(planned):
    from nassuite.space_file import load_space

    return load_space(str(planned / "own.toml"))


def test_a_plan_covers_the_space_and_is_imported_as_samples(planned, bundle, capsys):
    manifest = json.loads((bundle / "manifest.json").read_text())
    archs = [model["about"]["arch"] for model in manifest["models"]]
    assert len(archs) == len({json.dumps(arch) for arch in archs}) > 5
    assert main(["latency", "import", str(answer(bundle)), "--name", "rpi4"]) == 0
    assert f"{len(archs)} architectures of own" in capsys.readouterr().out
    samples = find_device("rpi4").samples(space_of(planned), 3)
    assert json.loads(json.dumps([sample.arch.to_json() for sample in samples])) == archs
    largest = max(samples, key=lambda sample: sample.ratio)
    assert largest.ratio > min(sample.ratio for sample in samples)
    assert not any(sample.noisy for sample in samples)


def test_a_device_is_a_target_that_is_not_this_machine(device):
    target = find_device("rpi4").target
    assert target == device.target
    assert target.describe()["host"] == "raspberrypi"
    assert target.describe()["cpu"]["name"] == "Cortex-A76"
    assert target.key != Target().key
    assert Target.elsewhere(Target().describe()).key == Target().key
    assert target.computes_as_onnxruntime


def test_importing_again_replaces_nothing_of_another_machine(device, bundle, planned):
    import_results(bundle / "results.json", "rpi4")
    assert len(device.samples(space_of(planned), 3)) == len(
        json.loads((bundle / "manifest.json").read_text())["models"]
    )
    with pytest.raises(InputError, match=r"rpi4 is .*these results are of .*pi5.*give another --name"):
        import_results(answer(bundle, host="pi5"), "rpi4")
    import_results(answer(bundle, host="pi5"), "rpi5")
    assert find_device("rpi4").target.describe()["host"] == "raspberrypi"


def test_what_is_not_there_is_told(device, planned):
    with pytest.raises(InputError, match=r"no device 'nowhere': expected rpi4, ssh:user@host"):
        find_device("nowhere")
    with pytest.raises(InputError, match="the name of a device is letters"):
        find_device("../rpi4")
    with pytest.raises(
        InputError, match=r"no latencies of the space digit yet: nassuite latency plan --space digit"
    ):
        device.samples(DIGIT, 3)
    with pytest.raises(InputError, match="--grey"):
        device.samples(space_of(planned), 1)
    (device.root / "device.json").write_text("{")
    with pytest.raises(InputError, match="is damaged"):
        find_device("rpi4")


def test_what_the_device_has_not_measured_becomes_a_bundle_once(device, tmp_path, capsys):
    paths = [write_model(tmp_path / "a.onnx"), write_model(tmp_path / "b.onnx", width=16)]
    about = {"budgets_ms": (100.0, 0.001), "percentile": 50, "confidence": 0.99}
    meter = StoredMeter(device, tmp_path / "device", about, "nassuite search --resume RUN")
    with pytest.raises(DeviceNeeded, match=r"2 file\(s\) are to be measured on rpi4.*--resume RUN"):
        meter(paths, device.target)
    (asked,) = (tmp_path / "device").iterdir()
    before = (asked / "manifest.json").stat().st_mtime_ns
    with pytest.raises(DeviceNeeded):
        meter(paths, device.target)
    assert (asked / "manifest.json").stat().st_mtime_ns == before
    assert main(["latency", "import", str(answer(asked)), "--name", "rpi4"]) == 0
    said = capsys.readouterr().out
    assert (said.count("pass: "), said.count("fail: ")) == (2, 2)
    expected = deterministic_meter(paths, device.target)
    found = meter(paths, device.target)
    assert [m.file for m in found] == ["a.onnx", "b.onnx"]
    for m, e in zip(found, expected, strict=True):
        assert (m.sha256, m.target) == (e.sha256, device.target.describe())
        assert m.p50_ms == pytest.approx(e.p50_ms, rel=1e-3)
    written = json.loads((asked / "certificates" / "0-a-100ms.json").read_text())
    assert check(written, paths[0]) == "pass"


def test_a_measurement_serves_its_very_file_and_protocol_alone(device, tmp_path):
    meter = StoredMeter(device, tmp_path / "device", {}, "go on")
    path = write_model(tmp_path / "a.onnx")
    with pytest.raises(DeviceNeeded):
        meter([path], device.target, sampling=CALIBRATION)
    (asked,) = (tmp_path / "device").iterdir()
    import_results(answer(asked), "rpi4")
    meter([path], device.target, sampling=CALIBRATION)
    with pytest.raises(DeviceNeeded):
        meter([path], device.target, sampling=CERTIFICATE)
    with pytest.raises(DeviceNeeded):
        meter([write_model(tmp_path / "other.onnx")], device.target, sampling=CALIBRATION)


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("latency plan --space mobile --samples 5 --out {tmp}/b", "--samples 5: expected 24 or more"),
        ("latency plan --space nowhere --out {tmp}/b", "no search space 'nowhere'"),
        ("latency plan --space tiny --out {bundle}", "there and not empty"),
        ("latency import {tmp}/results.json --name a", "no such file"),
        ("search --budget-ms 1 --target nowhere", "no device 'nowhere'"),
        ("search --budget-ms 1 --target ssh:-oProxyCommand=x", "expected ssh:user@host"),
        ("search --budget-ms 1 --target rpi4 --runtime openvino", "leave out --runtime"),
    ],
)
def test_refused_in_one_line(command, message, bundle, tmp_path, capsys):
    assert main([word.format(tmp=tmp_path, bundle=bundle) for word in command.split()]) == 2
    err = capsys.readouterr().err.strip()
    assert message in err
    assert len(err.splitlines()) == 1


def test_a_file_is_certified_on_a_device_by_way_of_a_bundle(device, tmp_path, capsys):
    model, out = write_model(tmp_path / "model.onnx"), tmp_path / "certificate.json"
    command = ["certify", str(model), "--budget-ms", "1000", "--target", "rpi4", "--out", str(out)]
    assert main(command) == 1
    told = capsys.readouterr().err
    (bundle,) = (tmp_path / "device").iterdir()
    assert f"copy {bundle} there" in told
    assert f"nassuite certify {model}" in told
    assert not out.exists()
    assert main(["latency", "import", str(answer(bundle)), "--name", "rpi4"]) == 0
    (imported,) = (bundle / "certificates").iterdir()
    assert json.loads(imported.read_text())["verdict"] == "pass"
    assert main(command) == 0
    certificate = json.loads(out.read_text())
    assert certificate["measurement"]["target"]["host"] == "raspberrypi"
    assert check(certificate, model) == "pass"
    slower = [*command[:3], "1e-6", *command[4:]]
    assert main(slower) == 1  # what was measured holds for every budget
    assert json.loads(out.read_text())["verdict"] == "fail"


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ("--target rpi4 --runtime openvino", "--target measures with onnxruntime in f32"),
        ("--target rpi4 --batch 4", "--target measures one image at a time"),
        ("--target rpi4 --threads 3", "--threads 3: rpi4 was measured with 1"),
        ("--target rpi5", "no device 'rpi5': expected rpi4, ssh:user@host"),
        ("--target rpi4 --confidence 2", "confidence 2.0"),
    ],
)
def test_what_cannot_be_certified_there_is_refused(device, tmp_path, capsys, flags, message):
    model = write_model(tmp_path / "model.onnx")
    assert main(["certify", str(model), "--budget-ms", "5", *flags.split()]) == 2
    told = capsys.readouterr().err.strip()
    assert message in told
    assert len(told.splitlines()) == 1
    assert not (tmp_path / "device").exists()
