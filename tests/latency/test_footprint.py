"""What an architecture takes beside time, predicted, against its exported file."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from small_spaces import DOWN, INTERFACE, SIX, arch_of, space_of

from nassuite.latency.cost import cost
from nassuite.latency.footprint import Limit, exceeded, measured, ordering, predicted
from nassuite.nn.network import Network
from nassuite.onnx_export import export_arch
from nassuite.search.smallest import smallest
from nassuite.space import Space, Stage

QUANTITIES = ("params", "macs", "size", "memory")


@pytest.mark.parametrize(("space", "seed"), [(SIX, 0), (SIX, 1), (SIX, 2), (DOWN, 0), (DOWN, 1)])
def test_predictions_are_those_of_the_exported_file(space, seed, tmp_path):
    arch = arch_of(space, seed)
    path, network = tmp_path / "model.onnx", Network(arch, INTERFACE)
    export_arch(arch, INTERFACE, path)
    shape = (INTERFACE.in_chans, arch.resolution, arch.resolution)
    found = {q: (predicted(q, arch, INTERFACE), measured(q, path, network, shape)) for q in QUANTITIES}
    for exact in ("params", "macs", "memory"):
        assert found[exact][0] == found[exact][1]
    assert found["size"][0] == pytest.approx(found["size"][1], rel=0.15)
    assert found["params"][0] == cost(network, shape).params


def test_what_exceeds_a_limit_is_said_in_its_unit(tmp_path):
    arch = arch_of(SIX, 0)
    path, network = tmp_path / "model.onnx", Network(arch, INTERFACE)
    export_arch(arch, INTERFACE, path)
    shape = (INTERFACE.in_chans, arch.resolution, arch.resolution)
    params, size = (measured(q, path, network, shape) for q in ("params", "size"))
    kept = [Limit("params", params, "--max-params", 1.0), Limit("size", size, "--max-size-mb", 1e6)]
    assert exceeded(kept, path, network, shape) == ()
    over = [Limit("params", 10.0, "--max-params", 1.0), Limit("size", 1e4, "--max-size-mb", 1e6)]
    assert exceeded(over, path, network, shape) == (
        f"over --max-params 10: {params:,.0f}", f"over --max-size-mb 0.01: {size / 1e6:.4g} MB"
    )  # fmt: skip


def every_arch(space: Space) -> set:
    rng = random.Random(0)
    found = set()
    while len(found) < space.size:
        found.add(space.sample(rng))
    return found


@pytest.mark.parametrize("quantity", QUANTITIES)
def test_the_smallest_is_the_smallest_of_all(quantity):
    """Also where two layers share the largest peak of memory."""
    space = space_of(Stage((8, 16), (2,), 1, ("inverted_residual", "ghost", "shuffle"), (3,), (2.0,)))
    least = smallest(space, lambda arch: ordering(quantity, arch, INTERFACE))
    values = {arch: predicted(quantity, arch, INTERFACE) for arch in every_arch(space)}
    assert values[least] == min(values.values())


@pytest.fixture(scope="module")
def least() -> float:
    return predicted("params", smallest(DOWN, lambda arch: ordering("params", arch, INTERFACE)), INTERFACE)


@given(seed=st.integers(0, 10**6))
def test_no_sample_is_smaller_than_the_smallest(least, seed):
    assert predicted("params", arch_of(DOWN, seed), INTERFACE) >= least
