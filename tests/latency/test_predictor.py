import random

import numpy as np
import pytest
from scipy.stats import binom
from test_features import random_arch

from nassuite.errors import InputError
from nassuite.latency import predictor, regressors
from nassuite.latency.features import feature_names, features
from nassuite.latency.predictor import fit_predictor, held_out_error


@pytest.fixture(scope="module")
def measured():
    """Features (300, F) of random networks and latencies that are sums over layers, 1 % noise."""
    rng = random.Random(0)
    x = np.stack([features(random_arch(rng), 3) for _ in range(300)])
    noise = np.random.default_rng(0)
    cost = noise.uniform(0.2, 3.0, x.shape[1])
    columns = [i for i, name in enumerate(feature_names()) if name.endswith((".count", ".work", ".traffic"))]
    y = x[:, columns] @ (
        cost[columns] * np.array([0.002 if "count" in feature_names()[i] else 0.02 for i in columns])
    )
    return x, y * noise.lognormal(0, 0.01, len(y))


@pytest.fixture
def ridge_only(monkeypatch):
    monkeypatch.setattr(regressors, "MODELS", {name: regressors.MODELS[name] for name in ("costs", "ridge")})


def test_it_learns_sums_over_layers_and_says_how_well(measured):
    x, y = measured
    fitted = fit_predictor(x[:80], y[:80], seed=0)
    fresh = held_out_error(fitted.predict(x[80:]), y[80:])
    assert fresh.mape < 0.05
    assert fresh.kendall_tau > 0.9
    assert fitted.error.n == 80
    # What it says of itself is what new networks show, if not a little worse, as it fits on fewer.
    assert fresh.mape * 0.7 < fitted.error.mape < fresh.mape * 2.0
    assert fitted.error.mape < fitted.errors["macs"].mape / 2


def test_the_same_records_and_seed_give_the_same_predictor(measured):
    x, y = measured
    first, second = (fit_predictor(x[:24], y[:24], seed=3) for _ in range(2))
    assert first.model == second.model
    assert first.error == second.error
    assert np.array_equal(first.predict(x[24:]), second.predict(x[24:]))


def test_a_dozen_measurements_are_enough_to_start(measured):
    x, y = measured
    fitted = fit_predictor(x[:12], y[:12], seed=0)
    predicted = fitted.predict(x[12:])
    assert predicted.shape == (288,)
    assert (predicted > 0).all()
    assert np.median(np.abs(predicted / y[12:] - 1)) < 0.5


def test_one_row_is_predicted_as_in_a_batch(measured, ridge_only):
    x, y = measured
    fitted = fit_predictor(x[:60], y[:60], seed=0)
    assert fitted.predict(x[60]).shape == (1,)
    assert fitted.predict(x[60])[0] == pytest.approx(fitted.predict(x)[60])


def test_twins_are_held_out_together(measured, ridge_only):
    x, y = measured
    twice = np.concatenate([x[:15], x[:15]])
    folds = predictor.folds(twice, seed=0)
    assert np.array_equal(folds[:15], folds[15:])
    assert fit_predictor(twice, np.concatenate([y[:15], y[:15]]), seed=0).error.n == 30


def test_the_upper_bound_covers_as_often_as_it_says(measured, ridge_only):
    x, y = measured
    covered = total = 0
    for seed in range(20):
        order = np.random.default_rng(seed).permutation(len(y))
        train, test = order[:60], order[60:100]
        bound = fit_predictor(x[train], y[train], seed=seed).upper(x[test], probability=0.9)
        covered += int((y[test] <= bound).sum())
        total += len(test)
    # Splits share networks, so the interval is that of a quarter of the trials.
    assert covered / total >= binom.ppf(0.01, total // 4, 0.9) / (total // 4)
    assert covered / total < 0.98


def test_only_networks_drawn_at_random_tell_what_error_to_expect(measured, ridge_only):
    x, y = measured
    # Those that were chosen are all twice as slow as anything that the features say.
    drawn = np.arange(90) < 60
    slowed = np.where(drawn, y[:90], 2 * y[:90])
    fitted = fit_predictor(x[:90], slowed, seed=0, drawn=drawn)
    assert (fitted.fitted_on, fitted.error.n, fitted.held_out.shape) == (90, 60, (60, 2))
    assert set(fitted.held_out[:, 1]) == set(y[:60])
    everything = fit_predictor(x[:90], slowed, seed=0)
    assert fitted.margin(0.9) < everything.margin(0.9)
    few = fit_predictor(x[:90], slowed, seed=0, drawn=np.arange(90) < 11)
    assert few.error == everything.error


def test_the_ensemble_is_the_geometric_mean_of_its_members(measured):
    x, y = measured
    fitted = regressors.fit_all(x[:40], y[:40], 0)
    assert set(fitted) == {*regressors.MODELS, "ensemble"}
    members = [fitted[name](x[40:]) for name in regressors.ENSEMBLE]
    assert fitted["ensemble"](x[40:]) == pytest.approx(np.prod(members, axis=0) ** (1 / len(members)))
    assert set(regressors.fit_all(x[:40], y[:40], 0, names=("ensemble", "macs"))) == {"ensemble", "macs"}


def test_costs_are_never_negative_and_learn_from_few(measured):
    x, y = measured
    models = regressors.fit_all(x[:24], y[:24], 0, names=("costs", "ridge"))
    miss = {name: np.abs(model(x[24:]) / y[24:] - 1).mean() for name, model in models.items()}
    assert miss["costs"] < miss["ridge"]
    # More of anything never costs less.
    row = x[30:31]
    more = row + np.diag(x[:24].std(0))
    assert (models["costs"](more) >= models["costs"](row) - 1e-12).all()


def test_a_bound_that_the_measurements_cannot_give_is_refused(measured, ridge_only):
    x, y = measured
    fitted = fit_predictor(x[:12], y[:12], seed=0)
    assert (fitted.upper(x[12:20], probability=0.9) >= fitted.upper(x[12:20], probability=0.5)).all()
    assert fitted.upper(x[12:20], probability=0.9) == pytest.approx(
        fitted.predict(x[12:20]) * fitted.margin(0.9)
    )
    with pytest.raises(InputError, match=r"probability 0.99 takes 99 measurements, not 12"):
        fitted.upper(x[12:20], probability=0.99)
    with pytest.raises(InputError, match="between 0 and 1"):
        fitted.upper(x[12:20], probability=1.0)


def test_errors_by_hand():
    error = held_out_error(np.array([1.0, 2.0, 3.3, 5.0]), np.array([1.0, 2.08, 3.0, 4.0]))
    assert error.mape == pytest.approx((0 + 0.08 / 2.08 + 0.1 + 0.25) / 4)
    assert error.within_5_percent == 0.5
    assert error.kendall_tau == 1.0
    assert held_out_error(np.array([1.0, 1.0]), np.array([1.0, 2.0])).kendall_tau == 0.0


def test_unusable_records_are_refused(measured):
    x, y = measured
    with pytest.raises(InputError, match="11 different networks"):
        fit_predictor(x[:11], y[:11], seed=0)
    with pytest.raises(InputError, match="1 different networks"):
        fit_predictor(np.repeat(x[:1], 20, axis=0), y[:20], seed=0)
    with pytest.raises(InputError, match="positive"):
        fit_predictor(x[:20], np.zeros(20), seed=0)
    with pytest.raises(InputError, match="shape"):
        fit_predictor(x[:20, :5], y[:20], seed=0)
