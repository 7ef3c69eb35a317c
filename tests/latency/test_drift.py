"""What processes add is found and taken off, and where they add nothing, nothing changes."""

import random
from dataclasses import dataclass

import numpy as np
import pytest

from nassuite.latency.choosing import draw
from nassuite.latency.drift import LEAST, shares, steadied_ms
from nassuite.latency.features import feature_names, features
from nassuite.space_file import load_space

WORK = [i for i, name in enumerate(feature_names()) if name.endswith((".work", ".traffic"))]
COMPANY = 8
NETWORKS = 72


@dataclass(frozen=True)
class Ratio:
    ratio: float
    reference_ms: float


@pytest.fixture(scope="module")
def networks():
    archs = draw(load_space("tiny"), NETWORKS, random.Random(0))
    x = np.stack([features(arch, 3) for arch in archs])
    return x, 0.05 + x[:, WORK] @ np.random.default_rng(0).uniform(0.005, 0.03, len(WORK))


def measured(ms, *, added, noise, seed=1):
    """In processes of eight, each of which adds its own to all of them."""
    rng = np.random.default_rng(seed)
    process = np.arange(len(ms)) // COMPANY
    factors = np.exp(rng.normal(0, added, process.max() + 1)[process] + rng.normal(0, noise, len(ms)))
    return [Ratio(float(v), 0.2 + 1e-4 * p) for v, p in zip(ms * factors / 0.2, process, strict=True)]


def spread(found, ms):
    """Of the misses, without what all have in common."""
    return np.std(np.log(found / ms))


def test_most_of_what_processes_add_is_taken_off(networks):
    x, ms = networks
    samples = measured(ms, added=0.05, noise=0.01)
    before = np.array([sample.ratio for sample in samples])
    assert spread(steadied_ms(x, samples, seed=0), ms) < spread(before, ms) / 2


def test_where_processes_add_nothing_little_is_lost(networks):
    x, ms = networks
    samples = measured(ms, added=0.0, noise=0.01)
    before = np.array([sample.ratio for sample in samples])
    assert spread(steadied_ms(x, samples, seed=0), ms) < 1.3 * spread(before, ms)


def test_one_process_or_few_networks_stay_as_they_are(networks):
    x, ms = networks
    together = [Ratio(float(value), 0.2) for value in ms]
    assert steadied_ms(x, together, seed=0) == pytest.approx(ms * 0.2)
    few = measured(ms, added=0.1, noise=0.0)[: LEAST - 1]
    expected = np.array([s.ratio for s in few]) * np.median([s.reference_ms for s in few])
    assert steadied_ms(x[: LEAST - 1], few, seed=0) == pytest.approx(expected)


def test_a_network_s_own_miss_has_no_part_in_its_share():
    rng = np.random.default_rng(0)
    process = np.repeat(np.arange(6), 5)
    misses = rng.normal(0, 0.05, 6)[process] + rng.normal(0, 0.01, 30)
    moved = misses.copy()
    moved[0] += 0.004
    change = shares(moved, process) - shares(misses, process)
    assert abs(change[0]) < 1e-3  # by the variances alone, which are estimated from all
    assert (change[1:5] > 0.5e-3).all()


def test_processes_of_one_network_each_tell_nothing():
    assert not shares(np.random.default_rng(0).normal(0, 0.1, 12), np.arange(12)).any()
