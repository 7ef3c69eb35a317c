import dataclasses
import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from small_spaces import SIX, arch_of

from nassuite.search.driver import Evaluation
from nassuite.search.finalists import (
    REACH,
    Finalist,
    choose_winner,
    front,
    knee,
    nominate,
    nominate_by_reward,
    places,
    reward,
    to_json,
    winner_by_reward,
    within_noise,
)  # fmt: skip
from nassuite.spec import Arch, HeadSpec

ARCH = arch_of(SIX, 0)


def evaluation(number: int, accuracy: float, latency_ms: float) -> Evaluation:
    return Evaluation(number, ARCH, accuracy, latency_ms)


def finalist(
    correct: np.ndarray, latency_ms: float, *, passes: bool = True, macs: int = 1, cost: float | None = None
) -> Finalist:
    accuracy = float(correct.mean())
    return Finalist(
        evaluation(0, accuracy, latency_ms), macs, accuracy, correct, latency_ms, passes,
        p50_ms=latency_ms, p90_ms=latency_ms * 1.1, aa_ratio=1.0, reference_ms=0.2, cost=cost,
    )  # fmt: skip


def right(count: int, *, of: int = 1000) -> np.ndarray:
    """The first ``count`` images, so that a better network is right wherever a worse one is."""
    return np.arange(of) < count


accuracies = st.integers(0, 1000).map(lambda right: right / 1000)
evaluated = st.lists(st.tuples(accuracies, st.floats(0.1, 10)), min_size=1, max_size=20).map(
    lambda points: [evaluation(n, *point) for n, point in enumerate(points)]
)


@given(evaluated, st.floats(0.1, 10), st.integers(1, 8))
def test_nominees_are_in_reach_and_the_most_accurate_is_one(found, budget_ms, count):
    nominees = nominate(found, budget_ms, count, images=100, preference=lambda arch: 1.0)
    reachable = [e for e in found if e.latency_ms <= budget_ms * REACH]
    assert len(nominees) == min(count, len(reachable) or len(found))
    if reachable:
        assert all(e in reachable for e in nominees)
        assert nominees[0].accuracy == max(e.accuracy for e in reachable)
        assert [e.accuracy for e in nominees] == sorted((e.accuracy for e in nominees), reverse=True)
    else:
        left = [e for e in found if e not in nominees]
        assert all(e.latency_ms >= nominees[-1].latency_ms for e in left)


def test_just_over_the_budget_is_nominated_too():
    found = [evaluation(0, 0.9, 1.0), evaluation(1, 0.95, 1.029), evaluation(2, 0.99, 1.031)]
    assert [e.number for e in nominate(found, 1.0, 5, images=1000, preference=lambda arch: 1.0)] == [1, 0]


def test_with_a_margin_predictions_have_to_be_that_far_under_the_budget():
    found = [evaluation(0, 0.9, 0.94), evaluation(1, 0.95, 0.96), evaluation(2, 0.99, 1.02)]
    nominees = nominate(found, 1.0, 5, images=1000, preference=lambda arch: 1.0, margin=1.05)
    assert [e.number for e in nominees] == [0]


def test_half_of_the_nominees_are_the_largest_within_noise():
    """On 400 images one standard error of 80 % is 2 points."""
    found = [
        Evaluation(n, dataclasses.replace(ARCH, head=HeadSpec(8 * (n + 1))), accuracy, 1.0)
        for n, accuracy in enumerate((0.80, 0.799, 0.798, 0.79, 0.785, 0.77))
    ]
    nominees = nominate(found, 1.0, 4, images=400, preference=lambda arch: arch.head.width)
    assert [e.number for e in nominees] == [0, 1, 3, 4]


@given(evaluated)
def test_the_front(found):
    kept = front(found)
    assert [e.latency_ms for e in kept] == sorted(e.latency_ms for e in kept)
    for e in found:
        beaten = any(
            o.accuracy >= e.accuracy and o.latency_ms <= e.latency_ms
            and (o.accuracy, o.latency_ms) != (e.accuracy, e.latency_ms)
            for o in found
        )  # fmt: skip
        assert (e in kept) == (not beaten)


def test_the_front_of_nothing():
    assert front([]) == []


def test_none_wins_where_none_passes():
    assert choose_winner([]) is None
    assert choose_winner([finalist(right(900), 1.0, passes=False)]) is None


def test_the_most_accurate_that_passes_wins():
    finalists = [
        finalist(right(990), 1.5, passes=False),
        finalist(right(950), 1.0),
        finalist(right(800), 0.2),
    ]
    assert choose_winner(finalists) is finalists[1]


def test_of_those_within_noise_the_one_of_most_macs_wins():
    """On 30 images two networks disagree, and there 17 to 13: no evidence that one is better."""
    best, other = right(900), right(900)
    best[0:13] = False
    other[0:13] = True
    best[900:917] = True
    assert best.sum() > other.sum()
    finalists = [
        finalist(best, 0.9, macs=5),
        finalist(other, 1.0, macs=8),
        finalist(right(700), 1.0, macs=20),
    ]
    assert choose_winner(finalists) is finalists[1]
    assert choose_winner(finalists[::-1]) is finalists[1]
    assert choose_winner([finalists[0], finalist(other, 1.0, macs=8, passes=False)]) is finalists[0]


