import ast
import hashlib
import itertools
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper

from nassuite.errors import InputError
from nassuite.latency import protocol
from nassuite.latency.meter import Measurement, Sampling, bootstrap_interval, measure, normalised_ms
from nassuite.latency.protocol import allowed_cores
from nassuite.latency.reference import reference_model
from nassuite.latency.target import Target

QUICK = Sampling(processes=2, rounds=6, repeats=2, least_rounds=6, warmup=2)


def tiny_model(shape=("N", 3, 8, 8), kind=TensorProto.FLOAT):
    """Two element-wise nodes on an input of ``shape``."""
    nodes = [helper.make_node("Add", ["image", "image"], ["sum"]), helper.make_node("Neg", ["sum"], ["out"])]
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info("image", kind, shape)],
        [helper.make_tensor_value_info("out", kind, None)],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def unknown_operator(name, domain):
    model = tiny_model()
    model.graph.node[1].op_type, model.graph.node[1].domain = name, domain
    if domain:
        model.opset_import.append(helper.make_opsetid(domain, 1))
    return model


@pytest.fixture
def files(tmp_path):
    onnx.save(tiny_model(), tmp_path / "tiny.onnx")
    (tmp_path / "reference.onnx").write_bytes(reference_model())
    return [tmp_path / "tiny.onnx", tmp_path / "reference.onnx"]


# The real thing, in real processes.


def test_every_file_gets_its_samples_in_order(files):
    tiny, reference = measure(files, Target(), sampling=QUICK, seed=1)
    assert (tiny.file, reference.file) == ("tiny.onnx", "reference.onnx")
    assert reference.sha256 == hashlib.sha256(reference_model()).hexdigest()
    for measurement in (tiny, reference):
        assert [len(process) for process in measurement.samples_ms] == [12, 12]
        assert 0 < measurement.min_ms <= measurement.p50_ms <= measurement.p90_ms
        assert measurement.ratio_low <= measurement.ratio <= measurement.ratio_high
        assert Measurement.from_json(json.loads(json.dumps(measurement.to_json()))) == measurement
    assert tiny.ratio < reference.ratio
    assert tiny.target == Target().describe()


def test_more_files_than_a_process_holds_are_split(files):
    sampling = Sampling(processes=1, rounds=3, repeats=1, least_rounds=3, warmup=2, group=2)
    measurements = measure([files[0]] * 3, Target(), sampling=sampling)
    assert [len(m.samples_ms) for m in measurements] == [1, 1, 1]


def test_slow_models_get_fewer_rounds_but_never_too_few(files):
    sampling = Sampling(processes=1, rounds=50, repeats=1, least_rounds=4, seconds=1e-9, warmup=2)
    (measurement,) = measure(files[:1], Target(), sampling=sampling)
    assert len(measurement.samples_ms[0]) == 4


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: b"not a model", "cannot run it: it is not an ONNX file"),
        (lambda: b"", "it is not an ONNX file"),
        (lambda: unknown_operator("Frobnicate", "").SerializeToString(), "it has no operator .*Frobnicate"),
        (
            lambda: unknown_operator("Fancy", "com.acme").SerializeToString(),
            "it has no operator com.acme:Fancy",
        ),
        (lambda: tiny_model(("N", 3, "H", "W")).SerializeToString(), "unknown shape"),
        (lambda: tiny_model((4, 3, 8, 8)).SerializeToString(), "batch is fixed at 4, not 1"),
        (lambda: tiny_model(kind=TensorProto.INT32).SerializeToString(), r"input image is a tensor\(int32\)"),
    ],
)
def test_a_file_that_cannot_be_measured_is_named_in_one_line(make, message, files, tmp_path):
    bad = tmp_path / "bad.onnx"
    bad.write_bytes(make())
    with pytest.raises(InputError, match=message) as caught:
        measure([files[0], bad], Target(), sampling=QUICK)
    assert str(bad) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_absent_file_is_refused(tmp_path):
    with pytest.raises(InputError, match="no such file"):
        measure([tmp_path / "absent.onnx"], Target())


def test_nothing_to_measure_is_nothing_measured():
    assert measure([], Target()) == []


def test_a_process_that_dies_is_reported(files, tmp_path, monkeypatch):
    dying = tmp_path / "dying.py"
    dying.write_text("import os, signal\nos.kill(os.getpid(), signal.SIGKILL)\n")
    monkeypatch.setattr(protocol, "WORKER", dying)
    with pytest.raises(RuntimeError, match=r"tiny.onnx ended with -9"):
        measure(files[:1], Target(), sampling=QUICK)


# The arithmetic, on processes that are made up.


