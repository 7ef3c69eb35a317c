"""The guided sampler on studies of Optuna's own kind: what it proposes, and that it goes on as it would have."""

from dataclasses import replace

import numpy as np
import optuna
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from toy import LIMIT_MS, TOY, accuracy, latency_ms

from nassuite.search import guided
from nassuite.search.guided import GuidedSampler, Hints, _Candidates, _expected
from nassuite.search.moves import cross, draw, mutate, numbers
from nassuite.search.parameters import from_params, suggest, to_params
from nassuite.search.pareto import hypervolume_gains
from nassuite.search.surrogate import fit_surrogate

optuna.logging.set_verbosity(optuna.logging.WARNING)

MIXED = {
    "width": IntDistribution(8, 64, step=8),
    "count": IntDistribution(1, 100, log=True),
    "rate": FloatDistribution(1e-4, 1.0, log=True),
    "share": FloatDistribution(0.0, 1.0),
    "quarter": FloatDistribution(0.0, 1.0, step=0.25),
    "kind": CategoricalDistribution(("a", "b", "c")),
}


def study_of(sampler, directions=("minimize",)):
    return optuna.create_study(directions=list(directions), sampler=sampler)


def bowl(trial):
    """Least at x = 0.3, n = 7, kind "b": 0."""
    kind = {"a": 1.0, "b": 0.0, "c": 0.5}[trial.suggest_categorical("kind", ("a", "b", "c"))]
    return (
        kind + (trial.suggest_float("x", 0, 1) - 0.3) ** 2 + ((trial.suggest_int("n", 0, 10) - 7) / 10) ** 2
    )


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_points_stay_in_their_space_and_a_mutation_is_another_one(seed):
    rng = np.random.default_rng(seed)
    one, other = draw(MIXED, rng), draw(MIXED, rng)
    for point in (one, other, cross(one, other, rng), mutate(one, MIXED, rng)):
        for name, distribution in MIXED.items():
            assert distribution._contains(distribution.to_internal_repr(point[name])), (name, point[name])
        places = numbers(point, MIXED)
        assert places.shape == (8,)
        assert ((places >= 0) & (places <= 1)).all()
    assert mutate(one, MIXED, rng) != one
    assert all(cross(one, other, rng)[name] in (one[name], other[name]) for name in MIXED)


def test_all_values_are_drawn_and_alike_often():
    rng = np.random.default_rng(0)
    points = [draw(MIXED, rng) for _ in range(4000)]
    for name, count in (("width", 8), ("quarter", 5), ("kind", 3)):
        _, found = np.unique([point[name] for point in points], return_counts=True)
        assert len(found) == count
        assert abs(found / len(points) - 1 / count).max() < 0.03


def test_a_surrogate_of_a_line_is_that_line_and_knows_where_it_knows_nothing():
    x = np.random.default_rng(0).random((40, 5))
    y = x @ [3.0, -1.0, 0.0, 0.0, 2.0]
    predict = fit_surrogate(x, y)
    new = np.random.default_rng(1).random((50, 5))
    mean, deviation = predict(new)
    np.testing.assert_allclose(mean, new @ [3.0, -1.0, 0.0, 0.0, 2.0], atol=0.1)
    far = predict(new + 5)[1]
    assert (deviation >= 0).all()
    assert far.mean() > 2 * deviation.mean()


def test_a_surrogate_of_a_constant_is_that_constant():
    for x in (np.ones((4, 3)), np.eye(4)):
        mean, deviation = fit_surrogate(x, np.full(4, 2.5))(x)
        assert (mean == 2.5).all()
        assert (deviation == 0).all()


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_it_finds_an_optimum_that_chance_does_not(seed):
    best = {}
    for name, sampler in (
        ("guided", GuidedSampler(seed=seed, startup=8, batch=4)),
        ("random", optuna.samplers.RandomSampler(seed=seed)),
    ):
        study = study_of(sampler)
        study.optimize(bowl, n_trials=36)
        best[name] = study.best_value
    assert best["guided"] < 0.002
    assert best["guided"] < best["random"]


def test_a_study_that_stops_goes_on_with_the_same_trials():
    whole = study_of(GuidedSampler(seed=5, startup=8, batch=4))
    whole.optimize(bowl, n_trials=22)
    parts = study_of(GuidedSampler(seed=5, startup=8, batch=4))
    for count in (6, 7, 9):  # in the middle of batches, before and after it has begun to learn
        parts.sampler = GuidedSampler(seed=5, startup=8, batch=4)
        parts.optimize(bowl, n_trials=count)
    assert [t.params for t in parts.trials] == [t.params for t in whole.trials]
    other = study_of(GuidedSampler(seed=6, startup=8, batch=4))
    other.optimize(bowl, n_trials=22)
    assert [t.params for t in other.trials] != [t.params for t in whole.trials]


