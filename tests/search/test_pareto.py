import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from nassuite.search.pareto import (
    hypervolume,
    hypervolume_gains,
    hypervolume_history,
    non_dominated,
    pareto_front,
)  # fmt: skip

# Small integers make ties and repeats common; they also make brute-force areas exact.
GRID = arrays(np.int64, st.tuples(st.integers(0, 25), st.just(2)), elements=st.integers(-4, 6))
DIRECTIONS = st.tuples(st.booleans(), st.booleans())
MIN_MAX = (False, True)  # latency down, accuracy up


def brute_force_front(points, maximise):
    signed = np.where(maximise, -points, points)
    return [not any((other <= one).all() and (other < one).any() for other in signed) for one in signed]


def brute_force_volume(points, reference, maximise):
    """Counts the unit cells that lie between some point and the reference."""
    signed = np.where(maximise, -points, points)
    limit = np.where(maximise, -np.asarray(reference), reference)
    cells = [
        (x, y)
        for x in range(-10, int(limit[0]))
        for y in range(-10, int(limit[1]))
        if any(p[0] <= x and p[1] <= y for p in signed)
    ]
    return len(cells)


@given(GRID, DIRECTIONS)
def test_the_front_is_what_the_definition_says(points, maximise):
    assert pareto_front(points, maximise=maximise).tolist() == brute_force_front(points, maximise)


@given(arrays(np.int64, st.tuples(st.integers(0, 15), st.just(3)), elements=st.integers(-2, 3)), DIRECTIONS)
def test_the_front_of_three_objectives_is_what_the_definition_says(points, maximise):
    three = (*maximise, False)
    assert non_dominated(points, maximise=three).tolist() == brute_force_front(points, three)
    flat = points * np.array([1, 1, 0])
    assert (non_dominated(flat, maximise=three) == pareto_front(points[:, :2], maximise=maximise)).all()


@given(GRID, DIRECTIONS)
def test_the_front_is_never_empty_and_is_its_own_front(points, maximise):
    mask = pareto_front(points, maximise=maximise)
    assert mask.any() == (len(points) > 0)
    assert pareto_front(points[mask], maximise=maximise).all()


@given(GRID, st.tuples(st.integers(-4, 7), st.integers(-4, 7)), DIRECTIONS)
def test_hypervolume_is_the_number_of_dominated_cells(points, reference, maximise):
    expected = brute_force_volume(points, reference, maximise)
    assert hypervolume(points, reference, maximise=maximise) == expected


@given(GRID, st.randoms(use_true_random=False))
def test_neither_depends_on_the_order(points, random):
    order = list(range(len(points)))
    random.shuffle(order)
    shuffled = points[order]
    mask = pareto_front(points, maximise=MIN_MAX)
    assert pareto_front(shuffled, maximise=MIN_MAX).tolist() == mask[order].tolist()
    reference = (7, -5)
    assert hypervolume(shuffled, reference, maximise=MIN_MAX) == hypervolume(
        points, reference, maximise=MIN_MAX
    )


def test_known_numbers():
    points = [[0.2, 0.8], [0.4, 0.9], [0.5, 0.85], [0.2, 0.8], [1.0, 0.9]]
    assert pareto_front(points, maximise=MIN_MAX).tolist() == [True, True, False, True, False]
    # 0.8 ms x 0.8 for the first, 0.6 ms x the 0.1 that the second adds
    assert hypervolume(points, (1.0, 0.0), maximise=MIN_MAX) == pytest.approx(0.64 + 0.06)


def test_history_rises_to_the_whole_and_stays_on_a_dominated_point():
    points = [[0.5, 0.5], [0.25, 0.5], [0.5, 0.25]]
    history = hypervolume_history(points, (1.0, 0.0), maximise=MIN_MAX)
    assert history.tolist() == [0.25, 0.375, 0.375]
    assert hypervolume_history([], (1.0, 0.0), maximise=MIN_MAX).shape == (0,)


def test_infinite_latency_is_dominated_and_adds_nothing():
    points = [[0.5, 0.5], [np.inf, 0.5]]
    assert pareto_front(points, maximise=MIN_MAX).tolist() == [True, False]
    assert hypervolume(points, (1.0, 0.0), maximise=MIN_MAX) == 0.25


def test_signed_zeros_are_equal():
    assert pareto_front([[0.0, 1.0], [-0.0, 1.0]], maximise=MIN_MAX).all()


@pytest.mark.parametrize(
    ("points", "message"),
    [([[1.0, float("nan")]], "NaN"), ([[1.0, 2.0, 3.0]], r"\(1, 3\)"), ([1.0, 2.0], r"\(2,\)")],
)
def test_points_without_an_order_are_refused(points, message):
    with pytest.raises(ValueError, match=message):
        pareto_front(points, maximise=MIN_MAX)


@given(GRID, GRID, st.tuples(st.integers(-4, 7), st.integers(-4, 7)), DIRECTIONS)
def test_a_gain_is_the_difference_that_one_point_makes(points, evaluated, reference, maximise):
    before = hypervolume(evaluated, reference, maximise=maximise)
    expected = [
        hypervolume(np.vstack([evaluated, [point]]), reference, maximise=maximise) - before
        for point in points
    ]
    found = hypervolume_gains(points, evaluated, reference, maximise=maximise)
    np.testing.assert_allclose(found, expected, atol=1e-9)


CUBE = arrays(np.int64, st.tuples(st.integers(0, 12), st.just(3)), elements=st.integers(-3, 4))


def cells_of_three(points, reference, maximise):
    """How many unit cells lie between some point and the reference."""
    signed = np.where(maximise, -points, points)
    limit = np.where(maximise, -np.asarray(reference), reference)
    sides = [np.arange(-6, end) for end in limit]
    grid = np.stack(np.meshgrid(*sides, indexing="ij"), -1).reshape(-1, 3)
    return int((signed[:, None] <= grid).all(2).any(0).sum())


@given(CUBE, CUBE, st.tuples(*[st.integers(-3, 4)] * 3), st.tuples(*[st.booleans()] * 3))
def test_gains_of_three_objectives_are_the_cells_that_a_point_adds(points, evaluated, reference, maximise):
    gains = hypervolume_gains(points, evaluated, reference, maximise=maximise)
    before = cells_of_three(evaluated, reference, maximise)
    for point, gain in zip(points[:3], gains, strict=False):
        assert gain == cells_of_three(np.vstack([evaluated, point]), reference, maximise) - before
