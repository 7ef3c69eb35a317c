"""What an audit says of a ranking."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import kendalltau, spearmanr

from nassuite.errors import InputError
from nassuite.search.ranking import Band, Correlation, correlation, judge, rank, tau, tau_difference


def figures(n, noise, *, seed=0, macs_noise=3.0):
    """True accuracies, noisy inherited ones, and MACs that say less."""
    rng = np.random.default_rng(seed)
    scratch = rng.random(n)
    return {
        "inherited": 0.5 * scratch + noise * rng.normal(size=n),
        "scratch": scratch,
        "latency_ms": rng.random(n),
        "baselines": {"MACs": scratch + macs_noise * rng.normal(size=n)},
    }


def test_a_good_ranking_of_many_is_trusted():
    found = rank(**figures(100, 0.03))
    assert found.verdict == "trust"
    assert found.inherited.tau_low > 0.5
    assert found.over_macs[1] > 0
    assert "over MACs" in found.reason


def test_one_that_is_no_better_than_macs_is_trusted_for_large_differences_only():
    found = rank(**figures(100, 0.03, macs_noise=0.06))
    assert found.verdict == "trust for large differences only"
    assert "not surely better than counting MACs" in found.reason


def test_noise_is_not_trusted():
    assert rank(**figures(100, 10.0)).verdict == "do not trust"
    worse = rank(**figures(100, 0.15, macs_noise=0.01))
    assert worse.verdict == "do not trust"
    assert "counting MACs ranks better" in worse.reason


def test_few_are_too_few():
    assert rank(**figures(12, 0.1)).verdict == "too few to tell"
    with pytest.raises(InputError, match="7 architectures are trained: a ranking takes 8 or more"):
        rank(**figures(7, 0.1))


def test_like_latencies_are_looked_at_by_themselves():
    """Three groups that are far apart, with nothing but chance inside them."""
    rng = np.random.default_rng(0)
    group = np.repeat([0.0, 1.0, 2.0], 30)
    found = rank(
        group + 0.1 * rng.random(90), group + 0.1 * rng.random(90),
        latency_ms=group, baselines={"MACs": rng.random(90)},
    )  # fmt: skip
    assert found.verdict == "trust for large differences only"
    assert "among architectures of like latency" in found.reason
    assert [band.n for band in found.bands] == [30, 30, 30]
    assert all(abs(band.tau) < 0.4 for band in found.bands)


def test_statistics_are_those_of_scipy_and_lie_in_their_intervals():
    data = figures(40, 0.2)
    found = correlation(data["inherited"], data["scratch"])
    assert found.tau == pytest.approx(kendalltau(data["inherited"], data["scratch"]).statistic)
    assert found.tau_low < found.tau < found.tau_high
    assert found.rho_low < found.rho < found.rho_high
    constant = correlation(np.ones(10), np.arange(10.0))
    assert (constant.tau, constant.rho) == (0.0, 0.0)


@settings(max_examples=10)
@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), min_size=8, max_size=30))
def test_ties_are_taken_as_scipy_takes_them(pairs):
    x, y = np.array(pairs, dtype=float).T
    if np.ptp(x) and np.ptp(y):
        assert tau(x, y) == pytest.approx(kendalltau(x, y).statistic, abs=1e-12)
        assert correlation(x, y).rho == pytest.approx(spearmanr(x, y).statistic, abs=1e-12)
    else:
        assert tau(x, y) == 0


def test_a_difference_is_paired():
    """Two rankings that err alike differ little, however much both vary from draw to draw."""
    data = figures(60, 0.3)
    near = data["inherited"] + 1e-3 * np.random.default_rng(1).normal(size=60)
    difference, low, high = tau_difference(data["inherited"], near, data["scratch"])
    assert difference == pytest.approx(tau(data["inherited"], data["scratch"]) - tau(near, data["scratch"]))
    assert low <= difference <= high
    assert high - low < 0.1 * (
        correlation(near, data["scratch"]).tau_high - correlation(near, data["scratch"]).tau_low
    )


def test_the_gap_and_the_ceiling():
    data = figures(40, 0.0)
    again = data["scratch"] + 0.01 * np.random.default_rng(1).normal(size=40)
    found = rank(**data, twice=(data["scratch"][:14], again[:14]))
    assert found.gap[0] == pytest.approx(float((data["inherited"] - data["scratch"]).mean()))
    assert found.gap[1] < found.gap[0] < found.gap[2]
    assert found.ceiling.n == 14
    assert found.ceiling.tau > 0.8
    assert rank(**data, twice=(again[:3], again[:3])).ceiling is None


@pytest.mark.parametrize(
    ("tau", "over", "verdict"),
    [
        ((0.6, 0.55, 0.65), (0.2, 0.1, 0.3), "trust"),
        ((0.6, 0.45, 0.75), (0.2, 0.1, 0.3), "trust for large differences only"),
        ((0.6, 0.55, 0.65), (0.2, -0.1, 0.5), "trust for large differences only"),
        ((0.4, 0.29, 0.5), (0.2, 0.1, 0.3), "do not trust"),
        ((0.6, 0.55, 0.65), (-0.2, -0.3, -0.1), "do not trust"),
        ((0.6, 0.3, 0.7), (0.2, 0.1, 0.3), "too few to tell"),
    ],
)
def test_the_rule(tau, over, verdict):
    band = Band(0.0, 1.0, 20, 0.4)
    assert judge(Correlation(60, *tau, *tau), over, [band])[0] == verdict
