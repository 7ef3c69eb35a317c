import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scipy.stats import binom

from nassuite.errors import InputError
from nassuite.latency.certificate import allowed_over, certainly_over, certify, check
from nassuite.latency.meter import Measurement
from nassuite.latency.target import Target
from nassuite.records import sha256_file


def measurement(*processes, aa_ratios=(1.0,), sha256="0" * 64):
    return Measurement(
        file="model.onnx",
        sha256=sha256,
        target=Target().describe(),
        samples_ms=tuple(tuple(float(sample) for sample in process) for process in processes),
        ratio=1.0,
        ratio_low=0.99,
        ratio_high=1.01,
        reference_ms=0.2,
        aa_ratios=aa_ratios,
        rejected=0,
        conditions={},
    )


def samples(over, n=200):
    """``n`` samples, ``over`` of them slightly above 1 ms, the others below."""
    return [1.001] * over + [0.9] * (n - over)


@pytest.mark.parametrize(
    ("percentile", "n", "allowed"),
    [(50, 64, 22), (50, 200, 83), (50, 400, 176), (90, 64, 1), (90, 200, 10), (90, 400, 26)],
)
def test_the_published_numbers_at_99_percent(percentile, n, allowed):
    assert allowed_over(n, percentile, 0.99) == allowed


@example(1, 99, 0.99)
@given(st.integers(1, 3000), st.sampled_from([10, 50, 75, 90, 99]), st.sampled_from([0.9, 0.99, 0.999]))
@settings(max_examples=60, deadline=None)
def test_both_limits_are_those_of_the_binomial_distribution(n, percentile, confidence):
    over = 1 - percentile / 100
    allowed = allowed_over(n, percentile, confidence)
    broken = certainly_over(n, percentile, confidence)
    risk, rounding = 1 - confidence, 1e-9  # one sample at 99 %: the tail is the risk itself, but for rounding
    assert binom.cdf(allowed, n, over) <= risk * (1 + rounding)
    assert binom.cdf(allowed + 1, n, over) > risk * (1 - rounding)
    assert binom.sf(broken - 1, n, over) <= risk * (1 + rounding)
    assert binom.sf(broken - 2, n, over) > risk * (1 - rounding)
    assert allowed < broken


def test_too_few_samples_allow_nothing():
    assert allowed_over(5, 90, 0.99) == -1
    assert certainly_over(5, 50, 0.99) == 6
    assert certify(measurement([0.5] * 5), 1.0, percentile=90).verdict == "too noisy"


def test_pass_asks_every_process_and_all_together():
    assert certify(measurement(samples(83), samples(83)), 1.0).verdict == "pass"
    # 84 of 200 over is one too many in that process, though all together are far below the limit.
    one_too_many = certify(measurement(samples(84), samples(0)), 1.0)
    assert one_too_many.verdict == "too noisy"
    assert one_too_many.over == (84, 0, 84)
    assert one_too_many.allowed == (83, 83, 176)


def test_the_pool_decides_that_it_fails():
    assert certify(measurement(samples(112), samples(111)), 1.0).verdict == "too noisy"
    assert certify(measurement(samples(112), samples(112)), 1.0).verdict == "fail"


def test_a_clear_miss_with_few_samples_fails():
    assert certify(measurement([1.5, 1.6, 1.7]), 1.0).verdict == "fail"
    assert certify(measurement([1.01, 1.01, 1.01]), 1.0).verdict == "too noisy"


def test_p90_is_stricter_than_p50():
    fickle = measurement(samples(40), samples(40))
    assert certify(fickle, 1.0, percentile=50).verdict == "pass"
    assert certify(fickle, 1.0, percentile=90).verdict == "fail"


def test_a_sample_at_the_budget_is_within_it():
    assert certify(measurement([1.0] * 64), 1.0).over == (0, 0)


def test_a_noisy_measurement_is_never_a_pass():
    noisy = measurement(samples(0), aa_ratios=(1.05,))
    assert certify(noisy, 1.0).verdict == "too noisy"


@given(st.lists(st.floats(0.1, 10), min_size=20, max_size=150), st.floats(0.1, 10), st.floats(1.0, 3.0))
@settings(max_examples=100, deadline=None)
def test_a_larger_budget_is_never_judged_worse(times, budget, factor):
    order = ["fail", "too noisy", "pass"]
    taken = measurement(times)
    verdicts = [certify(taken, b).verdict for b in (budget, budget * factor)]
    assert order.index(verdicts[0]) <= order.index(verdicts[1])


@pytest.mark.parametrize("percentile", [50, 90])
def test_at_most_one_in_a_hundred_passes_or_fails_wrongly(percentile):
    """Budgets just below (above) the true percentile, where a pass (a fail) is wrong and likeliest."""
    rng = np.random.default_rng(0)
    trials = 800
    true = np.exp(0.1 * {50: 0.0, 90: 1.2815515655446004}[percentile])
    drawn = [measurement(rng.lognormal(0, 0.1, 200)) for _ in range(trials)]
    passes = sum(certify(m, true * 0.9999, percentile=percentile).verdict == "pass" for m in drawn)
    broken = certainly_over(200, percentile, 0.99)
    fails = sum(certify(m, true * 1.0001, percentile=percentile).over[-1] >= broken for m in drawn)
    limit = binom.ppf(0.999, trials, 0.01)
    assert passes <= limit
    assert fails <= limit


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"budget_ms": 0.0}, "budget 0.0 ms"),
        ({"budget_ms": float("nan")}, "budget nan"),
        ({"budget_ms": 1.0, "percentile": 100}, "percentile 100"),
        ({"budget_ms": 1.0, "confidence": 1.0}, "confidence 1.0"),
    ],
)
def test_questions_without_sense_are_refused(arguments, message):
    with pytest.raises(InputError, match=message):
        certify(measurement(samples(0)), **arguments)


@pytest.fixture
def certified(tmp_path):
    """An (arbitrary) file and the certificate of it, as JSON."""
    path = tmp_path / "model.onnx"
    path.write_bytes(b"a model")
    certificate = certify(measurement(samples(10), samples(20), sha256=sha256_file(path)), 1.0)
    return path, json.loads(json.dumps(certificate.to_json()))


def test_a_certificate_is_checked_from_its_samples(certified):
    path, certificate = certified
    assert certificate["verdict"] == "pass"
    assert check(certificate, path) == "pass"


def test_another_file_does_not_have_the_certificate(certified):
    path, certificate = certified
    path.write_bytes(b"another model")
    with pytest.raises(InputError, match="certify it anew"):
        check(certificate, path)


def test_a_verdict_that_the_samples_do_not_bear_is_refused(certified):
    path, certificate = certified
    certificate["budget_ms"] = 0.5
    with pytest.raises(InputError, match="says 'pass', its samples say 'fail'"):
        check(certificate, path)


def test_what_is_no_certificate_is_refused(certified):
    path, _ = certified
    with pytest.raises(InputError, match="not a certificate"):
        check({"verdict": "pass"}, path)


def test_it_says_what_was_found_in_one_line():
    certificate = certify(measurement(samples(10)), 1.0)
    assert str(certificate).startswith(
        "pass: model.onnx p50 0.9 ms, budget 1 ms, 10 samples over, 83 allowed"
    )
    assert replace(certificate, verdict="fail").verdict == "fail"
