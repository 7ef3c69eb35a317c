import json
from collections import Counter

import pytest
from deterministic_meter import REFERENCE_MS, deterministic_meter
from hypothesis import given, settings
from hypothesis import strategies as st
from small_spaces import DIGIT, INTERFACE, SIX, arch_of, space_of

from nassuite.latency import calibrate
from nassuite.latency.calibrate import Sample, calibration_archs, measure_archs
from nassuite.latency.target import Target
from nassuite.nn.network import build
from nassuite.onnx_export import export_onnx
from nassuite.space import Stage
from nassuite.space_file import load_space

TARGET = Target()


def export(arch, path):
    export_onnx(build(arch, INTERFACE), path, input_shape=(3, arch.resolution, arch.resolution), check=False)


@settings(max_examples=25)
@given(st.sampled_from([SIX, DIGIT, load_space("tiny")]), st.integers(20, 80), st.integers(0, 1000))
def test_no_repeats_both_ends_and_every_operator(space, count, seed):
    archs = calibration_archs(space, count, seed)
    assert len(archs) == count
    assert len(set(archs)) == len(archs)
    for operator in space.operators:
        assert {space.extreme("smallest", operator), space.extreme("largest", operator)} <= set(archs)
    for arch in archs:
        space.encode(arch)  # raises where it is not in the space
    assert calibration_archs(space, count, seed) == archs


def test_every_operator_is_seen_alone_and_mixed():
    archs = calibration_archs(SIX, 200, 0)
    alone = Counter(arch.blocks[0].op for arch in archs if len({b.op for b in arch.blocks}) == 1)
    assert set(alone) == set(SIX.operators)
    assert min(alone.values()) > 5
    mixed = [arch for arch in archs if len({b.op for b in arch.blocks}) > 2]
    assert len(mixed) > 50
    assert {b.op for arch in mixed for b in arch.blocks} == set(SIX.operators)


def test_seeds_differ():
    assert calibration_archs(SIX, 40, 0) != calibration_archs(SIX, 40, 1)


@pytest.mark.parametrize("widths", [(8,), (8, 16)])
@pytest.mark.parametrize("operators", [("dwcb",), ("ghost", "shuffle")])
def test_small_spaces_are_measured_whole(widths, operators):
    space = space_of(Stage(widths, (1,), 2, operators, (3, 5), (2.0,)))
    archs = calibration_archs(space, 1000, 0)
    assert len(set(archs)) == len(archs) == space.size


def test_samples_are_what_the_meter_says():
    archs = calibration_archs(DIGIT, 5, 0)
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
    archs = calibration_archs(DIGIT, 6, 0)
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

    measure_archs(calibration_archs(DIGIT, 2, 0)[:2], export, meter, TARGET)
    assert len(seen) == 2
    assert not any(path.exists() for path in seen)


@given(st.integers(0, 1000), st.floats(0.1, 10), st.booleans())
def test_json_round_trip(seed, ratio, noisy):
    sample = Sample(arch_of(SIX, seed), ratio, 0.2, noisy)
    assert Sample.from_json(json.loads(json.dumps(sample.to_json()))) == sample
