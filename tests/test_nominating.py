"""Finalists on a machine that is as fast as predicted, and on one that is not: a tiny run's supernet and latencies."""

import dataclasses
import json
import shutil

import pytest
from deterministic_meter import deterministic_meter
from test_limits import flow_of
from tiny_runs import LOOSE_MS

from nassuite.errors import InputError
from nassuite.exploring import explore
from nassuite.flow import prepare
from nassuite.hand_over import deploy_budget
from nassuite.nominating import GROWN, SHARES, Contest, measure_finalists
from nassuite.progress import SILENT
from nassuite.run_directory import RunDirectory
from nassuite.search.finalists import REACH
from nassuite.study import run_facts
from nassuite.terminal import print_status


def meter_at(pace):
    """A machine that takes so many times as long as it did."""

    def meter(paths, target, **settings):
        return [
            dataclasses.replace(
                m,
                reference_ms=pace * m.reference_ms,
                samples_ms=tuple(tuple(pace * ms for ms in process) for process in m.samples_ms),
            )
            for m in deterministic_meter(paths, target, **settings)
        ]

    return meter


def budget_of(flow):
    """Half of the space is faster."""
    ends = [flow.predict_ms(flow.space.extreme(which)) for which in ("smallest", "largest")]
    return sum(ends) / 2


@pytest.fixture
def searched(tiny_run, tmp_path):
    """A run that has searched under one budget, and that budget."""
    probe = flow_of(tiny_run, tmp_path / "probe", LOOSE_MS)
    budget = float(f"{budget_of(probe):.3g}")
    flow = flow_of(tiny_run, tmp_path / "run", budget)
    explore(flow)
    return flow, budget


def finalists(flow, budget):
    return json.loads(flow.run.finalists.read_text())[f"{budget:g}"]


