import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from nassuite.train.optimiser import MaskedSGD
from nassuite.train.schedule import one_cycle


def parameters(seed: int = 0) -> list[nn.Parameter]:
    generator = torch.Generator().manual_seed(seed)
    shapes = ((4, 3, 3, 3), (5, 4), (6,))
    return [nn.Parameter(torch.randn(shape, generator=generator)) for shape in shapes]


@given(st.integers(0, 1000), st.floats(0, 0.99), st.floats(0, 0.1))
def test_with_dense_gradients_it_is_nesterov_sgd(seed, momentum, weight_decay):
    ours, theirs = parameters(seed), parameters(seed)
    masked = MaskedSGD(ours, momentum=momentum, weight_decay=weight_decay)
    groups = [
        {"params": theirs[:2], "weight_decay": weight_decay},
        {"params": theirs[2:], "weight_decay": 0.0},
    ]
    reference = torch.optim.SGD(groups, lr=0.1, momentum=momentum, nesterov=momentum > 0)
    generator = torch.Generator().manual_seed(seed + 1)
    for step in range(5):
        lr = 0.1 * (step + 1)
        reference.param_groups[0]["lr"] = reference.param_groups[1]["lr"] = lr
        for mine, other in zip(ours, theirs, strict=True):
            mine.grad = torch.randn(mine.shape, generator=generator)
            other.grad = mine.grad.clone()
        masked.step(lr)
        reference.step()
    for mine, other in zip(ours, theirs, strict=True):
        assert torch.allclose(mine, other, rtol=1e-4, atol=1e-5)


@given(st.integers(0, 1000))
def test_what_a_step_did_not_use_is_not_moved_by_decay_or_momentum(seed):
    generator = torch.Generator().manual_seed(seed)
    weights = parameters(seed)
    optimiser = MaskedSGD(weights, momentum=0.9, weight_decay=0.1)
    for _ in range(4):
        before = [w.detach().clone() for w in weights]
        momentum = [v.clone() for v in optimiser.velocities]
        used = [torch.rand(w.shape, generator=generator) < 0.5 for w in weights]
        for w, mask in zip(weights, used, strict=True):
            w.grad = torch.randn(w.shape, generator=generator) * mask
        weights[1].grad = None
        used[1].fill_(False)
        optimiser.step(0.1)
        for w, old, mask in zip(weights, before, used, strict=True):
            assert torch.equal(w[~mask], old[~mask])
            assert (w[mask] != old[mask]).all()
        for v, old, mask in zip(optimiser.velocities, momentum, used, strict=True):
            assert torch.equal(v[~mask], old[~mask])


def test_one_dimension_is_not_decayed():
    weight, bias = nn.Parameter(torch.ones(2, 1)), nn.Parameter(torch.ones(2))
    optimiser = MaskedSGD([weight, bias], momentum=0.0, weight_decay=0.5)
    weight.grad, bias.grad = torch.full((2, 1), 0.25), torch.full((2,), 0.25)
    optimiser.step(1.0)
    assert weight.flatten().tolist() == [0.25, 0.25]  # 1 - (0.25 + 0.5)
    assert bias.tolist() == [0.75, 0.75]


def test_state_round_trip():
    weights = parameters()
    optimiser = MaskedSGD(weights)
    for w in weights:
        w.grad = torch.ones_like(w)
    optimiser.step(0.1)
    again = MaskedSGD(weights)
    again.load_state({name: tensor.clone() for name, tensor in optimiser.state().items()})
    assert all(torch.equal(a, b) for a, b in zip(again.velocities, optimiser.velocities, strict=True))
    optimiser.zero_grad()
    assert all(w.grad is None for w in weights)


@given(st.integers(1, 500), st.floats(1e-3, 10))
def test_one_cycle_rises_to_its_peak_and_falls_towards_zero(steps, peak):
    rates = [one_cycle(step, steps, peak) for step in range(steps)]
    top = rates.index(max(rates))
    assert max(rates) == pytest.approx(peak)
    assert all(0 < rate <= peak * (1 + 1e-9) for rate in rates)
    assert rates[: top + 1] == sorted(rates[: top + 1])
    assert rates[top:] == sorted(rates[top:], reverse=True)
    assert top <= max(1, math.ceil(0.2 * steps))


def test_one_cycle_by_hand():
    rates = [one_cycle(step, 10, 1.0) for step in range(10)]
    assert rates[:3] == [0.5, 1.0, 1.0]
    assert rates[6] == pytest.approx(0.5)
    assert rates[9] == pytest.approx(0.5 * (1 + math.cos(math.pi * 7 / 8)))
