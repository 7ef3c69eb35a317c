"""What a pruning says of its aim and of the steps that are left."""

from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nassuite.compress.goal import Goal
from nassuite.compress.steps import OVERSHOOT, TRIES, Step, nearest_under, steps_left


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


def step_of(value, met=False):
    return Step(SimpleNamespace(), value, met, "")


@given(wrong=st.floats(0.3, 3), aim=st.floats(0.4, 0.9))
def test_a_table_that_promises_too_much_or_too_little_is_corrected(wrong, aim):
    asked = []

    def chosen(expected):
        asked.append(expected)
        return step_of(1 - wrong * (1 - expected))

    found = nearest_under(chosen, lambda step: step.value <= aim * (1 + 1e-9), aim, 1.0)
    assert (1 - OVERSHOOT) * aim <= found.value <= aim * (1 + 1e-9)
    assert len(asked) <= TRIES


@given(values=st.lists(st.floats(0, 1.2), min_size=TRIES, max_size=TRIES), aim=st.floats(0.1, 0.9))
def test_whatever_is_measured_the_best_of_what_was_tried_is_taken(values, aim):
    left, made = iter(values), []

    def chosen(expected):
        made.append(step_of(next(left)))
        return made[-1]

    found = nearest_under(chosen, lambda step: step.value <= aim, aim, 1.0)
    under = [step.value for step in made if step.value <= aim]
    assert found.value == (max(under) if under else min(step.value for step in made))


def test_what_is_fast_enough_and_not_certified_yet_is_cut_further():
    asked = []

    def chosen(expected):
        asked.append(expected)
        return step_of(0.495, met=len(asked) == 3)

    assert nearest_under(chosen, lambda step: step.met, 0.5, 1.0).met
    assert asked == sorted(asked, reverse=True)
    assert len(set(asked)) == 3


def test_nothing_to_cut_is_no_step_and_the_same_widths_are_not_measured_again():
    assert nearest_under(lambda expected: None, lambda step: True, 0.5, 1.0) is None
    steps = iter([step_of(0.8), None])
    assert nearest_under(lambda expected: next(steps), lambda step: False, 0.5, 1.0).value == 0.8