def test_a_machine_grown_faster_is_searched_further(searched):
    flow, budget = searched
    trials, before = flow.settings.trials, flow.evaluated
    assert len(before) == trials
    flow.meter = meter_at(0.7)
    contest = Contest(flow)
    contest.round([budget], before)
    assert contest.error[budget] == pytest.approx(0.7, rel=0.05)
    measure_finalists(flow)
    new = flow.evaluated[trials:]
    assert flow.evaluated[:trials] == before
    assert len(new) >= -(-trials // 3)
    assert max(e.latency_ms for e in before) <= budget * REACH
    assert budget * REACH < max(e.latency_ms for e in new) < 1.15 * budget * REACH / 0.7
    winner = finalists(flow, budget)["winner"]
    assert winner["predicted_ms"] > budget * REACH
    assert winner["latency_ms"] <= budget


def test_finalists_are_grown_to_what_their_own_measurements_leave(searched):
    flow, budget = searched
    flow.meter = meter_at(0.5)
    contest = Contest(flow)
    contest.round([budget], flow.evaluated)
    before, found = contest.entries[f"{budget:g}"], list(contest.grown(budget))
    largest = sorted((f for f in before["finalists"] if f["passes"]), key=lambda f: -f["macs"])[:GROWN]
    assert {larger.finalist for larger in found} == {f["number"] for f in largest}
    for larger in found:
        finalist = next(f for f in largest if f["number"] == larger.finalist)
        ratio = finalist["latency_ms"] / finalist["predicted_ms"]
        assert larger.expected_ms == pytest.approx(ratio * flow.predict_ms(larger.arch))
        assert finalist["latency_ms"] <= larger.expected_ms <= max(SHARES) * budget
    contest.fill([budget])
    after = contest.entries[f"{budget:g}"]
    known = {f["number"] for f in before["finalists"]}
    assert [f["arch"] for f in after["finalists"] if f["number"] not in known] == [
        arch.to_json() for arch in dict.fromkeys(larger.arch for larger in found)
    ]
    assert before["winner"]["macs"] < after["winner"]["macs"]
    assert set(contest.drift) == {larger.finalist for larger in found}
    # Another time they are made smaller by what they were found to be slower than expected.
    number = found[0].finalist
    contest.known, contest.drift[number] = {}, 1.25
    contest.entries[f"{budget:g}"] = before
    again = [larger.expected_ms for larger in contest.grown(budget) if larger.finalist == number]
    assert max(again, default=0.0) <= max(SHARES) * budget


def test_nothing_is_grown_where_nothing_keeps_the_budget(searched):
    flow, budget = searched
    flow.meter = meter_at(10.0)
    contest = Contest(flow)
    contest.round([budget], flow.evaluated)
    evaluated = list(flow.evaluated)
    assert list(contest.grown(budget)) == []
    contest.fill([budget])
    assert flow.evaluated == evaluated


@pytest.mark.parametrize("pace", [1.04, 1.08])
def test_a_machine_grown_slower_still_has_a_winner(searched, pace):
    flow, budget = searched
    flow.meter = meter_at(pace)
    measure_finalists(flow)
    found = finalists(flow, budget)
    assert any(f["latency_ms"] > budget for f in found["finalists"])
    assert found["winner"]["latency_ms"] <= budget


def test_without_a_winner_it_goes_on_where_anything_is_that_fast(searched):
    flow, budget = searched
    contest = Contest(flow)
    contest.entries[f"{budget:g}"] = {"winner": None, "finalists": []}
    for error, goes_on in ((1.0, False), (1.08, True), (10.0, False)):
        contest.error[budget] = error
        assert contest.with_room() == [budget] * goes_on
    contest.error[budget] = 1.08
    flow.search_seconds = 60.0  # its time has been shared out
    assert contest.with_room() == []


@pytest.mark.parametrize(
    ("of_budget", "error", "goes_on"),
    [(0.96, 1.0, False), (0.94, 1.0, True), (0.94, 1.04, True), (0.94, 0.01, False)],
)
def test_it_goes_on_where_a_winner_leaves_room_that_the_space_could_fill(searched, of_budget, error, goes_on):
    flow, budget = searched
    contest = Contest(flow)
    contest.entries[f"{budget:g}"] = {"winner": {"latency_ms": of_budget * budget}, "finalists": []}
    contest.error[budget] = error
    assert contest.with_room() == [budget] * goes_on


def test_a_budget_that_does_not_bind_is_searched_once(tiny_run, tmp_path):
    flow = flow_of(tiny_run, tmp_path / "run", LOOSE_MS)
    explore(flow)
    measure_finalists(flow)
    assert len(flow.evaluated) == flow.settings.trials


def test_one_that_was_stopped_while_it_searched_further_ends_as_it_would_have(searched):
    flow, budget = searched
    flow.meter = meter_at(0.7)
    measure_finalists(flow)
    expected = finalists(flow, budget)
    flow.run.finalists.unlink()
    again = dataclasses.replace(flow)
    measure_finalists(again)
    assert finalists(again, budget) == expected


def test_what_was_measured_before_a_stop_is_not_measured_again(searched):
    flow, budget = searched
    measured = []

    def stopped_after(rounds, pace):
        def meter(paths, target, **settings):
            if len(calls) == rounds:
                raise KeyboardInterrupt
            calls.append(paths)
            measured.extend(path.stem for path in paths)
            return meter_at(pace)(paths, target, **settings)

        calls = []
        return meter

    again = dataclasses.replace(flow, run=RunDirectory(flow.run.root.parent / "again"))
    shutil.copytree(flow.run.root, again.run.root)
    flow.meter = stopped_after(99, 0.7)
    measure_finalists(flow)
    expected, in_all = finalists(flow, budget), list(measured)
    measured.clear()
    again.meter = stopped_after(1, 0.7)
    with pytest.raises(KeyboardInterrupt):
        measure_finalists(again)
    assert 0 < len(measured) < len(in_all)
    again = dataclasses.replace(again, meter=stopped_after(99, 0.7))
    measure_finalists(again)
    assert sorted(measured) == sorted(in_all)
    assert finalists(again, budget) == expected
    assert len(again.evaluated) == len(flow.evaluated)
    assert not again.run.measured.exists()


def test_status_tells_what_fills_budgets_from_what_was_asked_for(searched, capsys):
    flow, _ = searched
    trials, run = flow.settings.trials, flow.run
    run.write_settings(flow.settings, run_facts(flow, None))
    flow.meter = meter_at(0.7)
    measure_finalists(flow)
    print_status(run)
    more = len(flow.evaluated) - trials
    assert more > 0
    assert f"{trials} of {trials} architectures, and {more} more to fill budgets" in capsys.readouterr().out


@pytest.mark.parametrize("content", ["[]", '{"arch": "0"}', '{"arch": "0", "measurement": {}}', "7"])
def test_damaged_measurements_are_refused(searched, content):
    flow, _ = searched
    flow.run.measured.write_text(content + "\n")
    with pytest.raises(InputError, match=r"finalists.jsonl is damaged .*: delete it"):
        measure_finalists(flow)


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
