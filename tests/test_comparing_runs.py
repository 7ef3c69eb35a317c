"""Runs against each other: which is best, in what unit, what differs, and what is refused."""

import dataclasses
import json
import re
import shutil

import pytest
from deterministic_meter import REFERENCE_MS, deterministic_meter

from nassuite import comparing_runs
from nassuite.cli import main
from nassuite.comparing_runs import compare_runs
from nassuite.errors import InputError
from nassuite.latency.target import Target
from nassuite.records import environment, read_json
from nassuite.report.runs import RunComparison, difference, limits, unit_of, volumes, winners
from nassuite.report.runs_page import runs_markdown, runs_page, write_run_comparison
from nassuite.report.runs_text import answers, difference_table, model_table, runs_chart
from nassuite.search.pareto import hypervolume
from nassuite.train_settings import TrainSettings
from nassuite.training import train_model


@pytest.fixture(scope="module")
def runs(tiny_run, tmp_path_factory):
    """A search; the same with a smaller deployed accuracy and one budget less; a training on the same photos."""
    folder = tmp_path_factory.mktemp("runs")
    first, second, trained = (folder / name for name in ("first", "second", "trained"))
    shutil.copytree(tiny_run.run, first)
    shutil.copytree(tiny_run.run, second)
    study = (second / "study.toml").read_text()
    (second / "study.toml").write_text(study.replace("trials = 14", "trials = 15"))
    records = read_json(second / "report" / "records.json")
    records["run"]["settings"]["trials"] = 15
    for deployment in records["deployed"]:
        for variant in deployment["variants"]:
            variant["val_accuracy"] -= 0.05
    (second / "report" / "records.json").write_text(json.dumps(records))
    settings = TrainSettings(model="lenet5", data=f"folder:{tiny_run.folder / 'photos'}", size=32, epochs=1)
    train_model(settings, out=trained)
    return first, second, trained


@pytest.fixture(scope="module")
def comparison(runs):
    return compare_runs(runs, measured=True, meter=deterministic_meter, command=["nassuite", "compare"])


def test_the_best_under_each_budget_is_what_validation_prefers_of_what_keeps_it(comparison):
    assert comparison.unit == "ms"
    for winner in winners(comparison):
        keeping = [
            (model.val_accuracy, run.name)
            for run, model in comparison.models
            if model.p50_ms <= winner.limit.value
            and (model.budget_ms != winner.limit.budget_ms or model.verdict in ("pass", ""))
        ]
        if not keeping:
            assert winner.best is None
            continue
        run, model = winner.best
        assert model.val_accuracy == max(keeping)[0]
        assert {run.name} | {other.name for other, _ in winner.others} == {name for _, name in keeping}
    assert [limit.budget_ms for limit in limits(comparison)] == [0.01, 0.08, 0.5]
    assert answers(comparison)[0].title == "For 0.01 ms: nothing"


def test_between_equals_the_file_that_the_run_deploys_for_the_budget_is_named(comparison):
    """Other files may be faster by noise; only this one has a certificate for it."""
    first, second, _ = comparison.runs
    fast, slow = (
        dataclasses.replace(model, name="pruned", val_accuracy=0.9, budget_ms=budget, chosen=True, p50_ms=ms,
                            path=f"deploy/{budget:g}ms/model.pruned.onnx", verdict="pass")
        for model, budget, ms in zip(first.models[:2], (0.5, 0.08), (0.03, 0.07), strict=True)
    )  # fmt: skip
    runs = (dataclasses.replace(first, models=(fast, slow)), second)
    _, tight, loose = answers(dataclasses.replace(comparison, runs=runs))
    assert (tight.title, tight.path) == (
        "For 0.08 ms: first, pruned @0.08", "first: deploy/0.08ms/model.pruned.onnx"
    )  # fmt: skip
    assert (loose.title, loose.path) == (
        "For 0.5 ms: first, pruned @0.5", "first: deploy/0.5ms/model.pruned.onnx"
    )  # fmt: skip
    better = dataclasses.replace(fast, val_accuracy=0.91)
    runs = (dataclasses.replace(first, models=(better, slow)), second)
    assert answers(dataclasses.replace(comparison, runs=runs))[1].title.endswith("first, pruned @0.5")


