import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from nassuite.nn.slicing import centre, layer_of, slice_parameters, take

segments = st.lists(st.tuples(st.integers(1, 6), st.integers(0, 5)), min_size=1, max_size=5)


@given(segments, st.integers(0, 2))
def test_take_keeps_a_prefix_of_each_segment(sizes, dim):
    """Each is (kept, left out)."""
    whole = tuple(kept + out for kept, out in sizes)
    part = tuple(kept for kept, _ in sizes)
    shape = [2, 2, 2]
    shape[dim] = sum(whole)
    maximal = torch.arange(sum(whole) * 4).view(shape)
    rows = [
        start + i
        for start, kept in zip([sum(whole[:n]) for n in range(len(whole))], part, strict=True)
        for i in range(kept)
    ]
    assert torch.equal(take(maximal, dim, whole, part), maximal.index_select(dim, torch.tensor(rows)))


@pytest.mark.parametrize(("whole", "part"), [((4, 4), (4,)), ((4,), (5,)), ((4, 2), (2, 4))])
def test_what_is_no_prefix_is_refused(whole, part):
    with pytest.raises(ValueError, match="no prefixes"):
        take(torch.zeros(sum(whole)), 0, whole, part)


@pytest.mark.parametrize(
    ("size", "kept"), [(7, [0, 1, 2, 3, 4, 5, 6]), (5, [1, 2, 3, 4, 5]), (3, [2, 3, 4]), (1, [3])]
)
def test_centre(size, kept):
    assert centre(torch.arange(7), 0, size).tolist() == kept


def test_layers_are_found_by_the_longest_prefix():
    layout = {"": ((1,), (1,)), "se": ((1,), (1,)), "se.expand": ((1,), (1,))}
    assert layer_of("se.expand.weight", layout) == "se.expand"
    assert layer_of("se.expand.bn.weight", layout) == "se.expand"
    assert layer_of("se.expanded.weight", layout) == "se"
    assert layer_of("conv.weight", layout) == ""
    with pytest.raises(KeyError, match=r"conv\.weight"):
        layer_of("conv.weight", {"se": ((1,), (1,))})


def test_parameters_are_views_that_pass_gradients_on():
    maximal = {"a.weight": torch.arange(4 * 4 * 25.0).view(4, 4, 5, 5).requires_grad_()}
    shapes = {"a.weight": torch.Size((2, 3, 3, 3))}
    whole, part = {"a": ((2, 2), (4,))}, {"a": ((1, 1), (3,))}
    ((name, view),) = slice_parameters(maximal, shapes, whole=whole, part=part)
    expected = maximal["a.weight"][[0, 2]][:, :3, 1:4, 1:4]
    assert name == "a.weight"
    assert torch.equal(view, expected)
    assert view.is_contiguous()
    view.sum().backward()
    touched = torch.zeros(4, 4, 5, 5)
    touched[::2, :3, 1:4, 1:4] = 1
    assert torch.equal(maximal["a.weight"].grad, touched)
