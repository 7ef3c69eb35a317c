"""The certificate: does a file keep a latency budget? Pass, fail or too noisy, from samples alone.

Latencies have no known distribution, so the question is asked of counts: "p50 <= budget" fails to
hold where a sample is over the budget with a probability above 1/2, and then the number of samples
over it is at least binomial. It passes where so few are over that this would happen with a
probability of at most 1 - confidence (the rule of MLPerf's early stopping). Samples of one process
are correlated, so the same is asked of every process alone and of all together.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

from nassuite.errors import InputError
from nassuite.latency.meter import AA_RANGE, Measurement
from nassuite.records import SCHEMA_VERSION, sha256_file

Verdict = Literal["pass", "fail", "too noisy"]


@dataclass(frozen=True)
class Certificate:
    """``over`` and ``allowed`` count samples above the budget in each process, then in all together.

    ``allowed`` is -1 where there are too few samples for any number of them to be a pass.
    ``percentile_ms`` is the measured one of all samples together.
    """

    verdict: Verdict
    budget_ms: float
    percentile: int
    confidence: float
    percentile_ms: float
    over: tuple[int, ...]
    allowed: tuple[int, ...]
    measurement: Measurement

    def to_json(self) -> dict[str, Any]:
        return {"schema": SCHEMA_VERSION, **asdict(self), "measurement": self.measurement.to_json()}

    def __str__(self) -> str:
        return (
            f"{self.verdict}: {self.measurement.file} p{self.percentile} {self.percentile_ms:.4g} ms, budget "
            f"{self.budget_ms:g} ms, {self.over[-1]} samples over, {max(self.allowed[-1], 0)} allowed at "
            f"{self.confidence:.0%}"
        )


def certify(
    measurement: Measurement, budget_ms: float, *, percentile: int = 50, confidence: float = 0.99
) -> Certificate:
    """Raises InputError for a budget, percentile or confidence that makes no sense."""
    checked(budget_ms, percentile, confidence)
    processes = [*measurement.samples_ms, sum(measurement.samples_ms, ())]
    over = [sum(sample > budget_ms for sample in samples) for samples in processes]
    allowed = [allowed_over(len(samples), percentile, confidence) for samples in processes]
    percentile_ms = measurement.percentile_ms(percentile)

    verdict: Verdict
    if measurement.noisy:
        verdict = "too noisy"
    elif all(count <= limit for count, limit in zip(over, allowed, strict=True)):
        verdict = "pass"
    elif over[-1] >= certainly_over(len(processes[-1]), percentile, confidence):
        verdict = "fail"
    elif percentile_ms > budget_ms * AA_RANGE[1]:
        # Further over than the A/A gate lets noise alone be.
        verdict = "fail"
    else:
        verdict = "too noisy"
    return Certificate(
        verdict, budget_ms, percentile, confidence, percentile_ms, tuple(over), tuple(allowed), measurement
    )


def checked(budget_ms: float, percentile: int, confidence: float) -> None:
    """Raises InputError for what no certificate can be asked for."""
    if not (math.isfinite(budget_ms) and budget_ms > 0):
        raise InputError(f"budget {budget_ms} ms: expected a positive number of milliseconds")
    _probability_over(percentile)
    _checked(confidence)


def check(certificate: dict[str, Any], onnx_path: Path) -> Verdict:
    """The verdict again, from the samples in ``Certificate.to_json`` alone.

    Raises InputError if the file is another one than was measured, or the stated verdict is not what
    the samples say.
    """
    try:
        measurement = Measurement.from_json(certificate["measurement"])
        again = certify(
            measurement,
            certificate["budget_ms"],
            percentile=certificate["percentile"],
            confidence=certificate["confidence"],
        )
        stated = certificate["verdict"]
    except (KeyError, TypeError) as error:
        raise InputError(f"not a certificate: {error}") from None
    sha256 = sha256_file(onnx_path)
    if sha256 != measurement.sha256:
        raise InputError(
            f"{onnx_path}: its sha256 {sha256[:12]} is not the certificate's {measurement.sha256[:12]}: "
            "certify it anew"
        )
    if again.verdict != stated:
        raise InputError(f"the certificate says {stated!r}, its samples say {again.verdict!r}")
    return again.verdict


def allowed_over(samples: int, percentile: int, confidence: float) -> int:
    """The most samples over the budget with which "percentile <= budget" is a pass; -1: none would do.

    The largest k with P(X <= k) <= 1 - confidence, X binomial(samples, 1 - percentile / 100).
    """
    return _largest_tail(samples, _probability_over(percentile), _checked(confidence))


def certainly_over(samples: int, percentile: int, confidence: float) -> int:
    """The fewest samples over the budget that show it to be broken; samples + 1: none would do.

    The smallest k with P(X >= k) <= 1 - confidence: ``allowed_over`` of the samples *not* over.
    """
    return samples - _largest_tail(samples, 1 - _probability_over(percentile), _checked(confidence))


def _probability_over(percentile: int) -> float:
    if not 0 < percentile < 100:
        raise InputError(f"percentile {percentile}: expected 1 to 99")
    return 1 - percentile / 100


def _checked(confidence: float) -> float:
    if not 0.5 <= confidence < 1:
        raise InputError(f"confidence {confidence}: expected at least 0.5 and under 1")
    return confidence


@lru_cache(maxsize=1024)
def _largest_tail(n: int, p: float, confidence: float) -> int:
    """The largest k with P(binomial(n, p) <= k) <= 1 - confidence, or -1."""
    total, k = 0.0, -1
    while k < n:
        # Logarithms: the coefficients of 2000 samples overflow a float.
        total += math.exp(
            math.lgamma(n + 1) - math.lgamma(k + 2) - math.lgamma(n - k)
            + (k + 1) * math.log(p) + (n - k - 1) * math.log1p(-p)
        )  # fmt: skip
        if total > 1 - confidence:
            break
        k += 1
    return k
