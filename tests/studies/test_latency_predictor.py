"""The study of the predictor, on a meter that reads the architecture instead of a clock."""

import json
import random

import latency_predictor
import numpy as np
import predictor_analysis as analysis
import pytest

from nassuite.errors import InputError
from nassuite.latency import regressors
from nassuite.latency.calibrate import Sample
from nassuite.latency.choosing import draw
from nassuite.latency.features import operator_sums
from nassuite.latency.meter import Measurement
from nassuite.records import read_json, read_jsonl
from nassuite.space_file import load_space
from nassuite.spec import Arch

TINY = load_space("tiny")


def ms_of(arch):
    """A cost for each unit of MACs, traffic and layers, and a slower one for each squeeze-and-excitation."""
    row = operator_sums(arch, 3)
    return 0.05 + 0.01 * row[-7] + 0.03 * row[-6] + 0.002 * row[-8] + 0.01 * sum(b.se for b in arch.blocks)


def write_arch(arch, path):
    path.write_text(json.dumps(arch.to_json()))


def meter(paths, target, *, seed=0, **more):
    rng = random.Random(seed)
    found = []
    for path in paths:
        ms = ms_of(Arch.from_json(json.loads(path.read_text()))) * rng.lognormvariate(0, 0.005)
        found.append(
            Measurement(
                path.name, "0" * 64, target.describe(), ((ms,),), ms / 0.2, ms / 0.2, ms / 0.2, 0.2, (1.0,), 0, {}
            )
        )  # fmt: skip
    return found


def networks(count, seed=0):
    archs = draw(TINY, count, random.Random(seed))
    return analysis.measured([Sample(a, 1.0, 1.0, False) for a in archs], [ms_of(a) for a in archs], 3)


@pytest.fixture
def arguments(tmp_path, monkeypatch):
    """Of a small study; the models that are slow to fit are left out."""
    quick = {name: regressors.MODELS[name] for name in ("macs", "costs", "ridge")}
    monkeypatch.setattr(regressors, "MODELS", quick)
    monkeypatch.setattr(latency_predictor, "export", write_arch)
    return [
        "--space", "tiny", "--size", "32", "--calibration", "48", "--held-out", "24", "--passes", "2", "--splits", "2",
        "--processes", "1", "--work", str(tmp_path / "work"), "--out", str(tmp_path / "out"),
    ]  # fmt: skip


@pytest.mark.slow
def test_from_measuring_to_the_report_and_again_from_the_records(arguments, tmp_path):
    latency_predictor.main(arguments, meter=meter)
    records = read_json(tmp_path / "out" / "records.json")["results"]
    assert records["errors"]["predictor"]["n"] == 24
    assert records["errors"]["predictor"]["mape"] < 0.05 < records["errors"]["linear in MACs"]["mape"]
    assert records["repeated"]["within_5_percent"] == 1.0
    assert [len(records[name]) for name in ("splits", "networks")] == [2, 24]
    assert {e["family"] for e in records["families"]} == set(analysis.FAMILIES)
    report = (tmp_path / "out" / "report.md").read_text()
    assert "24 networks that it has not seen" in report
    assert all(f"| {family} |" in report for family in analysis.FAMILIES)
    lines = {path.name: read_jsonl(path) for path in (tmp_path / "work").glob("*.jsonl")}
    assert {name: len(found) for name, found in lines.items()} == {
        "calibration.jsonl": 48, "held_out_1.jsonl": 24, "held_out_2.jsonl": 24,
    }  # fmt: skip
    seen = {json.dumps(line["arch"]) for line in lines["calibration.jsonl"]}
    assert not seen & {json.dumps(line["arch"]) for line in lines["held_out_1.jsonl"]}

    def unused(*_, **__):
        pytest.fail("measured again")

    latency_predictor.main([*arguments, "--analyse"], meter=unused)
    again = read_json(tmp_path / "out" / "records.json")["results"]
    assert again == records


