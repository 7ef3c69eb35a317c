"""Numbers of ranking.py: how well each reading of each supernet ranks, and what of that is chance."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from ranking_ablations import DEFAULT
from ranking_truth import BASELINES, Truth
from sklearn.linear_model import RidgeCV

from nassuite.search.ranking import LEAST, correlation, rank, tau, tau_difference

Array = NDArray[np.float64]
ACCURACY = "accuracy"
READINGS = {
    ACCURACY: "validation accuracy, as a search asks for it",
    "probability": "mean probability of the right class: finer than right or wrong",
    "refit": "accuracy with the classifier fitted to the subnet's own features",
}
HALVES = 200
ENSEMBLE = "mean of all supernets"
LEARNT_FROM = (10, 20, 40)

TAU, OF_CEILING, OVER_MACS, BAND, GAP = 0.70, 0.90, 0.05, 0.40, 0.005
"""The aims."""


def analyse(
    truth: Truth,
    records: list[dict[str, Any]],
    equal: list[dict[str, Any]],
    seed: int,
    *,
    short: list[dict[str, Any]] | tuple[()] = (),
) -> dict[str, Any]:
    """``records`` are the ablations, ``equal`` the networks trained for as many epochs as a supernet, ``short`` for one more."""
    scratch, macs = truth.scratch, truth.column("macs")
    digests = [arch.digest for arch in truth.archs]
    values = {
        (record["name"], reading): np.array([record["scores"][digest][reading] for digest in digests])
        for record in records
        if not record["failed"] and set(digests) <= set(record["scores"])
        for reading in READINGS
    }
    together = (
        {
            (ENSEMBLE, reading): np.mean(
                [standardised(found) for (_, r), found in values.items() if r == reading], 0
            )
            for reading in READINGS
        }
        if len(values) > len(READINGS)
        else {}
    )
    default = values.get((DEFAULT, ACCURACY))
    latency = truth.column("latency_ms")
    ceiling = correlation(*truth.twice, seed=seed) if len(truth.twice[0]) >= 8 else None
    noise = float(np.sqrt((np.subtract(*truth.twice) ** 2).mean() / 2)) if ceiling else None
    rows = []
    for (name, reading), found in values.items():
        ranking = rank(found, scratch, latency_ms=latency, baselines={"MACs": macs}, twice=None, seed=seed)
        inherited = ranking.inherited
        rows.append(
            {
                "name": name, "reading": reading, "tau": [inherited.tau, inherited.tau_low, inherited.tau_high],
                "rho": [inherited.rho, inherited.rho_low, inherited.rho_high],
                "over_macs": list(ranking.over_macs),
                "over_default": None if default is None else list(tau_difference(found, default, scratch, seed=seed)),
                "bands": [band.tau for band in ranking.bands], "of_ceiling": inherited.tau / ceiling.tau if ceiling and ceiling.tau > 0 else None,
                "gap": list(ranking.gap), "verdict": ranking.verdict, "reason": ranking.reason,
            }
        )  # fmt: skip
    best = max(rows, key=lambda row: row["tau"][0], default=None)
    ensemble = [
        {"reading": reading, "tau": [found.tau, found.tau_low, found.tau_high]}
        for (_, reading), values_of in together.items()
        for found in [correlation(values_of, scratch, seed=seed)]
    ]
    return {
        "n": len(digests), "rows": rows, "best": best and {key: best[key] for key in ("name", "reading")},
        "ceiling": ceiling and {"n": ceiling.n, "tau": [ceiling.tau, ceiling.tau_low, ceiling.tau_high]},
        "baselines": [
            {"name": name, "tau": [c.tau, c.tau_low, c.tau_high], "rho": [c.rho, c.rho_low, c.rho_high]}
            for name, column in BASELINES.items()
            for c in [correlation(truth.column(column), scratch, seed=seed)]
        ],
        "noise": noise, "spread": float(scratch.std()),
        "attainable": None if noise is None else attainable(noise, float(scratch.std())),
        "short": short_ranked(truth, records, short, seed), "ensemble": ensemble, "corrected": corrected(truth, values, best["name"] if best else None, seed),
        "chosen_elsewhere": chosen_elsewhere(list(values.values()), scratch, seed) if values else None,
        "aims": {f"{row['name']} | {row['reading']}": aims(row, equal) for row in rows},
    }  # fmt: skip


def aims(row: dict[str, Any], equal: list[dict[str, Any]]) -> list[tuple[str, str, bool | None]]:
    """What the issue asks of a row, what it has, and whether that is enough; None where it is not known."""
    over, low = row["over_macs"][:2]
    ratio = row["of_ceiling"]
    found: list[tuple[str, str, bool | None]] = [
        (f"τ of {TAU} or more", f"{row['tau'][0]:.3f}", row["tau"][0] >= TAU),
        (
            f"{OF_CEILING:.0%} of the noise ceiling or more",
            "not known" if ratio is None else f"{ratio:.0%}",
            None if ratio is None else ratio >= OF_CEILING,
        ),
        (
            f"{OVER_MACS} above MACs or more, the interval above zero",
            f"{over:+.3f} (from {low:+.3f})",
            over >= OVER_MACS and low > 0,
        ),
        (
            f"τ of {BAND} or more within each third of the latencies",
            f"{min(row['bands']):.3f} at least",
            min(row["bands"]) >= BAND,
        ),
    ]
    gaps = [entry[row["reading"]] - entry["scratch"] for entry in equal if entry["supernet"] == row["name"]]
    if row["reading"] != "probability" and gaps:
        worst = max(gaps, key=abs)
        found.append(
            (
                f"inherited within {100 * GAP:g} points of from scratch at equal epochs, {len(gaps)} networks",
                f"{100 * worst:+.1f} points at most",
                abs(worst) <= GAP,
            )
        )
    return found


def attainable(noise: float, spread: float) -> float:
    """The tau that a ranking by expected accuracies would have to accuracies of one training each, all of them normal.

    ``noise`` is one training's standard deviation, ``spread`` that of what was measured, noise and all; for the relation
    of tau to the correlation see Kruskal 1958, section 4.
    """
    return float(2 / np.pi * np.arcsin(np.sqrt(max(0.0, 1 - (noise / spread) ** 2))))


def standardised(values: Array) -> Array:
    """To mean 0 and standard deviation 1 over the first axis; what is constant becomes 0."""
    spread = values.std(0)
    return (values - values.mean(0)) / np.where(spread > 0, spread, 1)


def short_ranked(
    truth: Truth, records: list[dict[str, Any]], short: list[dict[str, Any]] | tuple[()], seed: int
) -> list[dict[str, Any]]:
    """How one epoch ranks the architectures that had it, from each start; beside their MACs and what they inherit."""
    scores = {record["name"]: record["scores"] for record in records}
    rows = []
    for start in dict.fromkeys(entry["from"] for entry in short):
        after = {entry["digest"]: entry for entry in short if entry["from"] == start}
        places = [number for number, arch in enumerate(truth.archs) if arch.digest in after]
        if len(places) < LEAST:
            continue
        digests = [truth.archs[place].digest for place in places]
        scratch, macs = truth.scratch[places], truth.column("macs")[places]
        trained = np.array([after[digest]["accuracy"] for digest in digests])
        known = scores.get(start, {})
        inherited = np.array([known[digest][ACCURACY] for digest in digests]) if known else None
        found = correlation(trained, scratch, seed=seed)
        rows.append(
            {
                "from": start, "n": len(places), "tau": [found.tau, found.tau_low, found.tau_high],
                "over_macs": list(tau_difference(trained, macs, scratch, seed=seed)),
                "inherited": None if inherited is None else tau(inherited, scratch),
                "over_inherited": None if inherited is None else list(tau_difference(trained, inherited, scratch, seed=seed)),
                "accuracy": float(trained.mean()), "cpu_seconds": float(np.median([after[d]["cpu_seconds"] for d in digests])),
            }
        )  # fmt: skip
    return rows


def described(truth: Truth) -> Array:
    """(n, F): what is known of an architecture without any training."""
    archs = truth.archs
    operators = sorted({block.op for arch in archs for block in arch.blocks})
    columns = [np.log(truth.column(name)) for name in ("macs", "params", "latency_ms")]
    columns += [truth.column("synflow"), np.array([len(arch.blocks) for arch in archs], float)]
    columns += [np.array([np.mean([b.op == op for b in arch.blocks]) for arch in archs]) for op in operators]
    columns += [np.array([np.mean([bool(b.se) for b in arch.blocks]) for arch in archs])]
    return standardised(np.stack(columns, 1))


def corrected(
    truth: Truth, values: dict[tuple[str, str], Array], name: str | None, seed: int
) -> list[dict[str, Any]]:
    """How well a ridge ranks the others that was fitted to some architectures' accuracies from scratch.

    On what is known without training, on what they inherit from supernet ``name``, and on both; mean and standard
    deviation of tau over random choices of those that are trained. What would be had for so many trainings.
    """
    scratch, free = truth.scratch, described(truth)
    if name is None or len(scratch) < 2 * max(LEARNT_FROM):
        return []
    inherited = standardised(np.stack([values[name, reading] for reading in READINGS], 1))
    inputs = {"known without training": free, "inherited": inherited, "both": np.hstack([free, inherited])}
    rng = np.random.default_rng(seed)
    orders = [rng.permutation(len(scratch)) for _ in range(HALVES)]
    rows = []
    for count in LEARNT_FROM:
        for what, features in inputs.items():
            taus = []
            for order in orders:
                known, asked = order[:count], order[count:]
                ridge = RidgeCV(np.logspace(-1, 3, 9)).fit(features[known], standardised(scratch[known]))
                taus.append(tau(ridge.predict(features[asked]), scratch[asked]))
            rows.append(
                {"trained": count, "from": what, "tau": float(np.mean(taus)), "spread": float(np.std(taus))}
            )
    return rows


def chosen_elsewhere(candidates: list[Array], scratch: Array, seed: int) -> float:
    """Mean tau, on half of the architectures, of what ranked the other half best: what choosing among so many is worth.

    The largest tau of many is too good by luck; this one is not, though of half the architectures.
    """
    rng = np.random.default_rng(seed)
    found = []
    for _ in range(HALVES):
        order = rng.permutation(len(scratch))
        here, there = order[: len(order) // 2], order[len(order) // 2 :]
        best = max(candidates, key=lambda values: tau(values[here], scratch[here]))
        found.append(tau(best[there], scratch[there]))
    return float(np.mean(found))
