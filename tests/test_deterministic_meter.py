import onnx
import pytest
import torch
from deterministic_meter import deterministic_meter, onnx_macs
from torch import nn

from nassuite.latency.certificate import certify
from nassuite.latency.cost import cost
from nassuite.latency.target import Target
from nassuite.onnx_export import export_onnx


@pytest.fixture
def model():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, stride=2, padding=1), nn.ReLU(), nn.Conv2d(8, 8, 3, padding=1, groups=8),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 4),
    )  # fmt: skip


def test_it_counts_the_macs_that_the_module_has(model, tmp_path):
    export_onnx(model, tmp_path / "m.onnx", input_shape=(3, 16, 16))
    assert onnx_macs(onnx.load(tmp_path / "m.onnx")) == cost(model, (3, 16, 16)).macs


def test_it_measures_the_same_every_time_and_certifies(model, tmp_path):
    export_onnx(model, tmp_path / "m.onnx", input_shape=(3, 16, 16))
    first, second = (deterministic_meter([tmp_path / "m.onnx"], Target())[0] for _ in range(2))
    assert first == second
    assert certify(first, first.p50_ms * 1.02).verdict == "pass"
    assert certify(first, first.p50_ms * 0.9).verdict == "fail"