@pytest.mark.parametrize(("only_better", "only_other", "noise"), [(0, 0, True), (1, 0, True), (2, 0, False), (17, 13, True), (20, 10, False), (10, 20, True)])  # fmt: skip
def test_noise_is_one_standard_error_of_the_paired_difference(only_better, only_other, noise):
    better, other = right(100), right(100)
    other[:only_better] = False
    better[only_better : only_better + only_other] = False
    assert within_noise(better, other) is noise


@given(st.lists(st.tuples(st.integers(0, 60), st.floats(0.1, 5), st.booleans()), max_size=8))
def test_the_winner_passes_and_none_within_noise_of_the_best_has_more_macs(kinds):
    finalists = [finalist(right(n, of=60), ms, passes=passes, macs=int(100 * ms)) for n, ms, passes in kinds]
    winner = choose_winner(finalists)
    passing = [f for f in finalists if f.passes]
    assert (winner is None) == (not passing)
    if winner:
        best = max(f.accuracy for f in passing)
        assert winner.passes
        assert (best - winner.accuracy) * 60 <= 1 + 1e-9  # nested: one image is the noise of one
        assert all(f.macs <= winner.macs for f in passing if f.accuracy == best)


def test_json():
    value = json.loads(json.dumps(to_json(finalist(right(900), 0.5))))
    assert Arch.from_json(value["arch"]) == ARCH
    assert (value["val_accuracy"], value["latency_ms"], value["passes"]) == (0.9, 0.5, True)
    assert value["reference_ms"] == 0.2


def test_what_is_minimised_decides_between_equals_only():
    equal = [finalist(right(900), 1.0, macs=9, cost=7.0), finalist(right(900), 1.0, macs=1, cost=5.0)]
    worse = finalist(right(500), 1.0, macs=1, cost=1.0)
    assert choose_winner([*equal, worse]) is equal[1]


def test_the_knee_is_where_more_latency_begins_to_buy_little():
    points = [(0.2, 1.0), (0.7, 2.0), (0.8, 4.0), (0.85, 9.0)]
    found = front([evaluation(n, *point) for n, point in enumerate(points)])
    assert knee(found, found[-1]).number == 1
    assert knee(found[:1], found[0]).number == 0
    assert knee(found[:1], evaluation(9, 0.2, 9.0)).number == 0


def test_the_slow_end_is_what_cannot_be_told_from_the_most_accurate():
    """Within 0.012: one standard error of 1000 images at 0.8 (sqrt(0.8 * 0.2 / 1000) = 0.0126)."""
    found = [evaluation(n, *p) for n, p in enumerate([(0.8, 1.0), (0.79, 4.0), (0.78, 8.0)])]
    assert places(found, images=1000) == {"fastest": 1.1, "knee": 1.1, "most accurate": 4.2}


@given(evaluated)
def test_the_ends_of_the_front_and_a_knee_between_them_have_budgets(found):
    budgets = places(found, images=10**40)
    fastest, middle, best = (budgets[name] for name in ("fastest", "knee", "most accurate"))
    assert fastest <= middle <= best
    for budget, e in (
        (fastest, min(found, key=lambda e: e.latency_ms)),
        (best, max(found, key=lambda e: (e.accuracy, e.latency_ms))),
    ):
        assert e.latency_ms * 1.05 * (1 - 1e-6) <= budget <= e.latency_ms * 1.05 * 1.11
        assert float(f"{budget:.2g}") == budget


def test_the_reward_is_that_of_mnasnet():
    """Twice the latency is as good as 5 % of accuracy (section 3.1)."""
    assert reward(0.7, 80.0, 80.0) == 0.7
    assert reward(0.7 * 1.05, 160.0, 80.0) == pytest.approx(0.7, rel=1e-3)


@given(evaluated, st.floats(0.1, 10), st.integers(1, 8))
def test_nominees_by_reward_have_more_of_it_than_all_others(found, target_ms, count):
    def of(e):
        return reward(e.accuracy, e.latency_ms, target_ms)

    nominees = nominate_by_reward(found, target_ms, count)
    assert len(nominees) == min(count, len(found))
    assert all(of(e) <= of(nominees[-1]) for e in found if e not in nominees)
    assert set(nominees) & set(front(found)) or of(nominees[0]) == max(of(e) for e in front(found))


def test_a_soft_budget_may_be_missed_and_a_limit_may_not():
    fast, accurate = finalist(right(800), 1.0), finalist(right(900), 1.5, passes=False)
    assert winner_by_reward([fast, accurate], 1.0) is accurate
    over = dataclasses.replace(accurate, exceeds=("over --max-params 1: 2",))
    assert winner_by_reward([fast, over], 1.0) is fast
    assert winner_by_reward([over], 1.0) is None
