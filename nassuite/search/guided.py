"""``GuidedSampler``: an Optuna sampler that learns from what was evaluated (``--sampler guided``).

Every ``batch`` trials it makes a plan. Surrogates are fitted to all evaluations so far; an evolutionary search
on their predictions, which costs no evaluation, finds candidates; of these a batch is chosen greedily by
expected gain: first the best under each budget, then by the hypervolume of the front, where what is chosen
counts as evaluated with its predicted values, so that a batch is spread along the front.

A search that alternates between predictors and evolution is LINAS (Cummings et al. 2022); expected
hypervolume improvement is Emmerich et al. 2006, believing predictions within a batch Ginsbourger et al. 2010.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import optuna
from numpy.typing import NDArray
from optuna.distributions import BaseDistribution
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from nassuite.search.moves import Params, SearchSpace, cross, draw, mutate, numbers
from nassuite.search.pareto import hypervolume_gains, non_dominated, pareto_front
from nassuite.search.surrogate import Surrogate, fit_surrogate

Array = NDArray[np.float64]

STARTUP_POOL = 32
"""Random points drawn for each that is taken while there is nothing to learn from."""
GENERATIONS, PARENTS, CHILDREN = 10, 40, 80
CORNER = 0.1
"""Of the costs' range beyond their worst: where the hypervolume is measured from, so that ends of the front count."""
NODES = {1: (21, 5.0), 2: (7, 3.0), 3: (3, 1.7)}
"""For so many objectives that are predicted, how many nodes the quadrature has, and how many standard deviations it reaches.

Late in a search most gains are those of the tails: where all look like nothing, nothing is left to choose by.
"""


@dataclass(frozen=True)
class Hints:
    """What is known of a problem before anything is evaluated; each part may be left out.

    ``describe`` gives the features (F,) of a point, ``identity`` what is equal for points that mean the same.
    ``exact`` gives objectives by their number, in the study's own sign, that cost next to nothing to ask, so they
    are not predicted. ``budgets`` are limits of objective ``budgeted``, a minimised one: nothing over the largest
    is proposed, and each has its share of the proposals. ``within`` says whether a point keeps the study's constraints,
    which then are not predicted.
    """

    describe: Callable[[Params], Array] | None = None
    identity: Callable[[Params], Hashable] | None = None
    exact: Mapping[int, Callable[[Params], float]] | None = None
    budgets: Sequence[float] = ()
    budgeted: int = 1
    within: Callable[[Params], bool] | None = None


@dataclass(frozen=True, eq=False)
class _Candidates:
    """Points with their predicted costs: mean and deviation (n, k), smaller is better."""

    points: list[Params]
    mean: Array
    deviation: Array


