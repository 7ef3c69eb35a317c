import dataclasses
import itertools

import pytest
from sample import empty_content, sample_content

from nassuite.report.charts import pareto_chart
from nassuite.report.front import CROWD, build_front, pareto_evaluations

CONTENT = sample_content()


def test_every_evaluation_is_drawn_or_counted_as_omitted():
    front = build_front(CONTENT)
    drawn = sum(mark.kind in ("dominated", "front") for mark in front.chart.marks)
    assert drawn + front.omitted == len(CONTENT.evaluations)
    assert front.omitted > 0  # the sample has outliers


def test_front_finalists_deployed_and_budgets_are_always_inside_the_axes():
    chart = build_front(CONTENT).chart
    for mark in chart.marks:
        assert chart.latency.holds(mark.latency)
        assert chart.accuracy.holds(mark.accuracy)
    assert all(chart.latency.holds(budget) for budget in CONTENT.budgets_ms)
    assert [latency for latency, _ in chart.limits] == list(CONTENT.budgets_ms)


def test_steps_rise_and_are_the_evaluations_on_the_front():
    (stairs,) = build_front(CONTENT).chart.stairs
    assert list(stairs.corners) == [(e.predicted_ms, e.accuracy) for e in pareto_evaluations(CONTENT)]
    assert all(a[0] < b[0] and a[1] < b[1] for a, b in itertools.pairwise(stairs.corners))


def test_deployed_points_are_measured_at_the_percentile_and_on_validation():
    for percentile in (50, 90):
        front = build_front(dataclasses.replace(CONTENT, percentile=percentile))
        for deployment in CONTENT.deployed:
            for variant in deployment.variants:
                measured = variant.p50_ms if percentile == 50 else variant.p90_ms
                places = [(m.latency, m.accuracy) for m in front.chart.marks if m.kind == variant.name]
                assert (measured, variant.val_accuracy) in places


def test_a_baseline_without_validation_accuracy_is_not_drawn_at_its_test_accuracy():
    names = [m.label for m in build_front(CONTENT).chart.marks if m.kind == "baseline"]
    assert names == ["plain 12-MMAC net"]


def test_a_budget_that_does_not_bind_does_not_squeeze_the_chart():
    front = build_front(dataclasses.replace(CONTENT, budgets_ms=(20.0,)))
    assert front.chart.latency.limits[1] < 2.0


def test_a_crowd_is_thinned_and_counted():
    one = CONTENT.evaluations[0]
    many = tuple(dataclasses.replace(one, number=n, predicted_ms=0.3 + n * 1e-5) for n in range(4 * CROWD))
    front = build_front(dataclasses.replace(CONTENT, evaluations=many))
    drawn = sum(mark.kind == "dominated" for mark in front.chart.marks)
    assert 0 < drawn <= CROWD
    assert drawn + front.omitted == len(many) - 1


def test_nothing_evaluated_gives_an_empty_front():
    front = build_front(empty_content())
    assert front.chart.marks == ()
    assert front.chart.stairs == ()
    assert front.chart.latency.limits[0] < front.chart.latency.limits[1]
    assert front.chart.accuracy.limits[0] < front.chart.accuracy.limits[1]


@pytest.mark.parametrize("accuracy", [0.0, 1.0])
def test_one_evaluation_has_room_around_it(accuracy):
    one = dataclasses.replace(CONTENT.evaluations[0], accuracy=accuracy)
    content = dataclasses.replace(empty_content(), evaluations=(one,))
    front = build_front(content)
    assert len(front.chart.stairs[0].corners) == 1
    assert front.chart.latency.limits[0] < one.predicted_ms < front.chart.latency.limits[1]
    assert front.chart.accuracy.limits[0] <= accuracy < front.chart.accuracy.limits[1]


def test_an_empty_middle_of_the_accuracies_is_left_out():
    """Trained weights far above inherited ones: both are drawn large, and the zigzags say what is missing."""
    low = tuple(dataclasses.replace(e, accuracy=0.4 + e.accuracy / 20) for e in CONTENT.evaluations)
    finalists = tuple(dataclasses.replace(f, val_accuracy=0.43) for f in CONTENT.finalists)
    chart = build_front(dataclasses.replace(CONTENT, evaluations=low, finalists=finalists)).chart
    below, above = chart.accuracy.ranges
    trained = [m.accuracy for m in chart.marks if m.kind in ("fp32", "pruned", "int8", "baseline")]
    assert below[1] < 0.6 < above[0] < min(trained)
    assert chart.accuracy.place(max(trained)) - chart.accuracy.place(min(trained)) > 0.2
    assert len(build_front(CONTENT).chart.accuracy.ranges) == 1
    assert [shape.class_ for shape in pareto_chart(chart, 800, 400).shapes].count("break") == 2


def test_slow_baselines_make_the_latency_axis_logarithmic():
    slow = dataclasses.replace(CONTENT.baselines[0], p50_ms=30.0)
    chart = build_front(dataclasses.replace(CONTENT, baselines=(slow,))).chart
    assert chart.latency.logarithmic
    assert chart.latency.holds(30.0)
    assert not build_front(CONTENT).chart.latency.logarithmic