def test_why_a_run_has_nothing_under_a_budget_is_said(comparison):
    first, second, trained = comparison.runs
    unmeasured = dataclasses.replace(
        trained, models=tuple(dataclasses.replace(m, p50_ms=None, p90_ms=None) for m in trained.models)
    )
    late = slower(second, 100)
    verdicts = [a.verdict for a in answers(dataclasses.replace(comparison, runs=(first, late, unmeasured)))]
    unknown = "trained: not measured (--measure measures all files here)"
    assert verdicts[0] == f"no model of first or second keeps it; {unknown}"
    assert verdicts[1] == f"no model of second keeps it; {unknown}"


def test_only_settings_that_differ_are_shown(comparison):
    table = difference_table(comparison)
    rows = {row[0]: row[1:] for row in table.rows}
    assert rows["kind"] == ("search", "search", "training")
    assert rows["trials"] == ("14", "15", "–")
    assert "seed" not in rows


def test_hypervolumes_are_up_to_one_point(comparison):
    found = volumes(comparison)
    first = comparison.runs[0]
    points = [(model.p50_ms, model.val_accuracy) for model in first.models]
    assert found.measured["first"] == hypervolume(points, (found.latency, 1 / 4), maximise=(False, True))
    assert found.searched["first"] == found.searched["second"]
    assert found.measured["second"] < found.measured["first"]
    assert found.searched["trained"] is None
    assert found.latency == max(
        [m.p50_ms for _, m in comparison.models] + [s.predicted_ms for r in comparison.runs for s in r.front]
    )


def test_differences_have_newcombes_interval():
    """His table II, 56/70 against 48/80: 0.2, 0.0524 to 0.3339."""
    first, second = (
        comparing_runs.RunModel("x", "", "", 0.0, k / n, interval, 0, 0)
        for k, n, interval in ((56, 70, (0.6921, 0.8772)), (48, 80, (0.4904, 0.7009)))
    )
    gap, low, high = difference(first, second)
    assert gap == pytest.approx(0.2)
    assert (low, high) == (pytest.approx(0.0524, abs=5e-4), pytest.approx(0.3339, abs=5e-4))
    assert difference(first, dataclasses.replace(second, test_interval=None)) is None


def slower(run, factor, host=None):
    """As if measured while the machine took ``factor`` times as long."""
    models = tuple(
        dataclasses.replace(
            m, p50_ms=m.p50_ms * factor, p90_ms=m.p90_ms * factor, reference_ms=m.reference_ms * factor
        )
        for m in run.models
    )
    return dataclasses.replace(run, host=host or run.host, models=models)


def test_a_machine_that_was_slower_is_compared_by_ratios(comparison):
    first, second, _ = comparison.runs
    drifted = (first, slower(second, 1.2))
    unit, why = unit_of(drifted)
    assert unit == "references"
    assert "not equally fast" in why
    by_ratio = dataclasses.replace(comparison, unit=unit, runs=drifted)
    (_, a), (_, b) = [(r, m) for r, m in by_ratio.models if m.name == "fp32" and m.budget_ms == 0.5]
    assert by_ratio.latency(a) == pytest.approx(by_ratio.latency(b))
    assert by_ratio.latency(a) == pytest.approx(a.p50_ms / REFERENCE_MS)
    assert len(limits(by_ratio)) == 3
    elsewhere = (first, slower(second, 1.2, host="another"))
    assert "different machines" in unit_of(elsewhere)[1]
    names = [limit.name for limit in limits(dataclasses.replace(by_ratio, runs=elsewhere))]
    assert "0.5 ms on another" in names
    unknown = tuple(dataclasses.replace(m, reference_ms=None) for m in second.models)
    assert unit_of((first, dataclasses.replace(second, models=unknown)))[0] == "ms"


def test_the_chart_holds_every_front_and_file(comparison):
    chart = runs_chart(comparison)
    assert len(chart.stairs) == 2
    files = sum(len(run.models) for run in comparison.runs)
    assert len(chart.firm) == files
    assert all(chart.latency.holds(mark.latency) for mark in chart.marks)
    assert all(chart.accuracy.holds(mark.accuracy) for mark in chart.marks)


def test_drawn_again_from_its_records_every_file_is_the_same(comparison, tmp_path):
    paths = write_run_comparison(comparison, tmp_path / "a")
    again = RunComparison.from_json(read_json(tmp_path / "a" / "records.json"))
    assert again == comparison
    write_run_comparison(again, tmp_path / "b")
    for path in paths:
        assert path.read_bytes() == (tmp_path / "b" / path.name).read_bytes(), path.name
    assert "src=" not in runs_page(comparison)
    for row in model_table(comparison, every=True).rows:
        assert row[4] in runs_markdown(comparison)