class GuidedSampler(optuna.samplers.BaseSampler):
    """For studies of one to three objectives over any of Optuna's distributions.

    The study's constraints are predicted like objectives, and points predicted to break one are not proposed;
    with ``hints.budgets`` or ``hints.within`` these take their place. A plan depends on ``seed`` and on the trials before it only:
    a study that was stopped and goes on makes the same trials. Raises ValueError for four objectives
    or more, and where the budgeted objective is not minimised.
    """

    def __init__(
        self, *, seed: int = 0, startup: int = 24, batch: int = 4, hints: Hints | None = None
    ) -> None:
        if startup < 2 or batch < 1:
            raise ValueError(f"startup {startup} and batch {batch}: expected at least 2 and 1")
        self._seed, self._startup, self._batch = seed, startup, batch
        self._hints = hints or Hints()
        self._intersection = optuna.search_space.IntersectionSearchSpace()
        self._planned: tuple[tuple[int, ...], list[Params]] = ((), [])

    def infer_relative_search_space(
        self, study: optuna.Study, trial: FrozenTrial
    ) -> dict[str, BaseDistribution]:
        space = self._intersection.calculate(study)
        return {name: distribution for name, distribution in space.items() if not distribution.single()}

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        if not search_space:
            return {}
        states = (TrialState.COMPLETE, TrialState.RUNNING)
        before = [t for t in study.get_trials(deepcopy=False, states=states) if t.number < trial.number]
        begun = len(before) // self._batch * self._batch
        known = [t for t in before[:begun] if t.state == TrialState.COMPLETE]
        key = (begun, *(t.number for t in known))
        if self._planned[0] != key:
            self._planned = (key, self._plan(study, known, search_space, begun))
        return self._planned[1][len(before) - begun]

    def sample_independent(
        self,
        study: optuna.Study,
        trial: FrozenTrial,
        param_name: str,
        param_distribution: BaseDistribution,
    ) -> Any:
        rng = np.random.default_rng([self._seed, trial.number, *param_name.encode()])
        return draw({param_name: param_distribution}, rng)[param_name]

    def _plan(
        self, study: optuna.Study, trials: list[FrozenTrial], space: SearchSpace, number: int
    ) -> list[Params]:
        """The next ``batch`` points."""
        problem = _Problem(study.directions, space, self._hints, trials)
        rng = np.random.default_rng([self._seed, number])
        if len(trials) < self._startup or len(problem.points) < 2:
            chosen = problem.spread(self._batch, rng)
        else:
            chosen = problem.promising(self._batch, rng, number // self._batch)
        return [*chosen, *(draw(space, rng) for _ in range(self._batch - len(chosen)))]


class _Problem:
    """A study as the plan sees it. ``costs`` (n, k) are the evaluated ones, in the order of ``points``; k is 2 or 3."""

    def __init__(
        self,
        directions: Sequence[StudyDirection],
        space: SearchSpace,
        hints: Hints,
        trials: Sequence[FrozenTrial],
    ) -> None:
        if len(directions) > 3:
            raise ValueError(f"{len(directions)} objectives: the guided sampler takes one to three")
        self.space, self.hints, self.exact = space, hints, hints.exact or {}
        self.signs = [-1.0 if direction == StudyDirection.MAXIMIZE else 1.0 for direction in directions]
        self.count = max(2, len(directions))
        if hints.budgets and self.signs[hints.budgeted] < 0:
            raise ValueError("a budget limits an objective that is minimised")
        trials = [t for t in trials if all(name in t.params for name in space)]
        self.seen = {self.identity(t.params) for t in trials}
        feasible = [t for t in trials if all(value <= 0 for value in t.constraints.values())]
        self.points = [_only(t.params, space) for t in feasible]
        self.costs = np.array([self._padded(t.values) for t in feasible]).reshape(-1, self.count)
        told = hints.budgets or hints.within
        self.constrained = [] if told else [t for t in trials if t.constraints]

    def _padded(self, values: Sequence[float]) -> list[float]:
        """Costs; a single objective has a second one, which is 0 for all."""
        costs = [sign * value for sign, value in zip(self.signs, values, strict=True)]
        return costs if len(costs) > 1 else [*costs, 0.0]

    def identity(self, params: Params) -> Hashable:
        params = _only(params, self.space)
        return self.hints.identity(params) if self.hints.identity else tuple(sorted(params.items()))

    def described(self, points: Sequence[Params]) -> Array:
        describe = self.hints.describe or (lambda params: numbers(params, self.space))
        return np.stack([describe(_only(point, self.space)) for point in points])

    def exact_cost(self, point: Params, objective: int) -> float:
        return self.signs[objective] * self.exact[objective](point)

    def spread(self, count: int, rng: np.random.Generator) -> list[Params]:
        """Random points; where the budgeted objective is known, evenly over its range within the budgets.

        Uniform points crowd in the middle of that range, and the front is looked for over all of it.
        """
        pool = self._new(draw(self.space, rng) for _ in range(STARTUP_POOL * count))
        if not self.hints.budgets or self.hints.budgeted not in self.exact:
            return pool[:count]
        cost = np.array([self.exact_cost(point, self.hints.budgeted) for point in pool])
        free = cost <= max(self.hints.budgets)
        if not free.any():
            return []
        low, high = cost[free].min(), cost[free].max()
        chosen: list[Params] = []
        for place in (np.arange(min(count, int(free.sum()))) + rng.random()) / count:
            nearest = int(np.where(free, np.abs(cost - (low + place * (high - low))), np.inf).argmin())
            free[nearest] = False
            chosen.append(pool[nearest])
        return chosen

    def promising(self, count: int, rng: np.random.Generator, batch: int = 0) -> list[Params]:
        """The points of the greatest expected gain; ``batch`` is how many were chosen before."""
        features = self.described(self.points)
        models = {
            k: fit_surrogate(features, self.costs[:, k])
            for k in range(len(self.signs))
            if k not in self.exact
        }
        # An evaluation that was lucky is no bar that others have to pass: what counts is what is believed of it now.
        believed = self.costs.copy()
        for k, model in models.items():
            believed[:, k] = model(features)[0]
        found = self._evolved(believed, models, self._constraint_models(), rng)
        return self._chosen(found, believed, count, batch) if found.points else []

    def _constraint_models(self) -> list[Surrogate]:
        names = sorted({name for t in self.constrained for name in t.constraints})
        models = []
        for name in names:
            told = [t for t in self.constrained if name in t.constraints]
            values = np.array([t.constraints[name] for t in told])
            models.append(fit_surrogate(self.described([t.params for t in told]), values))
        return models

    def _evolved(
        self,
        believed: Array,
        models: Mapping[int, Surrogate],
        constraints: Sequence[Surrogate],
        rng: np.random.Generator,
    ) -> _Candidates:
        """What an evolutionary search on predictions comes by, and no evaluation has seen."""
        roots = [point for point, best in zip(self.points, _front(believed), strict=True) if best]
        fresh = [draw(self.space, rng) for _ in range(CHILDREN)]
        fresh += [mutate(root, self.space, rng) for root in roots for _ in range(2)]
        asked = set(self.seen)
        archive = self._predicted([], models, constraints)
        for _ in range(GENERATIONS):
            archive = _joined(archive, self._predicted(self._new(fresh, asked), models, constraints))
            parents = [*roots, *(archive.points[i] for i in _fittest(archive, PARENTS))]
            if len(parents) < 2:
                fresh = [draw(self.space, rng) for _ in range(CHILDREN)]
                continue
            pairs = [rng.choice(len(parents), 2, replace=False) for _ in range(CHILDREN)]
            fresh = [
                mutate(cross(parents[i], parents[j], rng), self.space, rng)
                for i, j in (map(int, p) for p in pairs)
            ]
        return _joined(archive, self._predicted(self._new(fresh, asked), models, constraints))

    def _new(self, points: Iterable[Params], asked: set[Hashable] | None = None) -> list[Params]:
        """Those in reach that mean something that is not in ``asked``, which then holds them too."""
        asked = set(self.seen) if asked is None else asked
        found = []
        for point in points:
            identity = self.identity(point)
            if identity not in asked:
                asked.add(identity)
                if self.hints.within is None or self.hints.within(_only(point, self.space)):
                    found.append(point)
        return found

    def _predicted(
        self, points: list[Params], models: Mapping[int, Surrogate], constraints: Sequence[Surrogate]
    ) -> _Candidates:
        """Without those that are over every budget or predicted to break a constraint."""
        mean, deviation = np.zeros((2, len(points), self.count))
        if not points:
            return _Candidates([], mean, deviation)
        features = self.described(points)
        for k in self.exact:
            mean[:, k] = [self.exact_cost(point, k) for point in points]
        for k, model in models.items():
            mean[:, k], deviation[:, k] = model(features)
        keep = np.ones(len(points), dtype=bool)
        if self.hints.budgets:
            keep &= mean[:, self.hints.budgeted] <= max(self.hints.budgets)
        for model in constraints:
            keep &= model(features)[0] <= 0
        return _Candidates(list(itertools.compress(points, keep)), mean[keep], deviation[keep])

    def _chosen(self, found: _Candidates, costs: Array, count: int, batch: int) -> list[Params]:
        """Greedily, beyond the ``costs`` (n, k) that there are."""
        free = np.ones(len(found.points), dtype=bool)
        every = np.vstack([costs, found.mean])
        reference = every.max(0) + np.maximum(CORNER * np.ptp(every, axis=0), 1e-9)
        chosen: list[Params] = []
        # Half of a batch goes to the budgets, which take turns from batch to batch; what follows is spread along the front.
        budgets, half = self.hints.budgets, max(count // 2, 1)
        for turn in range(min(count, len(found.points))):
            if budgets and turn < half:
                gains = self._gain_under(budgets[(batch * half + turn) % len(budgets)], found, costs)
            else:
                volume = partial(
                    hypervolume_gains, evaluated=costs, reference=reference, maximise=(False,) * self.count
                )
                gains = _expected(found, volume)
            # Where nothing is expected to gain anything, the least unlikely one.
            ranked = np.where(free, gains, -np.inf)
            if ranked.max() <= 0:
                hopes = (found.mean - 2 * found.deviation) / np.maximum(np.ptp(every, axis=0), 1e-9)
                ranked = np.where(free, -hopes.sum(1), -np.inf)
            best = int(ranked.argmax())
            free[best] = False
            chosen.append(found.points[best])
            costs = np.vstack([costs, found.mean[best]])
        return chosen

    def _gain_under(self, budget: float, found: _Candidates, costs: Array) -> Array:
        """(n,): the improvement to expect of the best among those that keep ``budget``, by the first other objective."""
        budgeted = self.hints.budgeted
        other = 1 if budgeted == 0 else 0
        within = costs[:, budgeted] <= budget
        best = costs[within, other].min() if within.any() else costs[:, other].max()
        gains = _expected(found, lambda points: np.clip(best - points[:, other], 0, None))
        return np.where(found.mean[:, budgeted] <= budget, gains, 0.0)


def _only(params: Mapping[str, Any], space: SearchSpace) -> Params:
    return {name: params[name] for name in space}


def _joined(one: _Candidates, other: _Candidates) -> _Candidates:
    return _Candidates(
        one.points + other.points,
        np.vstack([one.mean, other.mean]),
        np.vstack([one.deviation, other.deviation]),
    )


def _front(costs: Array) -> NDArray[np.bool_]:
    """Which of the costs (n, k) no other is below: (n,)."""
    if costs.shape[1] == 2:
        return pareto_front(costs, maximise=(False, False))
    return non_dominated(costs, maximise=(False,) * costs.shape[1])


def _fittest(found: _Candidates, count: int) -> list[int]:
    """Front after front of what the predictions are at best (one deviation better than their means)."""
    costs = found.mean - found.deviation
    left = np.arange(len(costs))
    chosen: list[int] = []
    while len(left) and len(chosen) < count:
        front = _front(costs[left])
        chosen += left[front].tolist()
        left = left[~front]
    return chosen[:count]


def _expected(found: _Candidates, gain: Callable[[Array], Array]) -> Array:
    """(n,): the mean of ``gain`` of costs (n, k) over what the predictions leave open."""
    total = np.zeros(len(found.points))
    uncertain = [k for k, deviation in enumerate(found.deviation.T) if deviation.any()]
    for nodes in itertools.product(
        _normal_nodes(*NODES.get(len(uncertain), (1, 0.0))), repeat=len(uncertain)
    ):
        points, weight = found.mean.copy(), 1.0
        for k, (place, share) in zip(uncertain, nodes, strict=True):
            points[:, k] += place * found.deviation[:, k]
            weight *= share
        total += weight * gain(points)
    return total


def _normal_nodes(count: int, reach: float) -> list[tuple[float, float]]:
    """Places in standard deviations, and weights, for the mean of a function of a normal variable.

    Evenly spaced: gains have a kink where they begin, which Gauss-Hermite's few places miss.
    """
    places = np.linspace(-reach, reach, count)
    weights = np.exp(-(places**2) / 2)
    return list(zip(places.tolist(), (weights / weights.sum()).tolist(), strict=True))
