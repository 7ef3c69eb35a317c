import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from nassuite.report.scale import BREAK, LEAST, broken, positive

accuracies = st.lists(st.floats(0, 1), min_size=1, max_size=30)
latencies = st.tuples(st.floats(1e-3, 1e3), st.floats(1e-3, 1e3)).map(sorted)


@given(accuracies)
def test_every_value_has_its_place_and_comes_back(values):
    scale = broken(values, least=0.02, within=(0.0, 1.0))
    assert all(scale.holds(value) for value in values)
    places = scale.places(np.array(values))
    assert ((places >= 0) & (places <= 1)).all()
    np.testing.assert_allclose(scale.values(places), values, atol=1e-9)
    order = np.argsort(values, kind="stable")
    assert (np.diff(places[order]) >= 0).all()


@given(accuracies)
def test_both_pieces_of_a_broken_axis_have_room(values):
    scale = broken(values, least=0.02, within=(0.0, 1.0))
    if scale.gap:
        low, high = scale.gap
        assert np.isclose(high - low, BREAK)
        assert min(low, 1 - high) >= LEAST * (1 - BREAK) - 1e-9
        between = [v for v in values if scale.ranges[0][1] < v < scale.ranges[1][0]]
        assert between == []


@given(latencies)
def test_a_scale_of_sizes_holds_its_ends_and_has_ticks_inside(ends):
    low, high = ends
    scale = positive(low, high)
    assert scale.holds(low)
    assert scale.holds(high)
    assert 0 <= scale.place(low) <= scale.place(high) <= 1
    ticks = scale.ticks(8)
    assert len(ticks) >= 2
    assert all(scale.limits[0] - 1e-9 <= tick <= scale.limits[1] + 1e-9 for tick in ticks)