def test_what_the_runs_measured_serves_without_measuring(runs, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["report", *map(str, runs)]) == 0
    said = capsys.readouterr().out
    assert "Not measured, so not in the chart: trained; --measure measures all files here." in said
    page, text = ((tmp_path / "comparison" / name).read_text() for name in ("index.html", "report.md"))
    for form in (said, re.sub("<.*?>", "", page), text):
        assert "trained: not measured (--measure measures all files here)" in form
        assert "first: deploy/0.5ms/model." in form
    assert main(["compare", *map(str, runs[:2]), "--title", "Two", "--out", "comparison"]) == 0
    assert (tmp_path / "comparison" / "report.md").read_text().startswith("# Two\n")


def test_a_pruning_is_read_with_both_its_models(runs, tmp_path):
    """Its goal in ms is a budget; the dense network is no candidate to deploy, and still a model that may win."""
    trained = runs[2]
    folder = tmp_path / "pruning"
    shutil.copytree(trained, folder)
    for name in ("train.toml", "result.json"):
        (folder / name).unlink()
    shutil.copy(folder / "model.onnx", folder / "dense.onnx")
    digest = re.search(r'data_digest = "(\w+)"', (trained / "train.toml").read_text())[1]
    (folder / "prune.toml").write_text(f'command = "nassuite prune"\ndata_digest = "{digest}"\n')
    row = {
        "params": 9,
        "macs": 99,
        "p90_ms": 2.0,
        "ratio": 1.0,
        "val": 0.8,
        "test": 0.7,
        "test_interval": [0.6, 0.8],
    }
    rows = [
        row | {"name": "dense", "p50_ms": 1.0},
        row | {"name": "pruned", "p50_ms": 0.5, "reference_ms": 0.2},
    ]
    value = {
        "settings": {"target_ms": 0.6, "percentile": 50}, "models": rows, "target": Target().describe(),
        "environment": environment(),
    }  # fmt: skip
    (folder / "pruning.json").write_text(json.dumps(value))
    card = read_json(folder / "card.json")
    (folder / "card.json").write_text(json.dumps({**card, "confusion": card["test"]["confusion"]}))
    (folder / "certificate.json").write_text('{"verdict": "pass"}')
    found = compare_runs([trained, folder])
    run = found.runs[1]
    assert (run.kind, run.budgets_ms, run.data_digest) == ("pruning", (0.6,), digest)
    assert [(m.name, m.path, m.chosen, m.budget_ms, m.verdict) for m in run.models] == [
        ("dense", "dense.onnx", False, None, ""), ("pruned", "model.onnx", True, 0.6, "pass"),
    ]  # fmt: skip
    assert (found.unit, run.models[0].reference_ms) == ("ms", None)
    (winner,) = winners(found)
    assert winner.best[1].name == "pruned"
    (folder / "pruning.json").unlink()
    with pytest.raises(InputError, match="go on with nassuite prune --resume"):
        compare_runs([trained, folder])


def test_what_cannot_be_compared_is_refused(runs, tmp_path, capsys):
    first, second, trained = runs
    unfinished = tmp_path / "unfinished"
    shutil.copytree(trained, unfinished)
    (unfinished / "result.json").unlink()
    cut_short = tmp_path / "cut_short"
    shutil.copytree(second, cut_short)
    shutil.rmtree(cut_short / "report")
    other = tmp_path / "other"
    shutil.copytree(trained, other)
    (other / "labels.txt").write_text("a\nb\n")
    damaged = tmp_path / "damaged"
    shutil.copytree(trained, damaged)
    (damaged / "result.json").write_text("{}")
    empty = tmp_path / "empty"
    empty.mkdir()
    for folders, message in (
        ([first], "takes 2 to 7 runs"),
        ([first, first], "each once"),
        ([first, tmp_path / "nowhere"], "no such run"),
        ([first, empty], "expected a search, a pruning or a training"),
        ([first, unfinished], "is not finished: go on with nassuite train --resume"),
        ([first, cut_short], "is not finished: go on with nassuite search --resume"),
        ([first, other], "is on other data than"),
        ([first, damaged], "its records are damaged"),
    ):
        with pytest.raises(InputError, match=message):
            compare_runs(folders)
    assert main(["compare", str(first), str(second), "--out", str(trained)]) == 2
    assert "holds something else than a comparison" in capsys.readouterr().err
