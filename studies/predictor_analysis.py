"""What the records of latency_predictor.py say: errors beside two baselines, families left out, bounds."""

from __future__ import annotations

import math
import multiprocessing
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.stats import binomtest, kendalltau, wilcoxon
from sklearn.linear_model import RidgeCV

from nassuite.latency.calibrate import Sample
from nassuite.latency.choosing import learnt_from
from nassuite.latency.drift import steadied_ms
from nassuite.latency.features import features
from nassuite.latency.predictor import LEAST_SAMPLES, fit_predictor, held_out_error
from nassuite.latency.regressors import ALPHAS, fit_all
from nassuite.metrics import binomial_interval
from nassuite.progress import SILENT, Progress
from nassuite.spec import Arch

FAMILIES = {
    "inverted residual": {"inverted_residual"},
    "ghost": {"ghost"},
    "shuffle": {"shuffle"},
    "DWCB": {"dwcb", "group_dwcb", "alt_dwcb"},
}
ADDED = (0, 4, 8, 16, 32, 64, 128)
"""Samples of a family that had been left out, given to the predictor."""

BAND, LEAST_IN_BAND = 0.2, 5
PROBABILITY = 0.9
DRAWS = 2000

Job = tuple[str, Callable[..., dict[str, Any]], tuple[Any, ...]]
"""Where its result belongs, a function, and what it is given."""


@dataclass(frozen=True)
class Records:
    """``held_out`` are the measurements of each network; ``seconds`` of each phase."""

    calibration: Sequence[Sample]
    held_out: Sequence[tuple[Sample, ...]]
    in_chans: int
    seconds: dict[str, float]


@dataclass(frozen=True)
class Measured:
    """Networks: features ``x`` (n, F), ``ms`` (n,), whether drawn at random (n,)."""

    archs: Sequence[Arch]
    x: np.ndarray
    ms: np.ndarray
    drawn: np.ndarray

    def __getitem__(self, rows: np.ndarray) -> Measured:
        numbers = np.arange(len(self.ms))[rows]
        return Measured(
            [self.archs[i] for i in numbers], self.x[numbers], self.ms[numbers], self.drawn[numbers]
        )

    def __add__(self, other: Measured) -> Measured:
        return Measured(
            [*self.archs, *other.archs], np.concatenate([self.x, other.x]),
            np.concatenate([self.ms, other.ms]), np.concatenate([self.drawn, other.drawn]),
        )  # fmt: skip


def analyse(
    records: Records, *, seed: int, splits: int, processes: int, progress: Progress = SILENT
) -> dict[str, Any]:
    """JSON with all that the report tells."""
    learnt = learnt_from(records.calibration)
    reference_ms = float(np.median([sample.reference_ms for sample in learnt]))
    calibration = calibrated(learnt, reference_ms, records.in_chans, seed)
    held_out, repeated = _held_out(records, reference_ms)
    results: dict[str, Any] = {
        "noisy": {
            "calibration": len(records.calibration) - len(learnt),
            "held_out": len(records.held_out) - len(held_out.ms),
        },
        "calibration_ms": sorted(calibration.ms.tolist()),
        "repeated": repeated,
        **_accuracy(calibration, held_out, seed),
    }
    pool = calibration[calibration.drawn] + held_out
    firsts = [calibrated(learnt[:n], reference_ms, records.in_chans, seed) for n in _sizes(len(learnt))]
    jobs = [
        *(("sizes", _size_job, (part, held_out, seed)) for part in firsts),
        *(("families", _family_job, inputs) for inputs in _families_left_out(calibration, held_out, seed)),
        *(("splits", _split_job, (pool, split)) for split in range(splits)),
    ]
    for name, found in progress.track(_done(jobs, processes), "analysing", total=len(jobs)):
        results.setdefault(name, []).append(found)
    return results