def test_an_interrupted_study_goes_on_and_measures_nothing_twice(arguments, tmp_path):
    files = []

    def interrupted(paths, target, **more):
        files.extend(path.name for path in paths)
        if len(files) > 60:
            files[-len(paths) :] = []
            raise KeyboardInterrupt
        return meter(paths, target, **more)

    with pytest.raises(KeyboardInterrupt):
        latency_predictor.main(arguments, meter=interrupted)
    with pytest.raises(InputError, match="measurements are lacking"):
        latency_predictor.main([*arguments, "--analyse"], meter=meter)
    with pytest.raises(InputError, match="measured with another seed"):
        latency_predictor.main([*arguments, "--seed", "1"], meter=meter)
    before = len(files)

    def counted(paths, target, **more):
        files.extend(path.name for path in paths)
        return meter(paths, target, **more)

    given = latency_predictor._parser().parse_args(arguments)
    latency_predictor.measure_all(
        load_space("tiny"), given, counted, latency_predictor.Progress(enabled=False)
    )
    assert (before, len(files)) == (48, 48 + 2 * 24)
    assert len(read_jsonl(tmp_path / "work" / "held_out_2.jsonl")) == 24


def test_tau_in_bands_by_hand():
    ms = np.array([1.0, 1.05, 1.1, 1.15, 1.18, 5.0])
    assert analysis.tau_in_bands(ms, ms) == pytest.approx(1.0)
    assert analysis.tau_in_bands(-ms, ms) == pytest.approx(-1.0)
    assert analysis.tau_in_bands(np.array([1.0, 2.0]), np.array([1.0, 2.0])) is None
    swapped = np.array([1.05, 1.0, 1.1, 1.15, 1.18, 0.1])  # the far one is in no band of the others
    assert analysis.tau_in_bands(swapped, ms) == pytest.approx(0.8)


def test_paired_tests_by_hand():
    ms = np.full(20, 1.0)
    theirs = np.concatenate([np.full(12, 1.2), np.full(8, 1.01)])
    found = analysis.against(np.full(20, 1.001), theirs, ms, seed=0)
    hits = found["hits_10"]
    assert (hits["only_ours"], hits["only_theirs"], hits["points"]) == (12, 0, 60.0)
    assert hits["mcnemar_p"] == pytest.approx(2 * 0.5**12)
    assert hits["interval"][0] < 60 < hits["interval"][1]
    assert found["wilcoxon_p"] < 1e-3
    same = analysis.against(theirs, theirs * (1 + 1e-9 * np.arange(20)), ms, seed=0)
    assert same["hits_10"]["mcnemar_p"] == 1.0


def test_the_table_of_operators_knows_what_adds_up():
    train, test = networks(160), networks(40, seed=1)
    predicted = analysis.table_of_operators(train)(test.archs)
    error = np.abs(predicted / test.ms - 1).mean()
    straight = np.abs(np.median(train.ms) / test.ms - 1).mean()
    assert error < straight / 3


def test_what_processes_add_is_told_from_what_networks_take():
    rng = np.random.default_rng(0)
    networks, added = rng.normal(1, 0.5, 40), rng.normal(0, 0.04, 20)
    added -= added.mean()
    network = np.concatenate([rng.permutation(40) for _ in range(4)])
    process = np.repeat(np.arange(20), 8)
    exact, shares = analysis.additive(networks[network] + added[process], network, 0.2 + 1e-3 * process)
    assert exact == pytest.approx(networks)
    assert shares == pytest.approx(added[process])
    noise = rng.normal(0, 0.01, 160)
    found, _ = analysis.additive(networks[network] + added[process] + noise, network, 0.2 + 1e-3 * process)
    plain = np.array([(networks[network] + added[process] + noise)[network == i].mean() for i in range(40)])
    assert np.std(found - networks) < np.std(plain - networks) / 2


def test_families_left_out_are_not_in_what_is_learnt():
    train, test = networks(60), networks(40, seed=1)
    found = list(analysis._families_left_out(train, test, 0))
    assert {family for family, *_ in found} == set(analysis.FAMILIES)
    for family, others, new, asked, _ in found:
        assert not any(analysis.has(arch, family) for arch in others.archs)
        assert all(analysis.has(arch, family) for arch in [*new.archs, *asked.archs])
