"""``--objective pareto`` and ``mnas``, from the search to the hand-over."""

import dataclasses
import json
import shutil

import pytest
from deterministic_meter import deterministic_meter
from test_limits import flow_of
from tiny_runs import TIGHT_MS, settings

from nassuite import deploy
from nassuite.compress.quantize import QuantizeConfig
from nassuite.errors import InputError
from nassuite.exploring import explore
from nassuite.nominating import measure_finalists
from nassuite.progress import SILENT
from nassuite.run_directory import STAGES, RunDirectory
from nassuite.search.finalists import front, reward
from nassuite.study import search


def not_quantised(path, out, calibration, *, score):
    """In place of ``quantize_best``, which other tests are about: three winners would take most of the time in it."""
    shutil.copyfile(path, out)
    config = QuantizeConfig()
    return config, {config: score(out.read_bytes())}


@pytest.fixture(scope="module")
def whole_front(tiny_run, tmp_path_factory):
    """A finished run without a budget, on another's supernet."""
    wanted = dataclasses.replace(settings(tiny_run.folder, objective="pareto"), finetune_epochs=1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(deploy, "quantize_best", not_quantised)
        return search(
            wanted, out=tmp_path_factory.mktemp("pareto") / "run", reuse=tiny_run.run,
            meter=deterministic_meter, progress=SILENT,
        )  # fmt: skip


def test_without_a_budget_the_ends_of_the_front_and_its_knee_are_deployed(whole_front):
    run = RunDirectory(whole_front.run)
    places = json.loads(run.places.read_text())
    assert list(places) == ["fastest", "knee", "most accurate"]
    assert [r.budget_ms for r in whole_front.results] == list(dict.fromkeys(places.values()))
    assert len(set(places.values())) > 1
    for result in whole_front.results:
        assert result.chosen["verdict"] == "pass"
        assert result.chosen["p50_ms"] <= result.budget_ms
    assert run.stages_done() == set(STAGES)
    assert (whole_front.ok, whole_front.notes) == (True, ())
    # Nothing was out of reach: the slowest of the space is among what was evaluated.
    records = json.loads((run.report / "records.json").read_text())
    assert records["budgets_ms"] == [r.budget_ms for r in whole_front.results]


def test_it_is_resumed_with_no_other_budgets(whole_front):
    again = search(out=whole_front.run, resume=True, meter=deterministic_meter, progress=SILENT)
    assert again == whole_front
    with pytest.raises(InputError, match="that run looks for the whole front"):
        search(out=whole_front.run, resume=True, expected_budgets=[1.0], meter=deterministic_meter)


def test_a_soft_budget_goes_to_the_most_rewarded(tiny_run, tmp_path):
    flow = flow_of(tiny_run, tmp_path / "run", TIGHT_MS, objective="mnas")
    explore(flow)
    assert max(e.latency_ms for e in flow.evaluated) > TIGHT_MS
    measure_finalists(flow)
    entry = json.loads(flow.run.finalists.read_text())[f"{TIGHT_MS:g}"]
    rewards = [reward(f["val_accuracy"], f["latency_ms"], TIGHT_MS) for f in entry["finalists"]]
    winner = entry["winner"]
    assert reward(winner["val_accuracy"], winner["latency_ms"], TIGHT_MS) == max(rewards)
    best = max(flow.evaluated, key=lambda e: reward(e.accuracy, e.latency_ms, TIGHT_MS))
    assert best.number in [f["number"] for f in entry["finalists"]]
    assert best in front(flow.evaluated)


def test_of_variants_the_most_rewarded_is_chosen_though_its_certificate_fails(tiny_run, tmp_path):
    path = next((tiny_run.run / "deploy").glob("*/model.fp32.onnx"))
    (measured,) = deterministic_meter([path], prepare_target())
    slow = deploy.certify(measured, measured.p50_ms / 1.4)
    quick = deploy.certify(
        dataclasses.replace(measured, samples_ms=((measured.p50_ms / 2,) * 200,) * 3), 100.0
    )
    assert (slow.verdict, quick.verdict) == ("fail", "pass")

    def variant(name, score, certificate, **more):
        return deploy.Variant(name, path, None, None, score, certificate, **more)

    one = variant("fp32", 0.9, slow)
    other = variant("int8", 0.8, dataclasses.replace(quick, budget_ms=slow.budget_ms))
    assert deploy.choose_variant([one, other]) is other
    assert deploy.choose_variant([one, other], soft=True) is one
    over = dataclasses.replace(other, exceeds=("over --max-size-mb 0.1: 0.2 MB",))
    assert deploy.choose_variant([one, over]) is None
    assert deploy.choose_variant([dataclasses.replace(one, exceeds=over.exceeds), other], soft=True) is other


def prepare_target():
    from nassuite.latency.target import Target

    return Target()
