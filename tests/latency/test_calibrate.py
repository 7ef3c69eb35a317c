import json
import random

import pytest
from deterministic_meter import REFERENCE_MS, deterministic_meter
from hypothesis import given
from hypothesis import strategies as st
from small_spaces import DIGIT, INTERFACE, SIX, arch_of

from nassuite.latency import calibrate
from nassuite.latency.calibrate import Sample, measure_archs
from nassuite.latency.choosing import draw
from nassuite.latency.target import Target
from nassuite.nn.network import build
from nassuite.onnx_export import export_onnx

TARGET = Target()


def export(arch, path):
    export_onnx(build(arch, INTERFACE), path, input_shape=(3, arch.resolution, arch.resolution), check=False)


def test_samples_are_what_the_meter_says():
    archs = [DIGIT.extreme("smallest"), DIGIT.extreme("largest"), *draw(DIGIT, 3, random.Random(0))]
    saved: list[Sample] = []
    samples = measure_archs(archs, export, deterministic_meter, TARGET, save=saved.append)
    assert [sample.arch for sample in samples] == archs
    assert saved == samples
    assert all(sample.reference_ms == REFERENCE_MS for sample in samples)
    assert not any(sample.noisy for sample in samples)
    largest = next(s for s in samples if s.arch == DIGIT.extreme("largest"))
    smallest = next(s for s in samples if s.arch == DIGIT.extreme("smallest"))
    assert largest.ratio > smallest.ratio


def test_what_is_known_is_not_measured_again(monkeypatch):
    monkeypatch.setattr(calibrate, "BATCH", 2)
    archs = draw(DIGIT, 6, random.Random(0))
    exported, saved, batches = [], [], []

    def meter(paths, target, **more):
        batches.append(len(paths))
        if len(batches) == 2:
            raise KeyboardInterrupt
        return deterministic_meter(paths, target, **more)

    def counted(arch, path):
        exported.append(arch)
        export(arch, path)

    with pytest.raises(KeyboardInterrupt):
        measure_archs(archs, counted, meter, TARGET, save=saved.append)
    assert [sample.arch for sample in saved] == archs[:2]
    exported.clear()
    rest = measure_archs(archs, counted, meter, TARGET, known=saved, save=saved.append)
    assert exported == archs[2:]
    assert [sample.arch for sample in rest] == [sample.arch for sample in saved] == archs
    assert measure_archs(archs, counted, meter, TARGET, known=saved) == rest
    assert len(exported) == 4


def test_files_are_there_for_the_meter_and_gone_afterwards():
    seen = []

    def meter(paths, target, **more):
        assert all(path.is_file() for path in paths)
        seen.extend(paths)
        return deterministic_meter(paths, target, **more)

    measure_archs(draw(DIGIT, 2, random.Random(0)), export, meter, TARGET)
    assert len(seen) == 2
    assert not any(path.exists() for path in seen)


@given(st.integers(0, 1000), st.floats(0.1, 10), st.booleans(), st.booleans())
def test_json_round_trip(seed, ratio, noisy, drawn):
    sample = Sample(arch_of(SIX, seed), ratio, 0.2, noisy, drawn)
    assert Sample.from_json(json.loads(json.dumps(sample.to_json()))) == sample