def _done(jobs: Sequence[Job], processes: int) -> Iterator[tuple[str, dict[str, Any]]]:
    if processes == 1:
        yield from ((name, job(*inputs)) for name, job, inputs in jobs)
        return
    with ProcessPoolExecutor(processes, mp_context=multiprocessing.get_context("spawn")) as pool:
        waiting = [(name, pool.submit(job, *inputs)) for name, job, inputs in jobs]
        yield from ((name, future.result()) for name, future in waiting)


def measured(samples: Sequence[Sample], ms: Sequence[float], in_chans: int) -> Measured:
    x = np.stack([features(sample.arch, in_chans) for sample in samples])
    return Measured([s.arch for s in samples], x, np.array(ms), np.array([s.drawn for s in samples]))


def calibrated(samples: Sequence[Sample], reference_ms: float, in_chans: int, seed: int) -> Measured:
    """What a search would make of these samples, in milliseconds beside a reference of ``reference_ms``."""
    x = np.stack([features(sample.arch, in_chans) for sample in samples])
    own = float(np.median([sample.reference_ms for sample in samples]))
    return measured(samples, (steadied_ms(x, samples, seed=seed) * reference_ms / own).tolist(), in_chans)


def _held_out(records: Records, reference_ms: float) -> tuple[Measured, dict[str, float]]:
    """What counts as measured, from the quiet repeats of each network, and how well they agree."""
    least = min(2, max(map(len, records.held_out)))
    quiet = [[s for s in repeats if not s.noisy] for repeats in records.held_out]
    told = [repeats for repeats in quiet if len(repeats) >= least]
    network = np.repeat(np.arange(len(told)), [len(repeats) for repeats in told])
    samples = [s for repeats in told for s in repeats]
    ratios = np.log([s.ratio for s in samples])
    references = np.array([s.reference_ms for s in samples])
    logs, added = additive(ratios, network, references)
    left = ratios - added - logs[network]
    free = len(samples) - len(told) - len(np.unique(references)) + 1
    error = math.sqrt(float(np.sum(left**2)) / free * len(told) / len(samples)) if free > 0 else 0.0
    repeated = {
        "measurements": len(samples),
        "added": float(added.std()),
        **_apart(ratios, network),
        **{f"steadied_{name}": value for name, value in _apart(ratios - added, network).items()},
        "standard_error": error,
    }
    return measured([s[0] for s in told], (np.exp(logs) * reference_ms).tolist(), records.in_chans), repeated


