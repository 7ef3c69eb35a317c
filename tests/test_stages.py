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


def slow_meter(paths, target, **settings):
    """A machine that has come to take 1.5 times as long for everything."""
    return [
        dataclasses.replace(m, reference_ms=1.5 * m.reference_ms)
        for m in deterministic_meter(paths, target, **settings)
    ]


def test_predictions_follow_the_pace_of_the_machine_and_keep_it(tiny_run, tmp_path):
    flow = flow_of(tiny_run, tmp_path / "run", LOOSE_MS)
    arch = flow.space.extreme("largest")
    before = flow.predict_ms(arch)
    flow.meter = slow_meter
    follow_pace(flow)
    assert flow.predict_ms(arch) == pytest.approx(1.5 * before)
    reference_ms = np.median([sample.reference_ms for sample in flow.samples])
    kept = json.loads(flow.run.pace.read_text())
    assert kept == {"pace": pytest.approx(1.5), "reference_ms": pytest.approx(1.5 * reference_ms)}
    flow.meter = deterministic_meter
    follow_pace(flow)  # a search that goes on predicts what it predicted
    assert flow.predict_ms(arch) == pytest.approx(1.5 * before)


def test_a_search_that_began_without_a_pace_goes_on_without(tiny_run, tmp_path):
    flow = flow_of(tiny_run, tmp_path / "run", LOOSE_MS, trials=1)
    before = flow.predict_ms(flow.space.extreme("largest"))
    flow.run.journal.touch()
    flow.meter = slow_meter
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
