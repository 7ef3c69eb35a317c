"""Samples of earlier runs are used again on the same target; certificates never are."""

import json
import threading
from dataclasses import replace

import onnx
import pytest
from deterministic_meter import deterministic_meter
from onnx import numpy_helper
from torch import nn

from nassuite.latency.cache import CachedMeter, graph_digest
from nassuite.latency.meter import CALIBRATION, CERTIFICATE
from nassuite.latency.target import Target
from nassuite.onnx_export import export_onnx


class Counting:
    """The deterministic meter; remembers what it was given."""

    def __init__(self, noisy=False):
        self.given, self.noisy = [], noisy

    def __call__(self, paths, target, **more):
        self.given += [path.name for path in paths]
        found = deterministic_meter(paths, target, **more)
        return [replace(m, aa_ratios=(1.5,)) for m in found] if self.noisy else found


def export(path, width=8, bound=6.0):
    layers = [nn.Conv2d(3, width, 3), nn.Hardtanh(0.0, bound), nn.AdaptiveAvgPool2d(1), nn.Flatten()]
    export_onnx(nn.Sequential(*layers), path, input_shape=(3, 16, 16), check=False)
    return path


@pytest.fixture
def paths(tmp_path):
    return [export(tmp_path / "a.onnx"), export(tmp_path / "b.onnx", width=16)]


def test_the_second_run_measures_nothing(paths, tmp_path):
    counting = Counting()
    first = CachedMeter(counting, tmp_path / "cache")
    found = first(paths, Target(), sampling=CALIBRATION)
    again = CachedMeter(counting, tmp_path / "cache")
    assert again(paths, Target(), sampling=CALIBRATION) == found
    assert counting.given == ["a.onnx", "b.onnx"]
    assert (first.hits, again.hits) == (0, 2)


def test_what_is_new_is_measured_and_stands_in_its_place(paths, tmp_path):
    counting = Counting()
    meter = CachedMeter(counting, tmp_path / "cache")
    meter(paths[1:], Target(), sampling=CALIBRATION)
    assert meter(paths, Target(), sampling=CALIBRATION) == deterministic_meter(
        paths, Target(), sampling=CALIBRATION
    )
    assert counting.given == ["b.onnx", "a.onnx"]


def test_certificates_are_never_from_the_cache(paths, tmp_path):
    counting = Counting()
    meter = CachedMeter(counting, tmp_path / "cache")
    for _ in range(2):
        meter(paths, Target(), sampling=CERTIFICATE)
    assert len(counting.given) == 4
    assert not (tmp_path / "cache").exists()


@pytest.mark.parametrize(
    "other",
    [
        Target(batch=2),
        Target("torch"),
        Target.elsewhere({**Target().describe(), "host": "another"}),
        Target.elsewhere({**Target().describe(), "runtime_version": "0.1"}),
        Target.elsewhere({**Target().describe(), "precision": "bf16"}),
    ],
    ids=["batch", "runtime", "host", "version", "precision"],
)
def test_another_target_knows_nothing_of_it(other, paths, tmp_path):
    counting = Counting()
    meter = CachedMeter(counting, tmp_path / "cache")
    for target in (Target(), other):
        meter(paths, target, sampling=CALIBRATION)
    assert len(counting.given) == 4


def test_noisy_measurements_are_not_kept(paths, tmp_path):
    counting = Counting(noisy=True)
    for _ in range(2):
        CachedMeter(counting, tmp_path / "cache")(paths, Target(), sampling=CALIBRATION)
    assert len(counting.given) == 4


@pytest.mark.parametrize("damage", ["", "{", "[]", "{}", '{"key": 1, "measurement": {}}', "\x00\xff"])
def test_a_damaged_file_is_measured_again_and_mended(damage, paths, tmp_path):
    counting = Counting()
    meter = CachedMeter(counting, tmp_path / "cache")
    found = meter(paths[:1], Target(), sampling=CALIBRATION)
    (file,) = (tmp_path / "cache").rglob("*.json")
    whole = file.read_text()
    file.write_text(damage)
    assert meter(paths[:1], Target(), sampling=CALIBRATION) == found
    assert file.read_text() == whole
    assert len(counting.given) == 2


def test_a_file_of_another_key_is_not_believed(paths, tmp_path):
    counting = Counting()
    meter = CachedMeter(counting, tmp_path / "cache")
    meter(paths[:1], Target(), sampling=CALIBRATION)
    (file,) = (tmp_path / "cache").rglob("*.json")
    file.write_text(json.dumps({**json.loads(file.read_text()), "key": "of another target"}))
    meter(paths[:1], Target(), sampling=CALIBRATION)
    assert len(counting.given) == 2


def test_a_cache_that_cannot_be_written_stops_nothing(paths, tmp_path):
    (tmp_path / "cache").write_text("a file")
    found = CachedMeter(deterministic_meter, tmp_path / "cache")(paths, Target(), sampling=CALIBRATION)
    assert [m.file for m in found] == ["a.onnx", "b.onnx"]


def test_writers_at_once_leave_whole_files(paths, tmp_path):
    def run():
        for _ in range(5):
            for file in (tmp_path / "cache").rglob("*.json"):
                file.unlink(missing_ok=True)
            CachedMeter(deterministic_meter, tmp_path / "cache")(paths, Target(), sampling=CALIBRATION)

    threads = [threading.Thread(target=run) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    counting = Counting()
    CachedMeter(counting, tmp_path / "cache")(paths, Target(), sampling=CALIBRATION)
    for file in (tmp_path / "cache").rglob("*.json"):
        json.loads(file.read_text())
    assert len(list((tmp_path / "cache").rglob("*.json"))) == 2


def test_a_graph_is_known_by_what_its_time_depends_on(tmp_path):
    digest = graph_digest(export(tmp_path / "a.onnx"))
    assert graph_digest(export(tmp_path / "other weights.onnx")) == digest
    assert graph_digest(export(tmp_path / "wider.onnx", width=16)) != digest
    assert graph_digest(export(tmp_path / "other bound.onnx", bound=4.0)) != digest
    model = onnx.load(tmp_path / "a.onnx")
    model.graph.input[0].type.tensor_type.shape.dim[2].dim_value = 32
    onnx.save(model, tmp_path / "larger.onnx")
    assert graph_digest(tmp_path / "larger.onnx") != digest
    sizes = [numpy_helper.to_array(t).size for t in model.graph.initializer]
    assert max(sizes) > 1
