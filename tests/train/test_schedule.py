"""Learning rates beyond one cycle, which test_optimiser.py has."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nassuite.train.schedule import CYCLES, DROP, PATIENCE, cyclic, drops, learning_rate


@given(st.integers(6, 400), st.floats(1e-4, 10))
def test_every_schedule_stays_between_nothing_and_its_peak(steps, peak):
    for schedule in ("cosine", "cyclic", "plateau"):
        rates = [learning_rate(schedule, step, steps, peak) for step in range(steps)]
        assert all(0 <= rate <= peak * (1 + 1e-9) for rate in rates)
        assert max(rates) > 0


def test_triangles_halve():
    rates = [cyclic(step, 300, 1.0) for step in range(300)]
    tops = [max(rates[100 * n : 100 * (n + 1)]) for n in range(CYCLES)]
    assert tops == pytest.approx([1.0, 0.5, 0.25])
    assert rates[0] == pytest.approx(0.1)


def test_a_plateau_is_counted_once_each_time():
    flat = [{"loss": 1.0, "val": 0.5}] * (1 + PATIENCE)
    assert drops(flat) == 1
    assert drops([*flat, *flat[:PATIENCE]]) == 2
    assert drops([{"loss": 1.0, "val": v / 10} for v in range(9)]) == 0
    assert drops([{"loss": 3.0 - n} for n in range(3)] + [{"loss": 2.0}] * PATIENCE) == 1
    assert learning_rate("plateau", 9, 10, 1.0, warmup=0.1, log=flat) == pytest.approx(DROP)
