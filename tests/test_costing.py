"""``nassuite cost``, with a stand-in for the meter."""

import json
from dataclasses import replace

import pytest
from deterministic_meter import deterministic_meter
from torch import nn

from nassuite import costing
from nassuite.cli import main
from nassuite.costing import network_cost, part_times
from nassuite.latency.cost import cost
from nassuite.latency.target import RUNTIMES, Target
from nassuite.onnx_export import export_onnx


def small(num_classes):
    """What ``test_costing:small`` names."""
    return nn.Sequential(
        nn.Conv2d(3, 16, 3, 2, 1, bias=False), nn.BatchNorm2d(16), nn.ReLU(),
        nn.Conv2d(16, 48, 1), nn.Hardswish(), nn.Conv2d(48, 48, 3, padding=1, groups=48),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(48, num_classes),
    )  # fmt: skip


@pytest.fixture
def quick(monkeypatch):
    monkeypatch.setattr(costing, "profile", lambda *a, **k: REAL(*a, **{**k, "seconds": 0.01}))
    monkeypatch.setattr(
        network_cost, "__kwdefaults__", {**network_cost.__kwdefaults__, "meter": deterministic_meter}
    )


REAL = costing.profile


def test_a_factory_is_counted_timed_and_told_what_it_breaks(quick, tmp_path, capsys):
    out = tmp_path / "cost.json"
    assert main(["cost", "test_costing:small", "--size", "16", "--json", str(out)]) == 0
    text, found = capsys.readouterr().out, json.loads(out.read_text())
    counted = cost(small(1000), (3, 16, 16))
    assert found["cost"]["macs"] == counted.macs
    assert found["params"] == counted.params
    assert f"{counted.params:,} parameters, {counted.macs:,} MACs" in text
    assert all(f"{name} " in text for name in ("G1", "G2", "G3", "G4"))
    assert "G2 groups: kept" in text
    assert "G1 unequal widths: 1 places" in text
    assert sum(row["macs"] for row in found["rows"]) == counted.macs
    assert found["memory_access_bytes_per_mac"] == found["cost"]["memory_access_bytes"] / counted.macs
    assert sum(row["ms"] or 0.0 for row in found["rows"]) == pytest.approx(
        sum(kernel["ms"] for kernel in found["profile"]["kernels"] if kernel["operator"] is not None)
    )


def test_the_time_of_a_file_is_led_back_to_its_modules(quick, tmp_path):
    path = tmp_path / "model.onnx"
    export_onnx(small(7), path, input_shape=(3, 16, 16), check=False)
    found = part_times(path, ["0", "5", "nothing"], Target())
    spent = {part["name"]: part["ms"] for part in found["parts"]}
    assert list(spent) == ["0", "5", "nothing"]
    assert spent["0"] > 0
    assert spent["5"] > 0
    assert spent["nothing"] == 0
    assert sum(spent.values()) < found["total_ms"]
    assert found["runs"] >= 20


def test_what_runs_elsewhere_is_not_profiled_here(tmp_path):
    elsewhere = Target.elsewhere({**Target().describe(), "host": "phone"})
    assert part_times(tmp_path / "absent.onnx", ["stem"], elsewhere) is None


def test_a_file_is_counted_without_its_module(quick, tmp_path, capsys):
    export_onnx(small(7), tmp_path / "model.onnx", input_shape=(3, 16, 16), check=False)
    by_folder = network_cost(str(tmp_path), alternatives=0)
    by_file = network_cost(str(tmp_path / "model.onnx"), alternatives=0)
    assert by_folder.cost == by_file.cost
    assert by_file.cost.macs == cost(small(7), (3, 16, 16)).macs
    assert by_file.in_shape == (3, 16, 16)
    assert all(f.extra_ms is None for f in by_file.findings if f.guideline != "G4")


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("cost nowhere.onnx", "no such file"),
        ("cost mobilenet_v9", "did you mean"),
        ("cost {empty}", "holds no model (no model.onnx)"),
        ("cost {text}", "text.onnx"),
        ("cost mobilenet_v2 --size 4", "--size 4"),
        ("cost mobilenet_v2 --alternatives -1", "--alternatives -1"),
        ("cost test_costing:nothing", "cannot be imported"),
    ],
)
def test_refused_in_one_line(command, message, tmp_path, capsys):
    (tmp_path / "empty").mkdir()
    (tmp_path / "text.onnx").write_text("no model")
    places = {"empty": tmp_path / "empty", "text": tmp_path / "text.onnx"}
    assert main([word.format(**places) for word in command.split()]) == 2
    err = capsys.readouterr().err.strip()
    assert message in err
    assert len(err.splitlines()) == 1


def test_a_runtime_without_a_profile_is_told_and_still_counted(quick, tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(RUNTIMES, "openvino", replace(RUNTIMES["openvino"], distributions=("numpy",)))
    out = tmp_path / "cost.json"
    command = "cost test_costing:small --size 16 --runtime openvino --precision f32 --json"
    assert main([*command.split(), str(out)]) == 0
    text, found = capsys.readouterr().out, json.loads(out.read_text())
    assert "openvino has no profile here" in text
    assert found["profile"] is None
    assert found["target"]["runtime"] == "openvino"
    assert all(row["ms"] is None for row in found["rows"])
    assert {f["guideline"] for f in found["findings"]} == {"G1", "G4"}
    assert all(f["ms"] is None for f in found["findings"])
    (unequal,) = [f for f in found["findings"] if f["guideline"] == "G1"]
    assert unequal["extra_ms"] is not None  # measured beside its alternative, in that runtime


@pytest.mark.parametrize(
    "command",
    ["cost mobilenet_v2", "zoo bench mobilenet_v2", "zoo compare lenet5 --out nowhere"],
)
def test_a_runtime_that_is_not_installed_is_refused_first(command, capsys, monkeypatch):
    monkeypatch.setitem(RUNTIMES, "openvino", replace(RUNTIMES["openvino"], distributions=("no-such-thing",)))
    assert main([*command.split(), "--runtime", "openvino"]) == 2
    told = capsys.readouterr().err.strip()
    assert told == "nassuite: --runtime openvino is not installed here: pip install no-such-thing"