def fake_worker(aa_ratios, *, drift=0.0, cpu_shares=None, paces=None):
    """Stands in for ``run_worker``: candidate i takes i reference times; the A/A ratios, the last
    candidate's shares of the core and the reference's milliseconds are as given, one for each process.
    """
    ratios, ms = iter(aa_ratios), iter(paces or itertools.repeat(1.0))
    shares = iter(cpu_shares or [])
    rng = np.random.default_rng(0)

    def run(request):
        speed = [1.0, *(float(i) for i in range(1, len(request["models"]) + 1)), next(ratios)]
        slower = next(ms) * (
            1 + drift * np.linspace(0, 1, request["rounds"])[rng.permutation(request["rounds"])]
        )
        slower = slower[None, :, None]
        times = 1e6 * np.array(speed)[:, None, None] * slower * np.ones((1, 1, request["repeats"]))
        cpu = times.copy()
        if cpu_shares:
            cpu[-2] *= next(shares)
        return {"samples_ns": times.tolist(), "cpu_ns": cpu.tolist() if cpu_shares else None}

    return run


def test_drift_cancels_in_the_ratio(files, monkeypatch):
    monkeypatch.setattr(protocol, "run_worker", fake_worker([1.0, 1.0], drift=3.0))
    measurements = measure(files, Target(), sampling=QUICK)
    assert [m.ratio for m in measurements] == pytest.approx([1.0, 2.0])
    assert measurements[1].ratio_high - measurements[1].ratio_low < 1e-9
    assert measurements[1].p90_ms > 1.2 * measurements[1].p50_ms


def test_a_process_whose_reference_disagrees_with_itself_is_run_again(files, monkeypatch):
    monkeypatch.setattr(protocol, "run_worker", fake_worker([1.1, 1.01, 1.0]))
    (measurement,) = measure(files[:1], Target(), sampling=QUICK)
    assert measurement.rejected == 1
    assert measurement.aa_ratios == pytest.approx((1.01, 1.0))
    assert not measurement.noisy


def test_after_three_attempts_the_best_is_kept_and_marked(files, monkeypatch):
    monkeypatch.setattr(protocol, "run_worker", fake_worker([1.2, 0.95, 1.1, 1.0]))
    (measurement,) = measure(files[:1], Target(), sampling=QUICK)
    assert measurement.rejected == 2
    assert measurement.aa_ratios == pytest.approx((0.95, 1.0))
    assert measurement.noisy


def test_a_process_that_shared_its_core_is_run_again(files, monkeypatch):
    monkeypatch.setattr(protocol, "run_worker", fake_worker([1.0] * 3, cpu_shares=[0.5, 1.0, 0.99]))
    first, second = measure(files, Target(), sampling=QUICK)
    assert (first.rejected, second.rejected) == (1, 1)
    assert first.cpu_shares == pytest.approx((1.0, 1.0))
    assert second.cpu_shares == pytest.approx((1.0, 0.99))
    assert not second.noisy


def test_only_the_model_that_was_disturbed_is_noisy(files, monkeypatch):
    monkeypatch.setattr(protocol, "run_worker", fake_worker([1.0] * 4, cpu_shares=[0.5, 0.7, 0.6, 1.0]))
    first, second = measure(files, Target(), sampling=QUICK)
    assert second.cpu_shares == pytest.approx((0.7, 1.0))
    assert (first.noisy, second.noisy) == (False, True)


FOUR = Sampling(processes=4, rounds=6, repeats=2, least_rounds=6, warmup=2)


def test_a_process_in_which_the_machine_was_slower_is_run_again(files, monkeypatch):
    monkeypatch.setattr(
        protocol, "run_worker", fake_worker([1.0] * 6, paces=[1.0, 1.5, 1.05, 1.5, 1.0, 0.97])
    )
    (measurement,) = measure(files[:1], Target(), sampling=FOUR)
    assert measurement.rejected == 2
    assert measurement.paces_ms == pytest.approx((1.0, 1.0, 1.05, 0.97))
    assert measurement.steady
    assert not measurement.noisy


def test_a_machine_that_stays_slower_is_measured_as_it_is(files, monkeypatch):
    monkeypatch.setattr(protocol, "run_worker", fake_worker([1.0] * 5, paces=[1.0, 1.5, 1.5, 1.5, 1.5]))
    (measurement,) = measure(files[:1], Target(), sampling=FOUR)
    assert measurement.rejected == 1
    assert measurement.paces_ms == pytest.approx((1.5,) * 4)
    assert measurement.p50_ms == pytest.approx(1.5)
    assert not measurement.noisy


