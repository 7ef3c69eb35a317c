"""The study of budgets on a meter that knows no time."""

import budget_guarantee as study
import numpy as np
import pytest
from deterministic_meter import deterministic_meter
from small_spaces import SIX

from nassuite.errors import InputError
from nassuite.latency.certificate import certify
from nassuite.latency.target import Target
from nassuite.records import read_json, write_json


def test_budgets_are_spread_in_equal_ratios_within_the_space():
    budgets = study.budgets_between([0.1, 0.4, 1.0], 5)
    assert budgets[0] == pytest.approx(0.11)
    assert budgets[-1] == pytest.approx(0.9)
    assert np.diff(np.log(budgets)) == pytest.approx([np.log(0.9 / 0.11) / 4] * 4, rel=0.02)


class GreyImages:
    in_chans = 1


class FlowOfSix:
    space, data = SIX, GreyImages


def test_what_stands_in_for_accuracy_grows_with_macs_and_is_the_same_every_time():
    accuracy = study.stand_in(FlowOfSix)
    small, large = SIX.extreme("smallest"), SIX.extreme("largest")
    assert abs(accuracy(small) - 0.5) < 0.1
    assert abs(accuracy(large) - 0.9) < 0.1
    assert study.stand_in(FlowOfSix)(large) == accuracy(large)


def certifier(model, budget, certificate):
    (measurement,) = deterministic_meter([model], Target())
    write_json(certificate, certify(measurement, budget).to_json())


@pytest.mark.slow
def test_from_searching_to_the_report(tmp_path):
    arguments = [
        "--spaces", "micro", "--budgets", "2", "--calibration", "24", "--trials", "10",
        "--work", str(tmp_path / "work"), "--out", str(tmp_path / "out"),
    ]  # fmt: skip
    with pytest.raises(InputError, match="holds no measurements"):
        study.main([*arguments, "--analyse"])
    study.main(arguments, meter=deterministic_meter, certifier=certifier)
    rows = read_json(tmp_path / "out" / "records.json")["rows"]
    assert [row["space"] for row in rows] == ["micro", "micro"]
    for row in rows:
        # This meter's certificates are the same twice.
        assert row["verdict"] == "pass"
        assert row["p50_ms"] == pytest.approx(row["chosen_ms"])
        assert row["p50_ms"] <= row["budget_ms"]
    report = (tmp_path / "out" / "report.md").read_text()
    assert "2 of 2" in report

    def unused(*_, **__):
        pytest.fail("done twice")

    study.main(arguments, meter=unused, certifier=unused)
    assert read_json(tmp_path / "out" / "records.json")["rows"] == rows
    with pytest.raises(InputError, match="measured with other trials"):
        study.main([*arguments, "--trials", "11"], meter=unused, certifier=unused)
    winner = next((tmp_path / "work" / "micro").glob("*/winner.onnx"))
    winner.write_bytes(winner.read_bytes() + b"edited")
    with pytest.raises(InputError, match="is not the certificate's"):
        study.main([*arguments, "--analyse"])


def rows_of(*latencies, budget=1.0, pace=1.0):
    """A row for each latency, None standing for a budget without a winner."""
    row = {"space": "tiny", "budget_ms": budget}
    found = {"predicted_ms": 1.0, "chosen_ms": 1.0, "macs": 1e6, "noisy": False, "verdict": "pass"}
    found["target"] = Target().describe()
    return [
        row if ms is None else {**row, **found, "p50_ms": ms, "pace": pace, "unsteady": 0, "later_ms": 1.5 * ms / pace, "later_pace": 1.5}
        for ms in latencies
    ]  # fmt: skip


FACTS = {
    "settings": {"calibration": 24, "trials": 10, "seed": 0},
    "seconds": [], "command": "", "started": "", "environment": {},
}  # fmt: skip


def verdicts(rows, *, at_pace=False):
    lines = [line for line in study._lines(rows, FACTS) if line.startswith("| ")][1:3]
    return [line.split(" | ")[4 if at_pace else 2].rstrip(" |") for line in lines]


def test_the_aims_by_hand():
    assert verdicts(rows_of(*[0.98] * 20)) == ["yes", "yes"]
    assert verdicts(rows_of(*[0.98] * 18, 1.02, 1.021)) == ["yes", "yes"]  # up to 2 % over, in 19 of 20
    assert verdicts(rows_of(*[0.98] * 18, 1.03, 1.03)) == ["**no**", "yes"]
    assert verdicts(rows_of(*[0.98] * 18, None, None)) == ["**no**", "yes"]  # no winner is a budget not kept
    assert verdicts(rows_of(*[0.9] * 20)) == ["yes", "**no**"]
    assert verdicts(rows_of(*[None] * 20)) == ["**no**", "**no**"]


def test_what_a_slower_machine_takes_from_a_promise_is_told_apart():
    slow = rows_of(*[1.2 * 0.98] * 20, pace=1.2)
    assert verdicts(slow) == ["**no**", "yes"]
    assert verdicts(slow, at_pace=True) == ["yes", "yes"]
    quick = rows_of(*[0.98] * 20, pace=0.9)  # kept by luck
    assert verdicts(quick) == ["yes", "yes"]
    assert verdicts(quick, at_pace=True) == ["**no**", "yes"]
    text = " ".join(study._lines(slow, FACTS))
    assert "the pace of the second certificates is 1.20 to 1.20, median 1.20" in text
    assert "0 of 20 (0.0 % to 16.1 %) were within the budget" in text
    assert "20 of 20 (83.9 % to 100.0 %) at the pace of the search" in text
