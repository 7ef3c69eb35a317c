import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nassuite.data.stratify import stratified_split, stratified_subset

COUNTS = st.lists(st.integers(3, 60), min_size=1, max_size=8)


def labels_of(counts: list[int], seed: int) -> np.ndarray:
    labels = np.repeat(np.arange(len(counts)), counts)
    return np.random.default_rng(seed).permutation(labels)


@settings(max_examples=60, deadline=None)
@given(COUNTS, st.lists(st.floats(0.01, 0.45), max_size=2), st.integers(0, 99))
def test_every_image_is_in_one_part_and_every_part_has_every_class(
    counts: list[int], fractions: list[float], seed: int
) -> None:
    labels = labels_of(counts, seed)
    parts = stratified_split(labels, fractions, seed)
    assert np.array_equal(np.sort(np.concatenate(parts)), np.arange(len(labels)))
    for part in parts:
        assert (np.bincount(labels[part], minlength=len(counts)) >= 1).all()
        assert (np.diff(part) > 0).all()
    again = stratified_split(labels, fractions, seed)
    assert all(np.array_equal(one, other) for one, other in zip(parts, again, strict=True))


def test_the_remainder_keeps_an_image_of_a_class_of_few() -> None:
    assert [len(part) for part in stratified_split(np.zeros(4, np.int64), [0.375, 0.375], 0)] == [1, 2, 1]


def test_split_sizes_and_seeds() -> None:
    labels = labels_of([100, 200], 0)
    rest, val, test = stratified_split(labels, [0.1, 0.25], 0)
    assert np.bincount(labels[rest]).tolist() == [65, 130]
    assert np.bincount(labels[val]).tolist() == [10, 20]
    assert np.bincount(labels[test]).tolist() == [25, 50]
    assert not np.array_equal(val, stratified_split(labels, [0.1, 0.25], 1)[1])
    with pytest.raises(ValueError, match="2 images do not make 3 parts"):
        stratified_split(np.zeros(2, np.int64), [0.1, 0.1], 0)


@settings(max_examples=60, deadline=None)
@given(COUNTS, st.data())
def test_a_subset_keeps_shares(counts: list[int], data: st.DataObject) -> None:
    labels = labels_of(counts, 1)
    n = data.draw(st.integers(len(counts), len(labels)))
    chosen = stratified_subset(labels, n, 0)
    taken = np.bincount(labels[chosen], minlength=len(counts))
    assert len(np.unique(chosen)) == n
    assert (taken >= 1).all()
    exact = np.array(counts) * n / len(labels)
    if exact.min() >= 1:
        assert np.abs(taken - exact).max() < 1


def test_subset_refuses_impossible_sizes() -> None:
    for n in (1, 11):
        with pytest.raises(ValueError, match="of 10 images of 2 classes"):
            stratified_subset(np.arange(10) % 2, n, 0)