def test_a_machine_of_two_speeds_is_noisy_after_three_attempts(files, monkeypatch):
    monkeypatch.setattr(protocol, "run_worker", fake_worker([1.0] * 8, paces=[1.0, 1.5] * 2 + [1.5] * 4))
    (measurement,) = measure(files[:1], Target(), sampling=FOUR)
    assert measurement.rejected == 4
    assert measurement.paces_ms == pytest.approx((1.0, 1.5, 1.0, 1.5))
    assert measurement.noisy
    assert Measurement.from_json(measurement.to_json()).noisy


@given(st.lists(st.floats(0.5, 2.0), min_size=1, max_size=9))
def test_the_middle_pace_is_kept_and_what_is_near_it(paces):
    out = protocol.out_of_pace([[0]] * len(paces), paces)
    kept = [pace for number, pace in enumerate(paces) if number not in out]
    assert max(kept) / min(kept) <= protocol.PACE**2 * (1 + 1e-9)
    middle = sorted(paces)[(len(paces) - 1) // 2]
    assert middle in kept
    assert protocol.out_of_pace([[n] for n in range(len(paces))], paces) == []


def test_every_process_has_a_seed_of_its_own(files, monkeypatch):
    seeds, worker = [], fake_worker([1.0, 1.5, 1.0, 1.0, 1.0])
    monkeypatch.setattr(
        protocol, "run_worker", lambda request: seeds.append(request["seed"]) or worker(request)
    )
    measure(files[:1], Target(), sampling=QUICK, seed=0)
    measure(files[:1], Target(), sampling=QUICK, seed=1)
    assert len(set(seeds)) == len(seeds) == 5


def test_normalised_milliseconds_ignore_how_fast_the_machine_was(files, monkeypatch):
    monkeypatch.setattr(protocol, "run_worker", fake_worker([1.0] * 2))
    slow = measure(files, Target(), sampling=QUICK)
    assert normalised_ms(slow) == pytest.approx([1.0, 2.0])


def test_processes_that_disagree_widen_the_interval():
    rng = np.random.default_rng(0)
    alike = [rng.normal(1.0, 0.01, 100) for _ in range(4)]
    apart = [process + shift for process, shift in zip(alike, (-0.05, -0.02, 0.02, 0.05), strict=True)]
    narrow, wide = bootstrap_interval(alike, seed=0), bootstrap_interval(apart, seed=0)
    assert narrow[0] < 1.0 < narrow[1]
    assert wide[1] - wide[0] > 5 * (narrow[1] - narrow[0])


def test_the_bootstrap_interval_covers_the_median_as_often_as_it_says():
    rng = np.random.default_rng(0)
    covered = 0
    for trial in range(60):
        low, high = bootstrap_interval([rng.lognormal(0.0, 0.1, 50)], seed=trial)
        covered += low <= 1.0 <= high
    assert covered >= 51  # 95 % of 60 are 57; under 51 has a probability of 0.4 %


def test_cores_are_chosen_among_those_allowed():
    cores = protocol.least_busy_cores(1)
    assert set(cores) <= set(allowed_cores())
    assert len(cores) == min(1, len(allowed_cores()))


def test_the_idlest_core_is_taken(monkeypatch):
    ticks = iter([{0: 100, 1: 100, 2: 100}, {0: 105, 1: 110, 2: 101}])
    monkeypatch.setattr(protocol, "allowed_cores", lambda: [0, 1, 2])
    monkeypatch.setattr(protocol, "_idle_ticks", lambda: next(ticks))
    monkeypatch.setattr(protocol, "CORE_WATCH_SECONDS", 0.0)
    assert protocol.least_busy_cores(1) == [1]


# What it is made of.


@pytest.mark.parametrize("file", [protocol.WORKER, Path(protocol.__file__)], ids=lambda path: path.name)
def test_what_goes_to_a_device_needs_numpy_and_onnxruntime_only(file):
    tree = ast.parse(file.read_text())
    imported = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    imported |= {str(node.module) for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    packages = {name.partition(".")[0] for name in imported}
    assert packages - sys.stdlib_module_names == {"numpy", "onnxruntime"}


def test_the_meter_and_its_neighbours_do_not_import_torch():
    modules = "meter, certificate, target, features"
    code = f"import sys; from nassuite.latency import {modules}; print({{'torch', 'sklearn'}} & set(sys.modules))"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "set()"


def test_the_reference_is_the_same_everywhere_and_computes_something():
    assert hashlib.sha256(reference_model()).hexdigest().startswith("3235f873a8eacbcb")
    import onnxruntime

    session = onnxruntime.InferenceSession(reference_model(), providers=["CPUExecutionProvider"])
    images = np.random.default_rng(0).random((2, 3, 32, 32), dtype=np.float32)
    (logits,) = session.run(None, {"image": images})
    assert logits.shape == (2, 10, 1, 1)
    # Far from the denormal numbers, which would make its speed depend on its values.
    assert 1e-3 < np.abs(logits).max() < 1e6