def additive(
    values: np.ndarray, network: np.ndarray, reference_ms: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Least squares of a share of each network (N,) and one of the process that measured it (n,), of mean zero.

    Rows of one ``reference_ms`` are of one process. Networks are in other company in each pass, which is what tells
    the two apart; no predictor is asked.
    """
    _, process = np.unique(reference_ms, return_inverse=True)
    rows = np.arange(len(values))
    design = np.zeros((len(values) + 1, network.max() + process.max() + 2))
    design[rows, network] = 1
    design[rows, network.max() + 1 + process] = 1
    design[-1, network.max() + 1 :] = 1  # the shares of processes add up to nothing
    found, *_ = np.linalg.lstsq(design, np.append(values, 0.0), rcond=None)
    return found[: network.max() + 1], found[network.max() + 1 :][process]


def _apart(logs: np.ndarray, network: np.ndarray) -> dict[str, float]:
    """How far two measurements of a network are apart, over the first two of each."""
    twice = [logs[network == i][:2] for i in range(network.max() + 1) if (network == i).sum() > 1]
    apart = np.abs(np.expm1(np.diff(np.array(twice).reshape(-1, 2), axis=1)[:, 0]))
    if not len(apart):
        return {"n": 0, "median": 0.0, "within_5_percent": 0.0, "within_10_percent": 0.0}
    shares = {f"within_{percent}_percent": float((apart <= percent / 100).mean()) for percent in (5, 10)}
    return {"n": len(apart), "median": float(np.median(apart)), **shares}


# --- accuracy, beside baselines ---------------------------------------------------------------------


def _accuracy(calibration: Measured, held_out: Measured, seed: int) -> dict[str, Any]:
    predictor = fit_predictor(calibration.x, calibration.ms, seed=seed, drawn=calibration.drawn)
    macs = fit_all(calibration.x, calibration.ms, seed, names=("macs",))["macs"]
    predicted = {
        "predictor": predictor.predict(held_out.x),
        "linear in MACs": macs(held_out.x),
        "table of operators": table_of_operators(calibration)(held_out.archs),
    }
    upper = predictor.upper(held_out.x, probability=PROBABILITY)
    return {
        "model": predictor.model,
        "cross_validated": {name: error.to_json() for name, error in predictor.errors.items()},
        "expected": predictor.error.to_json(),
        "fitted_on": predictor.fitted_on,
        "errors": {name: errors(values, held_out.ms) for name, values in predicted.items()},
        "against": {
            name: against(predicted["predictor"], values, held_out.ms, seed)
            for name, values in predicted.items()
            if name != "predictor"
        },
        "by_family": {
            family: errors(predicted["predictor"][rows], held_out.ms[rows])
            for family in FAMILIES
            if len(rows := np.flatnonzero([only(arch, family) for arch in held_out.archs])) >= LEAST_IN_BAND
        },
        "bound": {"margin": predictor.margin(PROBABILITY), **_coverage(upper, held_out.ms)},
        "networks": [
            {"arch": str(arch), "digest": arch.digest, "measured_ms": ms, **dict(zip(predicted, row, strict=True))}
            for arch, ms, row in zip(
                held_out.archs, held_out.ms.tolist(), np.stack(list(predicted.values()), 1).tolist(), strict=True
            )
        ],
    }  # fmt: skip


def table_of_operators(calibration: Measured) -> Callable[[Sequence[Arch]], np.ndarray]:
    """The sum of a table: a cost for each kind of block at its place, fitted to whole networks by relative error.

    Entries are told apart by operator, input size and stride, again by kernel, expansion, SE and activation, and again by
    widths; ridge regression makes what was seen rarely cost as its kind does.
    """
    counts = [Counter(_entries(arch)) for arch in calibration.archs]
    columns = sorted({entry for count in counts for entry in count}, key=repr)
    table = np.array([[count[entry] for entry in columns] for count in counts], dtype=float)
    model = RidgeCV(alphas=ALPHAS).fit(table, calibration.ms, sample_weight=1 / calibration.ms**2)

    def predict(archs: Sequence[Arch]) -> np.ndarray:
        found = [Counter(_entries(arch)) for arch in archs]
        rows = np.array([[count[entry] for entry in columns] for count in found], dtype=float)
        return np.maximum(model.predict(rows), calibration.ms.min() / 4)

    return predict


def _entries(arch: Arch) -> Iterator[tuple[Any, ...]]:
    size = math.ceil(arch.resolution / arch.stem.stride)
    yield ("stem", arch.resolution, arch.stem.width)
    for b in arch.blocks:
        kind: tuple[Any, ...] = (b.op, size, b.stride)
        yield kind
        kind = (*kind, b.kernel, b.expand, b.se, b.act)
        yield kind
        yield (*kind, b.in_channels, b.out_channels)
        size = math.ceil(size / b.stride)
    yield ("head", size, arch.head.width)


def errors(predicted: np.ndarray, ms: np.ndarray) -> dict[str, Any]:
    error = held_out_error(predicted, ms)
    hits = {name: round(getattr(error, name) * error.n) for name in ("within_5_percent", "within_10_percent")}
    intervals = {f"{name}_interval": binomial_interval(count, error.n) for name, count in hits.items()}
    return {**error.to_json(), **intervals, "tau_in_bands": tau_in_bands(predicted, ms)}


def tau_in_bands(predicted: np.ndarray, ms: np.ndarray) -> float | None:
    """Kendall's tau among the networks within 20 % of a network's latency, averaged over the networks."""
    taus = []
    for centre in ms:
        band = np.abs(ms / centre - 1) <= BAND
        if band.sum() >= LEAST_IN_BAND:
            taus.append(kendalltau(predicted[band], ms[band]).statistic)
    found = [tau for tau in taus if math.isfinite(tau)]
    return float(np.mean(found)) if found else None


def against(ours: np.ndarray, theirs: np.ndarray, ms: np.ndarray, seed: int) -> dict[str, Any]:
    """Paired over networks: McNemar's exact test of hits, Wilcoxon's signed-rank test of errors."""
    our_miss, their_miss = np.abs(ours / ms - 1), np.abs(theirs / ms - 1)
    found: dict[str, Any] = {"wilcoxon_p": float(wilcoxon(our_miss, their_miss).pvalue)}
    rng = np.random.default_rng(seed)
    for percent in (5, 10):
        gain = (our_miss <= percent / 100).astype(float) - (their_miss <= percent / 100)
        only_ours, only_theirs = int((gain > 0).sum()), int((gain < 0).sum())
        different = only_ours + only_theirs
        means = [rng.choice(gain, len(gain)).mean() for _ in range(DRAWS)]
        found[f"hits_{percent}"] = {
            "points": 100 * float(gain.mean()),
            "interval": [100 * float(q) for q in np.quantile(means, [0.025, 0.975])],
            "only_ours": only_ours,
            "only_theirs": only_theirs,
            "mcnemar_p": float(binomtest(only_ours, different).pvalue) if different else 1.0,
        }
    return found


# --- how much it takes ------------------------------------------------------------------------------


def _sizes(most: int) -> list[int]:
    return [n for n in (32, 48, 72, 112, 160, 224, 320) if n < most] + [most]


def _size_job(part: Measured, held_out: Measured, seed: int) -> dict[str, Any]:
    """The predictor of the first samples, on the held-out networks."""
    fitted = fit_predictor(part.x, part.ms, seed=seed, drawn=part.drawn)
    return {"samples": len(part.ms), "model": fitted.model, **errors(fitted.predict(held_out.x), held_out.ms)}


def has(arch: Arch, family: str) -> bool:
    return any(block.op in FAMILIES[family] for block in arch.blocks)


def only(arch: Arch, family: str) -> bool:
    return all(block.op in FAMILIES[family] for block in arch.blocks)


def _families_left_out(calibration: Measured, held_out: Measured, seed: int) -> Iterator[tuple[Any, ...]]:
    """Trained on every network without the family and some of the calibration's with it; tested on the held-out with it."""
    for family in FAMILIES:
        known = np.array([has(arch, family) for arch in calibration.archs])
        asked = np.array([has(arch, family) for arch in held_out.archs])
        others, new, test = calibration[~known] + held_out[~asked], calibration[known], held_out[asked]
        if len(others.ms) < LEAST_SAMPLES or len(test.ms) < LEAST_IN_BAND:
            continue
        order = np.random.default_rng(seed).permutation(len(new.ms))
        for count in (n for n in ADDED if n <= len(order)):
            yield family, others, new[order[:count]], test, seed


def _family_job(family: str, others: Measured, new: Measured, test: Measured, seed: int) -> dict[str, Any]:
    train = others + new
    fitted = fit_predictor(train.x, train.ms, seed=seed)
    found = errors(fitted.predict(test.x), test.ms)
    return {"family": family, "others": len(others.ms), "added": len(new.ms), "model": fitted.model, **found}


def _split_job(pool: Measured, split: int) -> dict[str, Any]:
    """Half of all networks drawn at random to learn from, half to see how often the bound holds."""
    order = np.random.default_rng(split).permutation(len(pool.ms))
    train, test = pool[order[: len(order) // 2]], pool[order[len(order) // 2 :]]
    fitted = fit_predictor(train.x, train.ms, seed=split)
    return {"split": split, **_coverage(fitted.upper(test.x, probability=PROBABILITY), test.ms)}


def _coverage(upper: np.ndarray, ms: np.ndarray) -> dict[str, Any]:
    covered = int((ms <= upper).sum())
    return {"n": len(ms), "covered": covered, "interval": binomial_interval(covered, len(ms))}
