"""Stages of a run, each on its own, on a tiny run's supernet and latencies."""

import dataclasses
import json

import numpy as np
import pytest
from deterministic_meter import deterministic_meter
from test_limits import flow_of
from tiny_runs import LOOSE_MS

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