def test_constraints_are_learnt():
    def halved(trial):
        value = bowl(trial)
        trial.set_constraint("n", trial.params["n"] - 4)
        return value

    study = study_of(GuidedSampler(seed=0, startup=8, batch=4))
    study.optimize(halved, n_trials=32)
    learnt = study.trials[16:]
    assert sum(t.params["n"] <= 4 for t in learnt) >= 0.8 * len(learnt)
    assert study.best_trial.params["n"] == 4


def hints(asked=None):
    def arch(params):
        return TOY.decode(from_params(TOY, params))

    def latency(params):
        if asked is not None:
            asked.append(arch(params))
        return latency_ms(arch(params))

    return Hints(
        identity=lambda params: arch(params).digest,
        exact={1: latency},
        budgets=(LIMIT_MS / 2, LIMIT_MS),
    )


def two_objectives(trial):
    arch = TOY.decode(suggest(trial, TOY))
    return accuracy(arch), latency_ms(arch)


@pytest.fixture(scope="module")
def toy_study():
    study = study_of(GuidedSampler(seed=0, startup=12, batch=8, hints=hints()), ("maximize", "minimize"))
    study.optimize(two_objectives, n_trials=40)
    return study


def test_nothing_over_the_largest_budget_is_proposed(toy_study):
    late = toy_study.trials[8:]  # the first batch knows of no parameters yet
    assert max(t.values[1] for t in late) <= LIMIT_MS


def test_what_means_the_same_is_proposed_once(toy_study):
    archs = [TOY.decode(from_params(TOY, t.params)) for t in toy_study.trials]
    assert len(set(archs[8:])) == len(archs) - 8


def test_every_budget_has_its_share(toy_study):
    """Each batch begins with the best to be expected under each budget."""
    learnt = toy_study.trials[16:]
    under = [t for t in learnt if t.values[1] <= LIMIT_MS / 2]
    best_before = max(t.values[0] for t in toy_study.trials[:16] if t.values[1] <= LIMIT_MS / 2)
    assert len(under) >= 3
    assert max(t.values[0] for t in under) > best_before


def test_more_budgets_than_a_batch_has_room_for_take_turns(monkeypatch):
    asked, real = [], guided._Problem._gain_under

    def noted(problem, budget, *rest):
        asked.append(budget)
        return real(problem, budget, *rest)

    monkeypatch.setattr(guided._Problem, "_gain_under", noted)
    budgets = (LIMIT_MS / 3, LIMIT_MS / 2, LIMIT_MS)
    sampler = GuidedSampler(seed=0, startup=4, batch=4, hints=replace(hints(), budgets=budgets))
    study_of(sampler, ("maximize", "minimize")).optimize(two_objectives, n_trials=16)
    assert sorted(asked) == sorted(budgets * 2)


def test_three_objectives_are_spread_along_their_front():
    """Squared distances to three corners: of the front is what lies in the triangle between them."""
    corners = np.eye(3)

    def distances(trial):
        point = np.array([trial.suggest_float(name, 0, 1) for name in "xyz"])
        return tuple(((corners - point) ** 2).sum(1))

    def volume(sampler):
        study = study_of(sampler, ("minimize",) * 3)
        study.optimize(distances, n_trials=30)
        values = np.array([t.values for t in study.trials])
        done, total = np.empty((0, 3)), 0.0
        for value in values:
            total += hypervolume_gains(value[None], done, (2.0,) * 3, maximise=(False,) * 3)[0]
            done = np.vstack([done, value])
        return total

    ours = volume(GuidedSampler(seed=0, startup=12, batch=6))
    assert ours > 1.03 * volume(optuna.samplers.RandomSampler(seed=0))


def test_what_it_cannot_do_is_refused():
    with pytest.raises(ValueError, match="startup 1 and batch 4"):
        GuidedSampler(startup=1)
    study = study_of(GuidedSampler(), ("minimize",) * 4)
    with pytest.raises(ValueError, match="4 objectives"):
        study.optimize(lambda t: (t.suggest_float("x", 0, 1),) * 4, n_trials=2)
    study = study_of(GuidedSampler(hints=Hints(budgets=(1.0,))), ("maximize", "maximize"))
    with pytest.raises(ValueError, match="a budget limits an objective that is minimised"):
        study.optimize(lambda t: (t.suggest_float("x", 0, 1),) * 2, n_trials=2)


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_genes_and_parameters_are_the_same_thing(seed):
    import random

    genes = TOY.encode(TOY.sample(random.Random(seed)))
    assert from_params(TOY, to_params(TOY, genes)) == genes


def test_gains_of_the_tails_count_and_keep_their_order():
    places = np.arange(0.0, 4.5, 0.5)
    found = _Candidates(
        [{}] * len(places), np.stack([places, places], 1), np.stack([places * 0 + 1, places * 0], 1)
    )
    gains = _expected(found, lambda points: np.clip(-points[:, 0], 0, None))
    exact = scipy.stats.norm.pdf(places) - places * scipy.stats.norm.sf(places)
    assert (np.diff(gains) < 0).all()
    assert gains[-1] > 0
    assert gains[:4] == pytest.approx(exact[:4], rel=0.1)
