"""What a pruning says of its aim and of the steps that are left."""

from types import SimpleNamespace

import pytest

from nassuite.compress.goal import Goal
from nassuite.compress.steps import lower_aim, steps_left


@pytest.mark.parametrize(
    ("goal", "dense_ms", "words"),
    [
        (Goal("speedup", 1.8), 1.79, "0.994 ms, 1.8 times as fast as the dense network's 1.79 ms"),
        (Goal("speedup", 1.8), None, "1.8 times as fast as the dense network"),
        (Goal("target_ms", 1.0, 90), 1.79, "1 ms at p90; the dense network takes 1.79 ms"),
        (Goal("target_ms", 1.0), None, "1 ms at p50"),
        (Goal("target_macs", 0.5), None, "50.0% of the dense network's MACs"),
        (Goal("target_params", 0.5), None, "50.0% of the dense network's parameters"),
    ],
)
def test_the_aim_in_words(goal, dense_ms, words):
    assert goal.in_words(dense_ms) == words


@pytest.mark.parametrize(
    ("strategy", "made", "value", "left"),
    [
        ("latency", 1, 0.25 ** (1 / 4), 3),
        ("latency", 3, 0.25 ** (3 / 4), 1),
        ("latency", 6, 0.27, 1),
        ("latency", 2, 0.2499, 1),  # under the aim and not certified yet
        ("netadapt", 1, 1 - 0.75 / 8, 7),
        ("latency", 2, 0.99, None),
        ("latency", 2, 1.0, None),
        ("netadapt", 2, 1.1, None),
    ],
)
def test_steps_are_extrapolated_from_those_that_were_made(strategy, made, value, left):
    plan = SimpleNamespace(strategy=strategy, steps=4)
    for goal, start in ((Goal("target_macs", 0.25), 1.0), (Goal("speedup", 4.0), 0.9)):
        assert steps_left(plan, SimpleNamespace(goal=goal), made, start, value) == left


@pytest.mark.parametrize(("value", "lower"), [(0.5, 0.5), (0.504, 0.496), (0.8, 0.49)])
def test_steps_past_the_planned_ones_aim_lower_by_what_is_missing(value, lower):
    assert lower_aim(0.5, value) == pytest.approx(lower)
