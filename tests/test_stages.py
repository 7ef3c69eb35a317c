"""What a machine that changes its pace does to a run: on a tiny run's supernet and latencies."""

import dataclasses
import json
import shutil

import numpy as np
import pytest
from deterministic_meter import deterministic_meter
from test_limits import flow_of
from tiny_runs import LOOSE_MS

from nassuite.flow import prepare
from nassuite.hand_over import deploy_budget
from nassuite.progress import SILENT
from nassuite.run_directory import RunDirectory
from nassuite.stages import follow_pace


def meter_at(*paces):
    """A machine that takes so many times as long at each measurement, and from then on as at the last."""
    left = list(paces)

    def meter(paths, target, **settings):
        pace = left.pop(0) if len(left) > 1 else left[0]
        return [
            dataclasses.replace(m, reference_ms=pace * m.reference_ms)
            for m in deterministic_meter(paths, target, **settings)
        ]

    return meter


@pytest.fixture(autouse=True)
def no_pause(monkeypatch):
    monkeypatch.setattr("nassuite.stages.PACE_PAUSE", 0.0)


def test_predictions_follow_the_pace_of_the_machine_and_keep_it(tiny_run, tmp_path):
    flow = flow_of(tiny_run, tmp_path / "run", LOOSE_MS)
    arch = flow.space.extreme("largest")
    before = flow.predict_ms(arch)
    flow.meter = meter_at(1.6, 1.4, 1.5)
    follow_pace(flow)
    assert flow.predict_ms(arch) == pytest.approx(1.5 * before)
    reference_ms = np.median([sample.reference_ms for sample in flow.samples])
    kept = json.loads(flow.run.pace.read_text())
    assert kept["pace"] == pytest.approx(1.5)
    assert kept["reference_ms"] == pytest.approx([1.6 * reference_ms, 1.4 * reference_ms, 1.5 * reference_ms])
    flow.meter = deterministic_meter
    follow_pace(flow)  # a search that goes on predicts what it predicted
    assert flow.predict_ms(arch) == pytest.approx(1.5 * before)


@pytest.mark.parametrize("paces", [(1.04,), (1.5, 1.0, 1.0), (0.5, 1.0, 1.6)])
def test_what_lasts_for_seconds_is_no_change(tiny_run, tmp_path, paces):
    flow = flow_of(tiny_run, tmp_path / "run", LOOSE_MS)
    before = flow.predict_ms(flow.space.extreme("largest"))
    flow.meter = meter_at(*paces)
    follow_pace(flow)
    assert flow.predict_ms(flow.space.extreme("largest")) == before


def test_a_search_that_began_without_a_pace_goes_on_without(tiny_run, tmp_path):
    flow = flow_of(tiny_run, tmp_path / "run", LOOSE_MS, trials=1)
    before = flow.predict_ms(flow.space.extreme("largest"))
    flow.run.journal.touch()
    flow.meter = meter_at(1.5)
    follow_pace(flow)
    assert flow.predict_ms(flow.space.extreme("largest")) == before
    assert not flow.run.pace.exists()


def test_a_budget_missed_by_a_machine_grown_slow_says_so(tiny_run, tmp_path):
    shutil.copytree(tiny_run.run, tmp_path / "run")
    run = RunDirectory(tmp_path / "run")
    flow = prepare(run, run.read_settings()[0], progress=SILENT, meter=deterministic_meter)
    card = run.deploy(LOOSE_MS) / "card.json"
    record = json.loads(card.read_text())
    for variant in record["variants"]:
        variant |= {"chosen": False, "p50_ms": 1.5 * LOOSE_MS, "reference_ms": 1.5 * variant["reference_ms"]}
    card.write_text(json.dumps(record))
    message = deploy_budget(flow, LOOSE_MS).message
    assert message.endswith("takes 1.50 times as long for anything as when the winner was chosen")
    for variant in record["variants"]:
        variant["reference_ms"] /= 1.5
    card.write_text(json.dumps(record))
    assert deploy_budget(flow, LOOSE_MS).message.endswith("50 % over")
