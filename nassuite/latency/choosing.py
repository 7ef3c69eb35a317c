"""Which networks are measured for the predictor: spread over the space, then where it is least sure.

They are chosen batch by batch. A batch is a function of the space, the seed and the records of
the batches before it, so that a calibration that was stopped and goes on makes the same list.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from nassuite.latency.calibrate import BATCH, Sample, measure_archs
from nassuite.latency.drift import steadied_ms
from nassuite.latency.features import features
from nassuite.latency.meter import Meter
from nassuite.latency.predictor import FOLDS, LEAST_SAMPLES, folds
from nassuite.latency.regressors import fit_all
from nassuite.latency.target import Target
from nassuite.progress import SILENT, Progress
from nassuite.space import UNORDERED, Space
from nassuite.spec import Arch

FIRST_DRAWN = 48
"""Networks that are drawn at random before a model is asked where it is not sure."""

CANDIDATES = 24
"""Candidates for each network that is chosen because the models disagree about it."""

COMMITTEE = ("costs", "ridge", "boosted costs")
JUDGE = "ensemble"
"""The model whose error says whether more samples would help."""

PATIENCE = 3 * BATCH
LEAST_GAIN = 0.125


def collect(
    space: Space,
    export: Callable[[Arch, Path], None],
    meter: Meter,
    target: Target,
    *,
    most: int,
    seed: int,
    in_chans: int,
    least_gain: float = LEAST_GAIN,
    known: Sequence[Sample] = (),
    save: Callable[[Sample], None] = lambda sample: None,
    progress: Progress = SILENT,
) -> list[Sample]:
    """Chooses and measures networks of ``space`` until there are ``most``, or more would not help (``settled``).

    ``known`` are those of a run that was stopped, in their order; ``save`` is called for each new one.
    """
    samples = list(known)

    def batches() -> Iterator[None]:
        while len(samples) < most:
            start = len(samples) // BATCH * BATCH
            before, begun = samples[:start], {sample.arch for sample in samples[start:]}
            if not begun and settled(before, seed=seed, in_chans=in_chans, least_gain=least_gain):
                progress.say(f"{start} latency samples suffice: the last {PATIENCE} told little that was new")
                return
            batch = next_batch(space, before, min(BATCH, most - start), seed=seed, in_chans=in_chans)
            drawn = {arch: at_random for arch, at_random in batch if arch not in begun}
            if not drawn:
                return  # the space has no more

            def marked(sample: Sample, drawn: dict[Arch, bool] = drawn) -> Sample:
                return replace(sample, drawn=drawn[sample.arch])

            new = measure_archs(
                list(drawn), export, meter, target, save=lambda s: save(marked(s)), seed=seed + start
            )
            samples.extend(map(marked, new))
            yield

    total, done = -(-most // BATCH), len(samples) // BATCH
    for _ in progress.track(batches(), "latency samples", total=total, done=done, unit="batches"):
        pass
    return samples


def next_batch(
    space: Space, before: Sequence[Sample], count: int, *, seed: int, in_chans: int
) -> list[tuple[Arch, bool]]:
    """Up to ``count`` networks to measure after those ``before``, each with whether it was drawn at random.

    First both ends of the space in every operator, then random ones (``draw``). As soon as those
    suffice for models, half of every batch is chosen: of each of as many bands of latency the
    candidate about which the models disagree most. Fewer than ``count`` where the space has no more.
    """
    rng = random.Random(f"calibration/{seed}/{len(before)}")
    seen = {sample.arch for sample in before}
    chosen: list[Arch] = []
    if not before:
        chosen = _ends(space)[:count]
    elif sum(sample.drawn for sample in before) >= FIRST_DRAWN:
        candidates = draw(space, CANDIDATES * (count // 2), rng, besides=seen)
        chosen = _least_sure(candidates, before, count // 2, seed=seed, in_chans=in_chans)
    drawn = draw(space, count - len(chosen), rng, besides=seen | set(chosen))
    return [*((arch, False) for arch in chosen), *((arch, True) for arch in drawn)]


def calibration_archs(space: Space, count: int, seed: int) -> list[Arch]:
    """A list to measure at once, on a device that is not asked in between: both ends, then random ones (``draw``)."""
    ends = _ends(space)[:count]
    drawn = draw(space, count - len(ends), random.Random(f"calibration/{seed}"), besides=set(ends))
    return [*ends, *drawn]


def _ends(space: Space) -> list[Arch]:
    """The smallest and the largest network, with each operator wherever it may be."""
    return list(
        dict.fromkeys(space.extreme(w, op) for w in ("smallest", "largest") for op in space.operators)
    )


def draw(
    space: Space, count: int, rng: random.Random, *, besides: AbstractSet[Arch] = frozenset()
) -> list[Arch]:
    """``count`` different networks at random, stratified over size and number of operators.

    Uniform sampling of a space makes networks of middling size that mix all operators. Here the size is
    uniform between the space's ends, in ``count`` strata, and so is the number of operators of which the
    layers choose theirs, from one alone to all. None is among ``besides``, other networks of the space; fewer where it has no more.
    """
    found: dict[Arch, None] = {}
    strata = zip(rng.sample(range(count), count), rng.sample(range(count), count), strict=True)
    for size, mixed in strata:
        for _ in range(20):
            operators = 1 + int(len(space.operators) * (mixed + rng.random()) / count)
            arch = _draw_one(space, (size + rng.random()) / count, operators, rng)
            if arch not in besides and arch not in found:
                found[arch] = None
                break
    attempts = 0
    while len(found) < count and len(found) + len(besides) < space.size and attempts < 50 * count:
        attempts += 1
        arch = space.sample(rng)
        if arch not in besides:
            found[arch] = None
    return list(found)


def _draw_one(space: Space, size: float, operators: int, rng: random.Random) -> Arch:
    """``size`` in 0..1 is how far up its choices an elastic gene is on average."""
    allowed = set(rng.sample(space.operators, operators))
    genes: dict[str, Any] = {}
    for name, choices in space.genes.items():
        if name.endswith(UNORDERED):
            genes[name] = rng.choice([choice for choice in choices if choice in allowed] or choices)
        else:
            ordered = sorted(choices)  # numbers or bools, never mixed with text
            genes[name] = ordered[sum(rng.random() < size for _ in ordered[1:])]
    return space.decode(genes)


def _least_sure(
    candidates: Sequence[Arch], before: Sequence[Sample], count: int, *, seed: int, in_chans: int
) -> list[Arch]:
    """Query by committee (Seung et al. 1992): one candidate from each of ``count`` bands of latency."""
    if not candidates:
        return []
    x, y, _ = arrays(before, in_chans, seed=seed)
    queries = np.stack([features(arch, in_chans) for arch in candidates])
    members = fit_all(x, y, seed, names=COMMITTEE).values()
    predicted = np.log([member(queries) for member in members])
    doubt = predicted.std(0)
    bands = np.array_split(np.argsort(predicted.mean(0), kind="stable"), count)
    return [candidates[band[np.argmax(doubt[band])]] for band in bands if len(band)]


def settled(samples: Sequence[Sample], *, seed: int, in_chans: int, least_gain: float = LEAST_GAIN) -> bool:
    """Whether the latest 48 samples lowered the error on held-out networks by less than ``least_gain``.

    By cross-validation over networks drawn at random: the same ones held out from a model of all the
    others, and from a model of those others that were there before.
    """
    if sum(sample.drawn for sample in samples[:-PATIENCE]) < FIRST_DRAWN:
        return False
    learnt = learnt_from(samples)
    earlier = set(map(id, samples[:-PATIENCE]))
    before = np.array([id(sample) in earlier for sample in learnt])
    x, y, drawn = arrays(samples, in_chans, seed=seed)
    fold = folds(x, seed)
    misses = {"all": 0.0, "before": 0.0}
    for number in range(FOLDS):
        test = drawn & (fold == number)
        for name, rows in (("all", fold != number), ("before", before & (fold != number))):
            predicted = fit_all(x[rows], y[rows], seed, names=(JUDGE,))[JUDGE](x[test])
            misses[name] += float(np.abs(predicted / y[test] - 1).sum())
    return misses["all"] > (1 - least_gain) * misses["before"]


def learnt_from(samples: Sequence[Sample]) -> Sequence[Sample]:
    """Those that were measured quietly; all of them where too few were."""
    quiet = [sample for sample in samples if not sample.noisy]
    return quiet if len(quiet) >= 2 * LEAST_SAMPLES else samples


def arrays(
    samples: Sequence[Sample], in_chans: int, *, seed: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """What a predictor is fitted to: features (n, F), milliseconds (n,), and which were drawn at random (n,)."""
    learnt = learnt_from(samples)
    x = np.stack([features(sample.arch, in_chans) for sample in learnt])
    return x, steadied_ms(x, learnt, seed=seed), np.array([sample.drawn for sample in learnt])
