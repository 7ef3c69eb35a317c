"""nassuite latency measure and nassuite certify, on real files."""

import json

import pytest
from torch import nn

from nassuite.cli import main
from nassuite.onnx_export import export_onnx


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = tmp_path_factory.mktemp("deployed")
    network = nn.Sequential(nn.Conv2d(3, 8, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    export_onnx(network, folder / "model.onnx", input_shape=(3, 16, 16))
    return folder / "model.onnx"


def test_measured_beside_each_other(model, tmp_path, capsys):
    out = tmp_path / "found.json"
    assert main(["latency", "measure", str(model), str(model.parent), "--json", str(out)]) == 0
    assert capsys.readouterr().out.count("model.onnx") >= 1
    found = json.loads(out.read_text())
    assert [entry["model"] for entry in found] == [str(model), str(model.parent)]
    assert found[0]["sha256"] == found[1]["sha256"]


def test_a_certificate_is_checked_from_its_samples(model, tmp_path, capsys):
    certificate = tmp_path / "certificate.json"
    code = main(["certify", str(model), "--budget-ms", "1000", "--out", str(certificate)])
    value = json.loads(certificate.read_text())
    assert code == (0 if value["verdict"] == "pass" else 1)
    assert main(["certify", str(model), "--check", str(certificate)]) == code
    assert main(["certify", str(model.parent), "--check", str(tmp_path)]) == code
    assert value["verdict"] in capsys.readouterr().out
    value["verdict"] = "fail"
    certificate.write_text(json.dumps(value))
    assert main(["certify", str(model), "--check", str(certificate)]) == 2
    assert "its samples say" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("certify", "takes a model and --budget-ms"),
        ("certify nowhere.onnx --budget-ms 1", "no such file"),
        (
            "certify --check nowhere.json",
            "--check nowhere.json is not there: expected the JSON file that nassuite certify",
        ),
        ("certify --check {empty}", "holds no certificate.json: expected"),
        (
            "certify --check {text}",
            "is no certificate: expected the JSON file that nassuite certify --out wrote",
        ),
        ("certify {model} --budget-ms 1 --out {empty}", "empty is a folder: give the name of a file"),
        ("certify {model} --budget-ms 1 --out {text}/below", "text.onnx/below: cannot write to"),
        ("latency measure {model} --json {empty}", "empty is a folder: give the name of a file"),
        ("certify {model} --budget-ms 1 --threads 0", "--threads 0"),
        ("latency measure nowhere.onnx", "no such file"),
        ("latency measure mobilenet_v9", "did you mean"),
        ("latency measure {empty}", "holds no model (no model.onnx)"),
        ("latency measure {text}", "cannot run it"),
    ],
)
def test_refused_in_one_line(command, message, model, tmp_path, capsys):
    (tmp_path / "empty").mkdir()
    (tmp_path / "text.onnx").write_text("no model")
    places = {"model": model, "empty": tmp_path / "empty", "text": tmp_path / "text.onnx"}
    assert main([word.format(**places) for word in command.split()]) == 2
    err = capsys.readouterr().err.strip()
    assert message in err
    assert len(err.splitlines()) == 1
